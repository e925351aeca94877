"""describe, evaluate and sample from the command line, and what all commands share."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from genlab.configuration import ConfigError
from genlab.experiment import run
from launch.flags import load_config
from tests.launch import tiny
from tests.launch.commands import run_command, without_waiting

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def launch(environment):
    """launch("sample", "--workdir=...") -> (exit code, stdout, stderr)."""

    def start(command, *arguments):
        done = run_command(f"launch.{command}", *arguments, environment=environment)
        return done.returncode, done.stdout, without_waiting(done.stderr)

    return start


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(tiny.get_config(8, steps=24), folder)


def test_evaluate_repeats_the_runs_own_numbers(launch, finished):
    folder, result = finished
    code, out, error = launch("evaluate", f"--workdir={folder}", "--examples=64", "--json")
    assert (code, error) == (0, "")
    found = json.loads(out)
    assert found["step"] == 24
    assert found["loss"]["mean"] == pytest.approx(result.outcome.metrics["loss"].mean, rel=1e-5)
    assert found["loss"]["standard_error"] > 0


def test_evaluate_asks_a_file_of_tasks(launch, finished, tmp_path):
    """In rows of at most 16 tokens, which is all that the model takes."""
    folder, _ = finished
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps({"input": f"{n}+1", "target": f"{n + 1}"}) + "\n" for n in range(8)))
    code, out, error = launch("evaluate", f"--workdir={folder}", "--examples=8", "--evaluation=tasks",
                              f"--task_files={path}")
    assert (code, error) == (0, "")
    line = next(line for line in out.splitlines() if line.strip().startswith("sums/log_probability"))
    assert re.fullmatch(r"sums/log_probability -\d+\.\d+ \+- \d+\.\d+ \(chance -\d+\.\d+\)", line.strip())
    code, _, error = launch("evaluate", f"--workdir={folder}", "--evaluation=tasks", f"--task_files={path}",
                            "--shots=2")
    assert code == 2 and error.count("\n") == 1
    assert error.startswith("error: sums_2shot does not fit: its rows have up to")
    code, _, error = launch("evaluate", f"--workdir={folder}", "--evaluation=tasks")
    assert (code, error) == (2, "error: Text has no tasks; name files of tasks with --task_files\n")


def test_sample_continues_each_prompt(launch, finished):
    folder, _ = finished
    arguments = ("--prompt=import ", "--prompt=de", "--samples=2", "--tokens=6", "--temperature=0")
    code, out, error = launch("sample", f"--workdir={folder}", *arguments)
    assert (code, error) == (0, "")
    texts = out.removesuffix("\n").split("\n" + "-" * 80 + "\n")
    assert [text[:2] for text in texts] == ["im", "im", "de", "de"]
    assert texts[0] == texts[1] and texts[2] == texts[3]


def test_sample_refuses_a_prompt_longer_than_the_context(launch, finished):
    folder, _ = finished
    code, out, error = launch("sample", f"--workdir={folder}", "--prompt=" + "x" * 40)
    assert (code, out) == (2, "")
    assert error.startswith("error: ") and error.count("\n") == 1 and "context" in error


def test_sample_draws_every_heads_attention_over_a_prompt(launch, finished, tmp_path):
    folder, _ = finished
    path = tmp_path / "maps.png"
    code, out, error = launch("sample", f"--workdir={folder}", "--prompt=import os", "--attention", f"--output={path}")
    assert (code, error) == (0, "")
    assert out == f"layers: 1, heads: 2, tokens: 10; {path}\n"
    width, height = Image.open(path).size
    assert width > 1.5 * height > 300


def test_describe_counts_without_training(launch):
    code, out, error = launch("describe", "--config=experiments/language/gpt.py:tiny")
    assert (code, error) == (0, "")
    for text in ("131,392", "98,624", "position_embedding", "6N_attention_head", "memory: optimizer"):
        assert text in out


def test_describe_puts_xlas_memory_beside_the_estimate(launch):
    code, out, error = launch("describe", f"--config={Path(tiny.__file__)}:8", "--notree", "--compile")
    assert (code, error) == (0, "")
    (working,) = (line for line in out.splitlines() if "gradients and activations (temporary)" in line)
    assert 0.5 < float(working.split()[-2]) < 2.0
    assert "XLA: all" in out and "memory: activations" in out
    assert any(line.startswith("on ") for line in out.splitlines())  # The plan.


@pytest.mark.parametrize("arguments, message", [
    (("--config=experiments/language/gpt.py", "--config.optimizer.learning_rat=1"),
     "optimizer (AdamW) has no field 'learning_rat'; did you mean learning_rate?"),
    (("--config=experiments/language/gpt.py", "--config.objective.model.num_heads", "3"),
     "width 64 is not divisible by num_heads 3: each head needs the same number of channels"),
    (("--confg=x.py",), "Unknown command line flag 'confg'. Did you mean: config ? (--help lists the flags)"),
    ((), "--config is required (--help lists the flags)"),
    (("--config=README.md",), "README.md is no config file: it must be a Python file, FILE.py or FILE.py:ARGUMENT"),
    (("x.py",), "'x.py' is not a flag; every argument is written --name=value"),
])
def test_bad_input_is_one_line_and_exit_code_2(launch, arguments, message):
    if arguments == ("x.py",):
        arguments = ("x.py", "--config=y.py")
    assert launch("describe", *arguments) == (2, "", f"error: {message}\n")


def test_help_is_a_success(launch):
    code, out, error = launch("describe", "--help")
    assert (code, error) == (0, "") and "--config" in out


@pytest.mark.parametrize("text, message", [
    ("nowhere.py", "there is no config file nowhere.py"),
    ("experiments/language/gpt.py:tinny", "there is no GPT size 'tinny'; there are: nano, tiny,"),
    ("experiments/language/gpt.py:tiny,bible", "there is no corpus 'bible'; there are: stdlib,"),
])
def test_config_files_are_named_by_path_and_argument(text, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=message):
        load_config(text)


def test_a_config_file_without_the_function_says_which_it_has(tmp_path):
    (tmp_path / "mine.py").write_text("def get_config():\n    return 1\n")
    with pytest.raises(ConfigError, match=r"has no get_sweep\(\); it has get_config"):
        load_config(str(tmp_path / "mine.py"), "get_sweep")
    with pytest.raises(ConfigError, match="takes no argument, but 'x' was given"):
        load_config(f"{tmp_path / 'mine.py'}:x")


def test_a_syntax_error_names_file_and_line(tmp_path):
    (tmp_path / "bad.py").write_text("x = 1\ny = (\n")
    with pytest.raises(ConfigError, match=r"bad.py, line 2: '\(' was never closed"):
        load_config(str(tmp_path / "bad.py"))


def test_the_readmes_own_sweep_can_be_analysed(tmp_path):
    """Its block is a config file whose grid differs in sizes and in tokens."""
    text = (ROOT / "README.md").read_text()
    block = text[text.index("```python\n\"\"\"A law for"):].removeprefix("```python\n")
    (tmp_path / "mine.py").write_text(block[:block.index("```")])
    sweep = load_config(str(tmp_path / "mine.py"), "get_sweep")
    sweep.check()
    assert len({run.experiment.training.steps for run in sweep.runs()}) > 2
    assert len({run.experiment.objective.model.width for run in sweep.runs()}) > 2


def test_every_config_of_the_repository_can_be_built_and_saved(monkeypatch):
    from genlab.configuration import from_json, to_json
    from genlab.models.gpt import GPT_SIZES

    monkeypatch.chdir(ROOT)
    configs = [load_config(f"experiments/language/gpt.py:{size}") for size in GPT_SIZES]
    configs += [load_config("experiments/language/gpt.py:tiny,shakespeare")]
    configs += [load_config("experiments/scaling/quickstart.py", "get_sweep")]
    for config in configs:
        assert from_json(to_json(config)) == config
