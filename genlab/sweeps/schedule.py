"""Which run a free worker takes next: the longest, unless one it has compiled already fits in before."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """What the choice depends on.

    Attributes:
      name: the run.
      cost: how long it takes, in any unit that is the same for all.
      shape: equal for runs that share their compiled programs.
      params: parameters; for the table on the screen.
      tokens: training tokens, or examples where there are no tokens; likewise.
      data: which of the two, "tokens" or "examples".
    """

    name: str
    cost: float
    shape: Any
    params: int | None = None
    tokens: int | None = None
    data: str = "tokens"


def next_job(pending: Sequence[Job], compiled_here: Collection[Any], compiled_elsewhere: Collection[Any],
             running_cost: float, workers: int) -> Job:
    """The job that a free worker should take.

    Longest-processing-time-first (Graham 1969) ends within 4/3 - 1/(3m) of the best time of m workers, but
    hands the sizes of a ladder to every worker, and each compiles all of them (2 to 4 s a size on a CPU
    core). So of the jobs that can be done before the longest must begin, one compiled here goes first,
    then one that nobody has compiled, and the longest of those.

    Args:
      pending: jobs not begun; at least one.
      compiled_here: shapes this worker has run.
      compiled_elsewhere: shapes that other workers have run.
      running_cost: what is left of the jobs that other workers are at.
      workers: how many there are.
    """
    longest = max(pending, key=lambda job: job.cost)
    # No schedule ends before this; a job that lets the longest end by then costs nothing.
    end = (running_cost + sum(job.cost for job in pending)) / max(workers, 1)

    def fits(job: Job) -> bool:
        return job is longest or job.cost + longest.cost <= end

    def preference(job: Job) -> tuple[bool, bool, float]:
        return job.shape in compiled_here, job.shape not in compiled_elsewhere, job.cost

    return max(filter(fits, pending), key=preference)
