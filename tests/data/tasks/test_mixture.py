"""A mixture of tasks and text as training data: its rows, its shares, what of it is learnt."""

import dataclasses
import json

import numpy as np
import pytest

from genlab.configuration import ConfigError, from_json, to_json
from genlab.data import BytePairEncoding, Bytes, TextFiles
from genlab.data.batches import Batches
from genlab.data.characters import Characters
from genlab.data.sources import InMemory
from genlab.data.tasks import Addition, Copying, Facts, Parity, TaskMixture, Template
from genlab.data.tasks.mixture import Interleaved
from genlab.data.tasks.rows import Writer

TASKS = (Addition(2), Copying(4), Facts(20))
MIXTURE = TaskMixture(TASKS, sequence_length=16, examples=600, held_out_examples=40)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for number in range(6):
        (folder / f"{number}.txt").write_text(f"file {number} of plain text\n" * 30)
    return TextFiles(f"{folder}/*.txt")


def texts(mixture, source, indices):
    tokenizer = mixture.load_tokenizer()
    found = source.gather(np.asarray(indices))
    learnt = [tokenizer.decode(row[mask]) for row, mask in zip(found["tokens"], found["loss_mask"], strict=True)]
    return [tokenizer.decode(row) for row in found["tokens"]], learnt


def test_rows_are_problems_of_which_the_answer_is_learnt():
    splits = MIXTURE.load()
    assert len(splits.train) == 600 and len(splits.held_out) == 120
    rows, learnt = texts(MIXTURE, splits.train, range(200))
    for row, answer, problem in zip(rows, learnt, Addition(2).problems("train", 200), strict=True):
        assert row == f"\0A{problem.prompt}={problem.answer}\n".ljust(17, "\0")
        assert answer == problem.answer + "\n"
    whole = dataclasses.replace(MIXTURE, loss_on="all")
    rows, learnt = texts(whole, whole.load().train, range(200))
    assert all(text == row.rstrip("\0") for row, text in zip(rows, learnt, strict=True))


def test_worked_steps_and_shots_are_learnt_as_answers_are():
    mixture = dataclasses.replace(MIXTURE, template=Template(chain_of_thought=True), shots=1, sequence_length=72)
    rows, learnt = texts(mixture, mixture.load().train, [0, 200])
    first, second = Addition(2).problems("train", 2)
    written = [f"{p.steps};{p.answer}\n" for p in (first, second)]
    assert rows[0].strip("\0") == f"A{first.prompt}={written[0]}A{second.prompt}={written[1]}"
    assert learnt[0] == "".join(written)
    copied = Copying(4).problems("train", 2)
    assert learnt[1] == "".join(f"{p.answer}\n" for p in copied)  # a task without steps


def test_shares_and_text(corpus):
    mixture = dataclasses.replace(MIXTURE, weights=(2, 1, 1), text=corpus, text_share=0.25, tokenizer=Bytes())
    splits = mixture.load()
    rows, learnt = texts(mixture, splits.train, range(600))
    shares = [sum(row.startswith("\0" + tag) for row in rows) for tag in "ACF"]
    assert shares == [225, 113, 112] and len(splits.train) == 600
    assert all(row == text for row, text in zip(rows[450:], learnt[450:], strict=True))
    assert any("of plain text" in row for row in rows[450:])
    first, second = (Batches(splits.train, 32, seed=1) for _ in range(2))
    for name in ("tokens", "loss_mask"):
        np.testing.assert_array_equal(first.stack(0, 5)[name][3], second[3][name])
    np.testing.assert_array_equal(splits.train[7]["tokens"], splits.train.gather(np.array([7]))["tokens"][0])


def test_a_mixture_says_what_it_is_and_is_the_same_again_from_the_cache():
    first, again = MIXTURE.load(), MIXTURE.load()
    facts = json.loads(json.dumps(dict(first.description)))
    assert facts == dict(again.description)
    assert facts["recalled"] == ["facts_20"] and facts["train_tokens"] == 600 * 16
    assert facts["copying_4_held_out"] == {"rows": 40, "contents": 40}
    other = dataclasses.replace(MIXTURE, seed=1).load()
    assert other.description["data_hash"] != facts["data_hash"]
    assert from_json(to_json(MIXTURE)) == MIXTURE


def test_the_fast_encoding_is_that_of_piece_by_piece():
    writer = Writer(Addition(2), Template(), Characters())
    written = [writer.pieces(problem) for problem in Addition(2).problems("train", 50)]
    fast = writer.rows(written)
    slow = [np.concatenate([[0], *(Characters().encode(text) for text, _ in pieces)]) for pieces in written]
    for row, expected in zip(fast.tokens, slow, strict=True):
        np.testing.assert_array_equal(row[: len(expected)], expected)
        assert not row[len(expected):].any()
    accented = [[("é", 0), ("ab", 2)], [("e", 0), ("é", 2)]]
    rows = dataclasses.replace(writer, tokenizer=Bytes()).rows(accented)
    np.testing.assert_array_equal(rows.part, [[0, 0, 0, 2, 2], [0, 0, 2, 2, 0]])


def test_interleaved_sources_are_repeated_and_thinned_out():
    source = Interleaved((InMemory(x=np.arange(3)), InMemory(x=np.arange(100, 200))), (5, 4))
    assert source.gather(np.arange(9))["x"].tolist() == [0, 1, 2, 0, 1, 100, 125, 150, 175]
    assert source[8] == {"x": 175}
    with pytest.raises(IndexError, match="there is no example 9 among 9"):
        source[9]


def test_characters_are_their_own_tokens():
    tokenizer = Characters("ab+")
    assert tokenizer.encode("b+a").tolist() == [2, 3, 1] and tokenizer.decode([0, 2]) == "\0b"
    assert [row.tolist() for row in tokenizer.encode_documents([b"ab", b"+"])] == [[1, 2], [3]]
    assert (tokenizer.vocab_size, tokenizer.num_bytes(np.array([0, 1]))) == (4, 1)
    with pytest.raises(ConfigError, match="'é' is not in the tokenizer's alphabet; add it, or use Bytes()"):
        Characters().encode("é")
    with pytest.raises(ConfigError, match="ASCII characters other than .0, each once"):
        Characters("aa")


def test_a_mixture_that_cannot_be_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"addition_2 does not fit: 'A\d\d\+\d\d=\d+.n' has 11 tokens, but there is "
                                          "room for 8; raise the sequence length"):
        dataclasses.replace(MIXTURE, sequence_length=8).load()
    with pytest.raises(ConfigError, match=r"weights \(1,\) must be positive, one for each of the 3 tasks"):
        dataclasses.replace(MIXTURE, weights=(1,))
    with pytest.raises(ConfigError, match="BytePairEncoding is trained on text, and there is none"):
        dataclasses.replace(MIXTURE, tokenizer=BytePairEncoding(300))
    with pytest.raises(ConfigError, match="parity_2 has no held-out problem"):
        TaskMixture((Parity(2),), examples=100).load()
    with pytest.raises(ConfigError, match=r"template.question='\{tag\}' lacks \{prompt\}"):
        Template(question="{tag}")
    with pytest.raises(ConfigError, match="an answer needs an end"):
        Template(end="")
    with pytest.raises(ConfigError, match="after it, what tells them from the answer"):
        Template(steps="{steps}")
    (tmp_path / "a.txt").write_text("é" * 100)
    with pytest.raises(ConfigError, match="'é' is not in the tokenizer's alphabet"):
        dataclasses.replace(MIXTURE, text=TextFiles(f"{tmp_path}/*.txt")).load()
