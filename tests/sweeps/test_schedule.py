import random

import pytest

from genlab.sweeps.schedule import Job, next_job

COMPILE = 2.0


def simulate(jobs, workers, choose):
    """(end, compilations) of list scheduling by `choose`."""
    pending, ends, shapes, compilations = list(jobs), [0.0] * workers, [set() for _ in range(workers)], 0
    while pending:
        w = min(range(workers), key=ends.__getitem__)
        elsewhere = set().union(*shapes[:w], *shapes[w + 1:])
        left = sum(max(0.0, end - ends[w]) for end in ends)
        job = choose(pending, shapes[w], elsewhere, left, workers)
        pending.remove(job)
        new = job.shape not in shapes[w]
        compilations += new
        shapes[w].add(job.shape)
        ends[w] += job.cost + COMPILE * new
    return max(ends), compilations


def longest_first(pending, *_):
    return max(pending, key=lambda job: job.cost)


@pytest.mark.parametrize("workers", [2, 4])
def test_as_short_as_longest_first_with_fewer_compilations(workers):
    draw = random.Random(0)
    ends, compilations = [0.0, 0.0], [0, 0]
    for _ in range(200):
        jobs = [Job(f"{size}-{i}", 4 * 2**size * draw.uniform(0.7, 1.3) * 2**i, size)
                for size in range(draw.randint(2, 6)) for i in range(draw.randint(1, 5))]
        for index, choose in enumerate((longest_first, next_job)):
            end, count = simulate(jobs, workers, choose)
            ends[index] += end / max(sum(job.cost for job in jobs) / workers, max(job.cost for job in jobs))
            compilations[index] += count
    assert ends[1] <= 1.01 * ends[0]
    assert compilations[1] < 0.9 * compilations[0]


def test_equal_shapes_go_one_after_another_when_there_is_time():
    pending = [Job("a", 1.0, "x"), Job("b", 1.1, "y"), Job("c", 1.2, "z"), Job("d", 1.3, "x")]
    assert next_job(pending, {"x"}, {"y", "z"}, 10.0, 2).name == "d"
    assert next_job(pending[:2], {"z"}, {"y"}, 10.0, 2).name == "a"


def test_the_longest_is_not_put_off_until_it_is_too_late():
    pending = [Job("short", 1.0, "here"), Job("long", 10.0, "new")]
    assert next_job(pending, {"here"}, set(), 0.0, 2).name == "long"
