"""Parity, bracket matching and variable tracking: answers that hang on the whole prompt."""

from dataclasses import dataclass
from itertools import accumulate
from operator import xor
from random import Random
from string import ascii_lowercase

from genlab.configuration import ConfigError
from genlab.data.tasks.problem import Problem, Task, check_range

_BRACKETS = ("()", "[]", "{}", "<>")


@dataclass(frozen=True)
class Parity(Task):
    """Whether a string of bits has an odd number of ones, 0 or 1. The steps are the parities of its beginnings."""

    bits: int = 12
    tag: str = "P"

    def __post_init__(self):
        check_range(self, bits=(1, 1_000))

    @property
    def name(self) -> str:
        """As "parity_12"."""
        return f"parity_{self.bits}"

    @property
    def equally_likely(self) -> int:
        """Two."""
        return 2

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        number = random.getrandbits(self.bits)
        prompt = f"{number:0{self.bits}b}"
        steps = "".join(map(str, accumulate(map(int, prompt), xor)))
        return Problem(prompt, steps[-1], f"parity {prompt}", steps, choices=("0", "1"))


@dataclass(frozen=True)
class Brackets(Task):
    """What closes all that a string of brackets leaves open: a word of Dyck's language to be ended.

    Attributes:
      length: of the prompt.
      kinds: of brackets, up to 4.
      depth: brackets open at once, at most.
    """

    length: int = 8
    kinds: int = 2
    depth: int = 4
    tag: str = "D"

    def __post_init__(self):
        check_range(self, length=(1, 1_000), kinds=(1, 4), depth=(1, 100))
        if self.depth == 1 and self.length % 2 == 0:
            raise ConfigError("Brackets of depth 1 and an even length leave nothing open; take an odd length")

    @property
    def name(self) -> str:
        """As "brackets_8"."""
        return f"brackets_{self.length}"

    def problem(self, random: Random) -> Problem:
        """See `Task`. At every bracket, opening and closing are equally likely where both can be."""
        prompt, still_open = "", []
        while not still_open:
            prompt, still_open = "", []
            for _ in range(self.length):
                if not still_open or (len(still_open) < self.depth and random.random() < 0.5):
                    pair = random.choice(_BRACKETS[: self.kinds])
                    still_open.append(pair[1])
                    prompt += pair[0]
                else:
                    prompt += still_open.pop()
        return Problem(prompt, "".join(reversed(still_open)), f"brackets {prompt}")


@dataclass(frozen=True)
class Variables(Task):
    """The value of a variable after a small program of assignments, of digits and of other variables.

    The prompt is as "a=3,b=a,a=7?b". The steps are all variables' values at the end.

    Attributes:
      statements: of the program.
      variables: different ones, at most.
    """

    statements: int = 4
    variables: int = 3
    tag: str = "V"

    def __post_init__(self):
        check_range(self, statements=(1, 1_000), variables=(1, 26))

    @property
    def name(self) -> str:
        """As "variables_4"."""
        return f"variables_{self.statements}"

    @property
    def equally_likely(self) -> int:
        """Every digit."""
        return 10

    def problem(self, random: Random) -> Problem:
        """See `Task`. Half of the assignments are of a variable, as far as one has a value."""
        values: dict[str, int] = {}
        program = []
        for _ in range(self.statements):
            target = random.choice(ascii_lowercase[: self.variables])
            source = random.choice(sorted(values)) if values and random.random() < 0.5 else str(random.randrange(10))
            values[target] = values[source] if source in values else int(source)
            program.append(f"{target}={source}")
        asked = random.choice(sorted(values))
        prompt = f"{','.join(program)}?{asked}"
        steps = ",".join(f"{name}={value}" for name, value in sorted(values.items()))
        return Problem(prompt, str(values[asked]), f"variables {prompt}", steps)
