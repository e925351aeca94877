"""How a problem becomes text: prompt, worked steps, answer, and the solved problems before it."""

from dataclasses import dataclass

from genlab.configuration import ConfigError


@dataclass(frozen=True)
class Template:
    """The text of a row: the prefix, each solved problem with its answer and end, then the question.

    Attributes:
      question: of a problem; {tag} and {prompt} are filled in.
      end: ends an answer; what a model writes before it counts as its answer.
      chain_of_thought: whether worked steps stand between question and answer.
      steps: how they do; {steps} is filled in. What follows them in it tells where the answer begins.
      prefix: once, before all problems.
    """

    question: str = "{tag}{prompt}="
    end: str = "\n"
    chain_of_thought: bool = False
    steps: str = "{steps};"
    prefix: str = ""

    def __post_init__(self):
        if "{prompt}" not in self.question:
            raise ConfigError(f"template.question={self.question!r} lacks {{prompt}}")
        if not self.end:
            raise ConfigError("template.end is empty; an answer needs an end, such as a line end")
        if not self.steps.partition("{steps}")[2]:
            raise ConfigError(f"template.steps={self.steps!r} needs {{steps}} and, after it, what tells them from the "
                              "answer, such as ';'")

    def worked(self, steps: str) -> str:
        """The text of worked steps; empty where there are none, or without `chain_of_thought`."""
        return self.steps.replace("{steps}", steps) if self.chain_of_thought and steps else ""

    def asked(self, tag: str, prompt: str) -> str:
        """The text of a question."""
        return self.question.replace("{tag}", tag).replace("{prompt}", prompt)

    def final_answer(self, written: str) -> str:
        """The answer in what a model wrote after the question: up to the end, after the steps."""
        written = written.partition(self.end)[0]
        return written.rpartition(self.steps.partition("{steps}")[2])[2] if self.chain_of_thought else written
