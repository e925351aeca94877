"""Tasks with a known answer, made by seed or read from files, as training data and as evaluations."""

from genlab.data.tasks.arithmetic import Addition, ModularAddition, Multiplication, Subtraction
from genlab.data.tasks.bigbench import BigBench
from genlab.data.tasks.in_context import Classification, Induction
from genlab.data.tasks.logic import Brackets, Parity, Variables
from genlab.data.tasks.mixture import TaskMixture
from genlab.data.tasks.problem import Problem, Task
from genlab.data.tasks.recall import Bigrams, Facts
from genlab.data.tasks.strings import Copying, Reversal, Sorting, Transliteration, Unscrambling
from genlab.data.tasks.template import Template

__all__ = [
    "Addition",
    "BigBench",
    "Bigrams",
    "Brackets",
    "Classification",
    "Copying",
    "Facts",
    "Induction",
    "ModularAddition",
    "Multiplication",
    "Parity",
    "Problem",
    "Reversal",
    "Sorting",
    "Subtraction",
    "Task",
    "TaskMixture",
    "Template",
    "Transliteration",
    "Unscrambling",
    "Variables",
]
