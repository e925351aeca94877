"""Arithmetic of whole numbers, written plainly or with the least digit first."""

from dataclasses import dataclass
from random import Random

from genlab.data.tasks.problem import Problem, Task, check_range


@dataclass(frozen=True)
class Arithmetic(Task):
    """Two numbers of so many digits, none with a leading zero, and what comes of them."""

    digits: int = 3
    reversed: bool = False

    def __post_init__(self):
        check_range(self, digits=(1, 100))

    @property
    def name(self) -> str:
        """As "addition_3" or "addition_3_reversed"."""
        return f"{type(self).__name__.lower()}_{self.digits}{'_reversed' if self.reversed else ''}"

    def operands(self, random: Random) -> tuple[int, int]:
        """Two numbers."""
        least = 10 ** (self.digits - 1) if self.digits > 1 else 0
        return random.randrange(least, 10**self.digits), random.randrange(least, 10**self.digits)

    def written(self, value: int) -> str:
        """A result in digits."""
        return str(value)[::-1] if self.reversed else str(value)


@dataclass(frozen=True)
class Addition(Arithmetic):
    """a + b. The steps are the sums of digits with their carries, from the least digit on (Nye et al. 2021)."""

    tag: str = "A"

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        a, b = self.operands(random)
        return Problem(f"{a}+{b}", self.written(a + b), f"{min(a, b)}+{max(a, b)}", _carries(a, b))


@dataclass(frozen=True)
class Subtraction(Arithmetic):
    """a - b where a is not the smaller one. The steps are the differences of digits with what they borrow."""

    tag: str = "S"

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        b, a = sorted(self.operands(random))
        return Problem(f"{a}-{b}", self.written(a - b), f"{a}-{b}", _borrows(a, b))


@dataclass(frozen=True)
class Multiplication(Arithmetic):
    """a b. The steps are the products of the first number with each digit of the second, from the highest on.

    Without what place a digit has: 34*20 is another problem, which may be held out.
    """

    digits: int = 2
    tag: str = "M"

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        a, b = self.operands(random)
        steps = ",".join(f"{a}*{digit}={a * int(digit)}" for digit in str(b))
        return Problem(f"{a}*{b}", self.written(a * b), f"{min(a, b)}*{max(a, b)}", steps)


@dataclass(frozen=True)
class ModularAddition(Task):
    """a + b modulo a number that the model is not told (Power et al. 2022, arXiv 2201.02177). The step is a + b."""

    modulus: int = 97
    tag: str = "O"

    def __post_init__(self):
        check_range(self, modulus=(2, 10**9))

    @property
    def name(self) -> str:
        """As "modular_addition_97"."""
        return f"modular_addition_{self.modulus}"

    @property
    def equally_likely(self) -> int:
        """Every remainder."""
        return self.modulus

    def problem(self, random: Random) -> Problem:
        """See `Task`; numbers have leading zeros, so that all are as long."""
        width = len(str(self.modulus - 1))
        a, b = random.randrange(self.modulus), random.randrange(self.modulus)
        answer = (a + b) % self.modulus
        content = f"{min(a, b)}+{max(a, b)}%{self.modulus}"
        return Problem(f"{a:0{width}}+{b:0{width}}", f"{answer:0{width}}", content, str(a + b))


def _carries(a: int, b: int) -> str:
    """As "7+8=15,5+6+1=12" for 57 + 68."""
    lines, carry = [], 0
    while a or b or not lines:
        total = a % 10 + b % 10 + carry
        lines.append(f"{a % 10}+{b % 10}{'+1' if carry else ''}={total}")
        a, b, carry = a // 10, b // 10, total // 10
    return ",".join(lines)


def _borrows(a: int, b: int) -> str:
    """As "15-8=7,5-1-2=2" for 55 - 28."""
    lines, borrowed = [], 0
    while a or not lines:
        top = a % 10 + (10 if a % 10 - borrowed < b % 10 else 0)
        lines.append(f"{top}{'-1' if borrowed else ''}-{b % 10}={top - borrowed - b % 10}")
        a, b, borrowed = a // 10, b // 10, top >= 10
    return ",".join(lines)
