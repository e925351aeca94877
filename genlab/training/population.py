"""Population training: many runs of one shape as one compiled program, each still a run of its own.

Every run has a thread and the loop that it always has: its log, checkpoints, curve, evaluations and end. Only the steps
meet: when all runs of one program have handed in theirs, they are done together by `vmap` over states, which hold seed
and hyper-parameters, and over batches. A run that diverges or ends leaves, and the others go on.
"""

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
from absl import logging

PyTree = Any
_CURRENT: contextvars.ContextVar["Population | None"] = contextvars.ContextVar("population", default=None)


def current() -> "Population | None":
    """The population that this thread's run is a member of."""
    return _CURRENT.get()


@dataclass(eq=False)
class _Steps:
    """What a member has handed in."""

    state: PyTree
    batches: PyTree
    result: Any = None
    error: BaseException | None = None
    done: bool = False


@dataclass
class _Trial:
    """How long a program's dispatches take, tried both ways."""

    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)
    size: int = 0  # Members that the joint program is compiled for.
    decided: bool | None = None


class Population:
    """Where the threads of runs meet.

    Args:
      always: whether steps are always done together. Otherwise both ways are tried: two dispatches of each, the second
        of them timed, and the faster one is kept. On a CPU that is one after another.
      tell: hears, of each program that was tried, which way is kept.
    """

    def __init__(self, always: bool = False, tell: Callable[[str], None] = logging.info):
        self.always = always
        self.tell = tell
        self._changed = threading.Condition()
        self._starting = 0
        self._member_of: dict[int, Any] = {}  # thread -> program
        self._waiting: dict[int, _Steps] = {}
        self._trials: dict[Any, _Trial] = {}

    @contextlib.contextmanager
    def member(self) -> Iterator[None]:
        """A run's thread is one of the population while it is within."""
        thread = threading.get_ident()
        with self._changed:
            self._starting += 1
            self._member_of[thread] = None
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)
            with self._changed:
                self._starting -= self._member_of.pop(thread) is None
                self._changed.notify_all()

    def train_steps(self, program: Any, state: PyTree, batches: PyTree) -> tuple[PyTree, dict]:
        """As `program.steps_alone`, when all others of this program are as far."""
        thread, mine = threading.get_ident(), _Steps(state, batches)
        with self._changed:
            self._starting -= self._member_of[thread] is None
            self._member_of[thread] = program
            self._waiting[thread] = mine
            self._changed.notify_all()
            while not mine.done:
                # Those that still start may belong here, and every size of a population is another compilation.
                together = [other for other, its in self._member_of.items() if its is program]
                if not self._starting and all(other in self._waiting for other in together):
                    self._run(program, [self._waiting.pop(other) for other in together])
                else:
                    self._changed.wait()
        if mine.error is not None:
            raise mine.error
        return mine.result

    def _run(self, program: Any, steps: list[_Steps]) -> None:
        try:
            for its, result in zip(steps, self._results(program, steps), strict=True):
                its.result = result
        except BaseException as error:  # Raised in every member's thread, whose record then says so.
            for its in steps:
                its.error = error
            raise
        finally:
            for its in steps:
                its.done = True
            self._changed.notify_all()

    def _results(self, program: Any, steps: list[_Steps]) -> list[tuple[PyTree, dict]]:
        trial = self._trials.setdefault(program, _Trial(decided=True if self.always else None))
        if trial.decided is False or len(steps) == 1 or not program.can_be_joined:
            return [program.steps_alone(its.state, its.batches) for its in steps]
        if trial.decided:
            return self._together(program, trial, steps)
        started = time.perf_counter()
        if len(trial.alone) < 2:
            results = [program.steps_alone(its.state, its.batches) for its in steps]
            times = trial.alone
        else:
            results = self._together(program, trial, steps)
            times = trial.together
        jax.block_until_ready(results)
        times.append(time.perf_counter() - started)
        if len(trial.together) == 2:
            ratio = trial.alone[1] / trial.together[1]
            trial.decided = ratio > 1
            how = "together" if trial.decided else "one after another"
            self.tell(f"{len(steps)} runs of one shape train {ratio:.2f} times as fast together as one after another, "
                      f"and go on {how}")
        return results

    def _together(self, program: Any, trial: _Trial, steps: list[_Steps]) -> list[tuple[PyTree, dict]]:
        if len(steps) > trial.size or len(steps) <= trial.size // 2:
            trial.size = len(steps)
        # One that has left is stood in for, so that nothing is compiled anew.
        padding = [steps[0]] * (trial.size - len(steps))
        members = [*steps, *padding]
        copies = [jax.tree.map(lambda x: x.copy(), its.state) for its in padding]  # Arguments are given up, once each.
        states = [*(its.state for its in steps), *copies]
        return program.steps_together(states, [its.batches for its in members])[: len(steps)]
