import dataclasses
import json
import random
import time

import jax
import numpy as np
import pytest

from genlab.configuration import ConfigError, to_json
from genlab.data import Bytes, Text, TextFiles
from genlab.experiment import Experiment, run
from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.trained import load_experiment, load_run
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training
from tests.launch.commands import started


@pytest.fixture
def experiment(tmp_path):
    """A tiny GPT with dropout on a few hundred lines."""
    words = np.random.default_rng(0).choice(["alpha", "beta", "gamma", "delta", "\n"], size=4000)
    (tmp_path / "text.txt").write_text(" ".join(words))
    return Experiment(
        objective=NextToken(model=GPT(width=8, depth=1, num_heads=1, context_length=16, dropout=0.1)),
        data=Text(source=TextFiles(pattern=str(tmp_path / "text.txt")), tokenizer=Bytes(), sequence_length=16),
        optimizer=AdamW(learning_rate=0.02),
        training=Training(steps=60, batch_size=8, steps_per_dispatch=4, checkpoint_steps=8, evaluate_examples=32,
                          ema_decay=0.9, writers=(), devices=1),
    )


def test_runs_and_reads_back_without_its_config_file(experiment, tmp_path):
    result = run(experiment, tmp_path / "run")
    assert result.outcome.status == "finished"
    assert result.tokens == 60 * 8 * 16 and result.examples == 480
    assert result.epochs == pytest.approx(result.tokens / result.unique_tokens, rel=0.02)
    assert result.outcome.metrics["loss"].mean < 3.0 < result.outcome.curve[0][1]
    assert load_experiment(tmp_path / "run") == experiment
    trained = load_run(tmp_path / "run")
    assert trained.step == 60
    for name, (mean, _) in trained.evaluate(32).items():
        assert mean == pytest.approx(result.outcome.metrics[name].mean, rel=1e-5)  # On eight devices, here.


def steps(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("*") if path.name.isdigit())


def test_killed_at_any_moment_it_ends_with_the_same_bits(experiment, tmp_path):
    """Killed with SIGKILL again and again, at random moments, then left alone."""
    training = dataclasses.replace(experiment.training, steps=160, checkpoint_steps=32)
    experiment = dataclasses.replace(experiment, training=training)
    (tmp_path / "config.json").write_text(json.dumps(to_json(experiment)))
    environment = {"GENLAB_CACHE": str(tmp_path / "cache")}

    def start(folder):
        return started("tests.run_of_config", str(tmp_path / "config.json"), str(tmp_path / folder),
                       environment=environment)

    with start("whole") as command:
        whole = command.finish().stdout
    moments = random.Random(0)
    kills = 0
    for _ in range(3):
        before = steps(tmp_path / "killed")
        with start("killed") as command:
            while steps(tmp_path / "killed") == before and command.process.is_alive():
                time.sleep(0.01)  # Until it has gone further than the one before.
            time.sleep(moments.uniform(0.0, 0.2))
            kills += command.process.is_alive()
    assert kills
    with start("killed") as command:
        killed = command.finish().stdout
    assert killed == whole and json.loads(whole)
    a, b = (load_run(tmp_path / folder) for folder in ("whole", "killed"))
    jax.tree.map(np.testing.assert_array_equal, a.variables, b.variables)


def test_train_on_rounds_up_to_whole_dispatches(experiment):
    assert experiment.train_on(tokens=1000).training.steps == 8
    assert experiment.train_on(examples=33).training.steps == 8
    assert experiment.train_on(examples=32).training.steps == 4
    with pytest.raises(ConfigError, match="either tokens or examples"):
        experiment.train_on()


@pytest.mark.parametrize("changes, message", [
    ({"objective": NextToken(model=GPT(width=10, num_heads=3))}, "width 10 is not divisible by num_heads 3"),
    ({"data": Text(sequence_length=512)}, "data.sequence_length=512 is longer than the model's context_length=16"),
    ({"training": Training(batch_size=9, micro_batches=2, devices=1)}, "training.batch_size=9 does not divide"),
])
def test_what_cannot_run_is_refused_before_anything_is_made(experiment, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        run(dataclasses.replace(experiment, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no run: there is no config.json"):
        load_run(tmp_path)


def test_a_folder_of_another_experiment_or_other_data_is_refused(experiment, tmp_path):
    run(experiment, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"holds another experiment \(seed: 0 -> 1\); give another folder"):
        run(dataclasses.replace(experiment, seed=1), tmp_path / "run")
    data = tmp_path / "run" / "data.json"
    data.write_text(json.dumps(json.loads(data.read_text()) | {"data_hash": "of another text"}))
    with pytest.raises(ConfigError, match="began on other data than there is now"):
        run(experiment, tmp_path / "run")


def test_what_is_missing_leaves_the_folder_free(experiment, tmp_path):
    missing = dataclasses.replace(experiment, data=Text(source=TextFiles("/nowhere/*.txt"), sequence_length=16))
    with pytest.raises(FileNotFoundError, match="no text file matches '/nowhere"):
        run(missing, tmp_path / "run")
    assert run(experiment, tmp_path / "run").outcome.status == "finished"
