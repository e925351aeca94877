"""Chance: how one would score who knows how a task's answers look, and nothing of the prompt.

He knows, from solved training problems, how often each token stands at each place of an answer, and which answer is the
most frequent; he always gives the best answer by that. Half of the problems teach him, the other half score him. Where
a task says that its answers are equally likely, the numbers are exact.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from genlab.data.tasks.edit_distance import edit_distances
from genlab.data.tasks.problem import Problem, Task
from genlab.data.tokenizers import Tokenizer

PROBLEMS = 4_096  # to learn from and to score; each half fixes a frequency of .5 to +- .011
_SCORED_EDITS = 256
_ENDED = -1


def chance_levels(task: Task, tokenizer: Tokenizer, problems: Sequence[Problem]) -> dict[str, float]:
    """By metric, the level of one who does not read the prompt; see the module.

    Args:
      task: whose answers they are.
      tokenizer: that counts tokens.
      problems: solved ones, independent draws.
    """
    answers_NL = _padded([tokenizer.encode(problem.answer) for problem in problems])
    known_NL, scored_NL = answers_NL[::2], answers_NL[1::2]
    scored_NL = known_NL if not len(scored_NL) else scored_NL
    frequencies = [_frequencies(known_NL, place) for place in range(known_NL.shape[1])]
    likeliest_L = np.array([max(f, key=f.get) for f in frequencies])
    real_NL = scored_NL != _ENDED
    counts = Counter(map(tuple, known_NL.tolist()))
    favourite = np.array(max(counts, key=counts.get))
    found = {
        "exact_match": _exact_match(float((scored_NL == favourite).all(axis=1).mean()), len(scored_NL), known_NL),
        "token_accuracy": float((((scored_NL == likeliest_L) & real_NL).sum(axis=1) / real_NL.sum(axis=1)).mean()),
        "log_probability": float(np.mean([_log_probability(row, frequencies) for row in scored_NL.tolist()])),
        "edit_distance": _distance_of(favourite, scored_NL),
    }
    n = task.equally_likely
    if n:
        found |= {"exact_match": 1 / n, "log_probability": -math.log(n)}
        if real_NL.shape[1] == 1:
            found |= {"token_accuracy": 1 / n, "edit_distance": 1 - 1 / n}
    return found


def choice_chance(worth: Sequence[np.ndarray]) -> dict[str, float]:
    """By metric, the level of one to whom all choices are equal: of problems whose choices are worth so much."""
    shares = [w / max(w.sum(), 1e-12) for w in worth]
    return {
        "multiple_choice_grade": float(np.mean([w.mean() for w in worth])),
        "brier_score": float(np.mean([np.square(1 / len(s) - s).sum() for s in shares])),
        "calibration_error": 0.0,
    }


def _padded(ids: Sequence[np.ndarray]) -> np.ndarray:
    found = np.full((len(ids), max(map(len, ids))), _ENDED)
    for row, tokens in zip(found, ids, strict=True):
        row[: len(tokens)] = tokens
    return found


def _frequencies(answers_NL: np.ndarray, place: int) -> Counter:
    """How often each token, or the end, stands at a place of answers that come so far; each that is seen once more."""
    column = answers_NL[:, place]
    if place:
        column = column[answers_NL[:, place - 1] != _ENDED]
    return Counter(column.tolist()) + Counter(np.unique(answers_NL[:, place:]).tolist())


def _exact_match(share: float, count: int, known_NL: np.ndarray) -> float:
    """The share of the favourite answer, if it is surely above what one makes of the likeliest token at each place.

    Answers of the most frequent length alone: the places of others would not go together.
    """
    lengths = Counter(_lengths(known_NL).tolist())
    length = max(lengths, key=lengths.get)
    columns = known_NL[_lengths(known_NL) == length, :length].T.tolist()
    product = lengths[length] / lengths.total() * math.prod(max(Counter(c).values()) / len(c) for c in columns)
    return share if share - 3 * math.sqrt(share * (1 - share) / count) > product else product


def _log_probability(answer: list[int], frequencies: Sequence[Counter]) -> float:
    """Of an answer and its end, token by token."""
    total = 0.0
    for token, known in zip(answer, frequencies, strict=True):
        # A token that half of the problems never showed here is as likely as one seen once.
        total += math.log(max(known[token], 1) / known.total())
        if token == _ENDED:
            break
    return total


def _distance_of(favourite: np.ndarray, scored_NL: np.ndarray) -> float:
    scored_NL = scored_NL[:_SCORED_EDITS]
    same_NL = np.broadcast_to(favourite, (len(scored_NL), len(favourite)))
    return float(edit_distances(same_NL, _lengths(same_NL), scored_NL, _lengths(scored_NL)).mean())


def _lengths(answers_NL: np.ndarray) -> np.ndarray:
    return (answers_NL != _ENDED).sum(axis=1)
