"""What can be known from the prompt alone: a repeated pattern, labelled items."""

from dataclasses import dataclass
from random import Random
from string import ascii_lowercase

from genlab.data.tasks.problem import Problem, Task, check_range


@dataclass(frozen=True)
class Induction(Task):
    """How a random pattern goes on that has begun to repeat itself (Olsson et al. 2022, arXiv 2209.11895).

    Attributes:
      length: of the pattern, in different letters.
      repeated: letters of the pattern that stand there again.
      answer_length: how many of the next are asked for.
    """

    length: int = 8
    repeated: int = 3
    answer_length: int = 1
    tag: str = "I"

    def __post_init__(self):
        check_range(self, length=(2, 26), repeated=(1, self.length - 1),
                    answer_length=(1, self.length - self.repeated))

    @property
    def name(self) -> str:
        """As "induction_8"."""
        return f"induction_{self.length}"

    @property
    def equally_likely(self) -> int | None:
        """Every letter, where one is asked for."""
        return 26 if self.answer_length == 1 else None

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        pattern = "".join(random.sample(ascii_lowercase, self.length))
        prompt = pattern + pattern[: self.repeated]
        return Problem(prompt, pattern[self.repeated :][: self.answer_length], f"induction {prompt}")


@dataclass(frozen=True)
class Classification(Task):
    """The label of an item that stands among the labelled ones; labels are drawn anew in every prompt.

    The prompt is as "k0c1x0?c" (the few-shot classification of Chan et al. 2022, arXiv 2205.05055, over letters).

    Attributes:
      items: labelled ones, all different.
      labels: how many there are.
    """

    items: int = 5
    labels: int = 2
    tag: str = "K"

    def __post_init__(self):
        check_range(self, items=(1, 26), labels=(2, 10))

    @property
    def name(self) -> str:
        """As "classification_5"."""
        return f"classification_{self.items}"

    @property
    def equally_likely(self) -> int:
        """Every label."""
        return self.labels

    def problem(self, random: Random) -> Problem:
        """See `Task`. The items' order says nothing: all orders of the same pairs lie on one side of the split."""
        items = random.sample(ascii_lowercase, self.items)
        labels = [str(random.randrange(self.labels)) for _ in items]
        asked = random.randrange(self.items)
        pairs = [item + label for item, label in zip(items, labels, strict=True)]
        choices = tuple(map(str, range(self.labels)))
        return Problem(f"{''.join(pairs)}?{items[asked]}", labels[asked],
                       f"classification {''.join(sorted(pairs))} {items[asked]}", choices=choices)
