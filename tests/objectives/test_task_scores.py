"""Scores of tasks: exact in batches as one at a time, and each metric against its definition."""

import dataclasses
import json
import math
from random import Random

import jax
import numpy as np
import pytest

from genlab.configuration import ConfigError, from_json, to_json
from genlab.data import Digits, Images, Text
from genlab.data.characters import Characters
from genlab.data.sources import Splits
from genlab.data.tasks import Addition, BigBench, Brackets, Copying, Facts, Parity, TaskMixture, Template
from genlab.data.tasks.chance import chance_levels
from genlab.data.tasks.edit_distance import edit_distances
from genlab.data.tasks.rows import draw_shots
from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.objectives.task_scores import METRICS, TaskScores, _forced, _of_choices
from genlab.trained import collector
from genlab.training.optimizers import AdamW
from genlab.training.plans import choose_plan
from genlab.training.program import program_for

ALPHABET = Characters("\n01()[]PD=;")
OBJECTIVE = NextToken(GPT(vocab_size=ALPHABET.vocab_size, context_length=48, width=8, depth=1, num_heads=2,
                          tied_head=False))
PARITY, BRACKETS = Parity(bits=8), Brackets(length=6, kinds=2, depth=6)
SCORES = TaskScores((PARITY, BRACKETS), tokenizer=ALPHABET, examples=30, detailed_examples=15, choices=3)


@pytest.fixture(scope="module")
def variables():
    """Random ones that lean to the characters of answers, of a seed whose greedy answers differ among problems."""
    rng = np.random.default_rng(9)
    shapes = jax.eval_shape(OBJECTIVE.init, jax.random.key(0))
    found = jax.tree.map(lambda s: rng.normal(0.1, 0.6, s.shape).astype(np.float32), shapes)
    in_answers = np.isin(np.arange(ALPHABET.vocab_size), ALPHABET.encode("01\n"))
    found["params"]["head"] *= np.where(in_answers, 2, 0.2)[:, None]
    return found


@pytest.fixture(scope="module")
def collect(variables):
    program = program_for(OBJECTIVE, AdamW(), 1, None, choose_plan(16, devices=1))
    return collector(program, variables, Splits(None, None, {}), 16)


@pytest.fixture(scope="module")
def two_shot():
    return dataclasses.replace(SCORES, shots=2)


@pytest.fixture(scope="module")
def found(collect, two_shot):
    return two_shot.run(collect)


@pytest.fixture(scope="module")
def alone(variables, two_shot):
    """log p of an answer's tokens and its end, and whether each is the likeliest, for an unpadded row by itself."""
    logits = jax.jit(OBJECTIVE.model.apply)

    def score(text, answer):
        tokens = np.concatenate([[0], ALPHABET.encode(text), ALPHABET.encode(answer + "\n")]).astype(np.int32)
        log_p = np.asarray(jax.nn.log_softmax(logits(variables, tokens[None, :-1])[0]), np.float64)
        targets, n = tokens[1:], len(answer) + 1
        picked = log_p[np.arange(len(targets)), targets]
        return picked[-n:], (log_p.argmax(axis=-1) == targets)[-n:]

    return score


def asked(scores, task):
    """(a problem, the text before its answer) of a task, in order."""
    problems = task.problems("held_out", scores.examples, scores.seed)
    for problem, shots in zip(problems, draw_shots(task, problems, scores.shots, scores.seed), strict=True):
        text = "".join(f"{task.tag}{shot.prompt}={shot.answer}\n" for shot in shots)
        yield problem, f"{text}{task.tag}{problem.prompt}="


def test_batched_padded_few_shot_scores_are_those_of_one_at_a_time(found, alone, two_shot):
    log_p, exact, share = [], [], []
    for problem, text in asked(two_shot, BRACKETS):
        each, correct = alone(text, problem.answer)
        log_p.append(each.sum())
        exact.append(correct.all())
        share.append(correct[:-1].mean())
    assert len({len(problem.answer) for problem, _ in asked(two_shot, BRACKETS)}) > 1
    for metric, values in (("log_probability", log_p), ("exact_match", exact), ("token_accuracy", share)):
        estimate = found[f"{BRACKETS.name}_2shot/{metric}"]
        assert estimate.mean == pytest.approx(np.mean(values), abs=1e-5)
        assert estimate.standard_error == pytest.approx(np.std(values, ddof=1) / len(values) ** 0.5, abs=1e-5)


def test_each_log_probability_is_exact(collect, alone, two_shot):
    questions = two_shot.questions()
    read = collect(questions.candidates, ("log_probability", "correct"))["log_probability"]
    for entry, task in zip(questions.tasks, (PARITY, BRACKETS), strict=True):
        rows = np.flatnonzero(entry.right_R)[:6]
        for row, (problem, text) in zip(rows, asked(two_shot, task), strict=False):
            part = questions.part[entry.rows][row, 1:]
            np.testing.assert_allclose(read[entry.rows][row][part > 0], alone(text, problem.answer)[0], atol=1e-5)


def test_exact_match_is_what_greedy_decoding_writes(variables, collect, two_shot):
    """Problem by problem; some of them are right, most are wrong."""
    questions = two_shot.questions()
    prompts = [row[start:] for row, start in zip(*questions.prompts.arrays.values(), strict=True)]
    written = OBJECTIVE.generate(variables, prompts, max_new_tokens=questions.room, temperature=0.0,
                                 stop_token=int(ALPHABET.encode("\n")[0]))
    read = collect(questions.candidates, ("log_probability", "correct"))
    exact, distances = [], []
    for entry in questions.tasks:
        right = [problem.answer for problem in entry.problems[: entry.detailed]]
        texts = [ALPHABET.decode(tokens) for tokens in written[entry.prompts]]
        exact += [text == f"{answer}\n" for text, answer in zip(texts, right, strict=True)]
        found = _forced(entry, read, questions.part)["exact_match"][: entry.detailed]
        assert found.tolist() == exact[-entry.detailed :]
        distances.append([slow_distance(text.partition("\n")[0], answer)
                          for text, answer in zip(texts, right, strict=True)])
    assert 0.05 < np.mean(exact) < 0.95
    assert two_shot.run(collect)["parity_8_2shot/edit_distance"].mean == np.mean(distances[0])


def test_choices_are_weighed_by_their_log_probabilities(found, alone, two_shot):
    grades, briers = [], []
    for problem, text in list(asked(two_shot, PARITY))[: two_shot.detailed_examples]:
        log_p = np.array([alone(text, choice)[0].sum() for choice in ("0", "1")])
        p, right = np.exp(log_p) / np.exp(log_p).sum(), np.array([problem.answer == "0", problem.answer == "1"])
        grades.append(right[log_p.argmax()])
        briers.append(((p - right) ** 2).sum())
    assert found["parity_8_2shot/multiple_choice_grade"].mean == pytest.approx(np.mean(grades))
    assert found["parity_8_2shot/brier_score"].mean == pytest.approx(np.mean(briers), abs=1e-5)
    assert 0 < found["parity_8_2shot/calibration_error"].mean < 1
    assert found["parity_8_2shot/brier_score/chance"].mean == 0.5
    assert found["parity_8_2shot/multiple_choice_grade/chance"].mean == 0.5


def test_every_metric_has_its_chance_and_its_count(found):
    for name in ("parity_8_2shot", f"{BRACKETS.name}_2shot"):
        for metric in METRICS:
            assert math.isfinite(found[f"{name}/{metric}"].mean) and found[f"{name}/{metric}"].standard_error >= 0
            assert math.isfinite(found[f"{name}/{metric}/chance"].mean)
            assert math.isnan(found[f"{name}/{metric}/chance"].standard_error)
        assert found[f"{name}/edit_distance/examples"].mean == 15
        assert found[f"{name}/answer_length"].mean == (1 if "parity" in name else pytest.approx(3.5, abs=1))
    assert 15 < found["parity_8_2shot/examples"].mean < 40  # all that are held out of 256
    assert found["parity_8_2shot/exact_match/chance"].mean == 0.5


def test_only_what_is_asked_for_is_asked(collect):
    scores = dataclasses.replace(SCORES, metrics=("log_probability",))
    questions = scores.questions()
    assert len(questions.candidates) == sum(len(entry.problems) for entry in questions.tasks)

    def forward_alone(source, read, examples=0):
        assert source is questions.candidates and read == ("log_probability", "correct")
        return {name: np.zeros((len(source), questions.part.shape[1] - 1), bool) for name in read}

    found = {name.partition("/")[2] for name in scores.run(forward_alone)}
    assert found == {"log_probability", "log_probability/chance", "examples", "answer_length"}


def test_with_worked_steps_what_is_written_counts_and_the_steps_are_not_compared(variables):
    """A model that always writes "1;0" and the end is right about even strings, by whatever steps."""
    scores = dataclasses.replace(SCORES, tasks=(PARITY,), template=Template(chain_of_thought=True))
    written = np.tile(np.append(ALPHABET.encode("1;0\n"), [255]).astype(np.int32), (15, 1))
    written[:, -1] = -1

    def collect(source, read, examples=0):
        if callable(read):
            return {"written": written}
        shape = (len(source), source.arrays["tokens"].shape[1] - 1)
        return {"log_probability": np.full(shape, -0.1), "correct": np.zeros(shape, bool)}

    found = scores.run(collect)
    even = [problem.answer == "0" for problem in PARITY.problems("held_out", 15)]
    assert found["parity_8/exact_match"].mean == np.mean(even)
    assert found["parity_8/exact_match/examples"].mean == 15
    assert found["parity_8/log_probability"].mean == pytest.approx(-0.2)  # the answer and its end, not the steps


def test_several_right_answers_count_together(tmp_path):
    path = tmp_path / "both.json"
    path.write_text(json.dumps({"append_choices_to_input": False, "examples": [
        {"input": "0", "target": ["0", "11"]}, {"input": "1", "target_scores": {"0": 0.5, "1": 1.0, "11": 0.0}}]}))
    scores = TaskScores((BigBench(str(path)),), examples=4, detailed_examples=4, choices=2, tokenizer=Characters())

    def collect(source, read, examples=0):
        """Each token of an answer has log p = -1, but that of "11", which has -.1 each and is correct."""
        if callable(read):
            return {"written": np.tile(Characters().encode("11\n").astype(np.int32), (len(source), 1))}
        tokens = source.arrays["tokens"][:, 1:]
        double = np.array(["A: 11" in Characters().decode(row) for row in tokens])[:, None]
        return {"log_probability": np.where(double, -0.1, -1.0) * np.ones(tokens.shape), "correct":
                double & np.ones(tokens.shape, bool)}

    by_prompt = {}
    for i, problem in enumerate(scores.tasks[0].problems("held_out", 4)):
        by_prompt[problem.prompt] = i
    questions = scores.questions()
    entry = questions.tasks[0]
    values = _forced(entry, collect(questions.candidates, ()), questions.part)
    first, second = by_prompt["0"], by_prompt["1"]
    assert values["exact_match"][first] == 1 and values["exact_match"][second] == 0
    assert values["log_probability"][first] == pytest.approx(np.logaddexp(-2.0, -0.3))
    chosen = _of_choices(entry, values["candidates"])
    assert chosen["multiple_choice_grade"][second] == 0.0  # "11" is the likeliest choice
    p = np.exp([-2.0, -2.0, -0.3])
    expected = ((p / p.sum() - np.array([1 / 3, 2 / 3, 0])) ** 2).sum()
    assert chosen["brier_score"][second] == pytest.approx(expected)
    assert scores.run(collect)["both/edit_distance"].mean == pytest.approx(np.mean([0, 1]))


def slow_distance(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(slow_distance(a[1:], b) + 1, slow_distance(a, b[1:]) + 1, slow_distance(a[1:], b[1:]) + (a[0] != b[0]))


def test_edit_distances_are_the_recursion_s():
    random = Random(0)
    pairs = [["".join(random.choices("ab", k=random.randrange(6))) for _ in range(2)] for _ in range(60)]
    sides = [np.array([[ord(c) for c in pair[i].ljust(6)] for pair in pairs]) for i in (0, 1)]
    lengths = [np.array([len(pair[i]) for pair in pairs]) for i in (0, 1)]
    found = edit_distances(sides[0], lengths[0], sides[1], lengths[1])
    assert found.tolist() == [slow_distance(*pair) for pair in pairs]


def levels(task, count=4_096):
    return chance_levels(task, Characters(), task.problems("train", count))


def test_chance_is_that_of_one_who_knows_the_format_alone():
    """In closed form where there is one; within what 2,048 problems tell where there is not."""
    letters = levels(Copying(3))
    assert letters["log_probability"] == pytest.approx(-3 * math.log(26), rel=0.01)
    assert letters["token_accuracy"] == pytest.approx(1 / 26, abs=0.015)
    assert letters["exact_match"] == pytest.approx(26**-3, abs=1e-4)
    assert levels(Parity(12)) == {"exact_match": 0.5, "log_probability": -math.log(2), "token_accuracy": 0.5,
                                  "edit_distance": 0.5}
    # The most frequent sum of two digits is 9, and of the two places of an answer each has its own best digit.
    sums = levels(Addition(1))
    contents = [(a, b) for a in range(10) for b in range(10)]
    assert sums["exact_match"] == pytest.approx(sum(a + b == 9 for a, b in contents) / 100, abs=0.05)
    head = 1 / sum(1 / r for r in range(1, 51))
    assert levels(Facts(50))["exact_match"] == pytest.approx(head, abs=0.05)


def test_what_cannot_be_asked_is_one_line():
    data = TaskMixture((PARITY,), tokenizer=ALPHABET, sequence_length=12)
    scores = TaskScores.of(data)
    assert scores.tasks == (PARITY,) and from_json(to_json(scores)) == scores
    scores.check(OBJECTIVE, data)
    with pytest.raises(ConfigError, match="no chance level is known for a metric 'bleu'; it is for exact_match, "):
        dataclasses.replace(scores, metrics=("bleu",))
    small = dataclasses.replace(OBJECTIVE, model=dataclasses.replace(OBJECTIVE.model, context_length=11))
    with pytest.raises(ConfigError, match="parity_8 does not fit: its rows have up to 12 tokens, and the model's "
                                          "context_length is 11"):
        scores.check(small, data)
    with pytest.raises(ConfigError, match="parity_8_4shot does not fit"):
        dataclasses.replace(scores, shots=4).check(OBJECTIVE, data)
    with pytest.raises(ConfigError, match="the model learns tokens of Bytes"):
        scores.check(OBJECTIVE, Text())
    with pytest.raises(ConfigError, match="tasks are asked of language models, not of Text"):
        TaskScores.of(Images(source=Digits()), tasks=(PARITY,)).check(Text(), data)
    with pytest.raises(ConfigError, match="detailed_examples=1 must be at least 2"):
        dataclasses.replace(scores, detailed_examples=1)
