"""launch.sample and launch.evaluate on diffusion runs."""

import dataclasses
import functools
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genlab.configuration import ConfigError
from genlab.data import Digits, EightGaussians, Images, Points
from genlab.diffusion import generate as generation
from genlab.diffusion.generate import ChunkProgram
from genlab.diffusion.samplers import AdaptiveOde, Ddim, Sampler
from genlab.evaluation import FeatureStatistics, Scoring, frechet_distance
from genlab.experiment import Experiment, run
from genlab.models.denoising_mlp import DenoisingMLP
from genlab.models.dit import DiT
from genlab.objectives.diffusion import ImageDiffusion, PointDiffusion
from genlab.objectives.generation import PointQuality, SampleQuality
from genlab.objectives.grey_levels import GreyLevels
from genlab.trained import Trained, load_run, load_splits
from genlab.training.optimizers import AdamW
from genlab.training.plans import Layout, choose_plan
from genlab.training.program import Program, program_for
from genlab.training.settings import Training
from launch.samples import diffusion
from launch.samples.arrays import read_arrays
from launch.samples.diffusion import Request, _denoiser_of, draw, log_probability, make, operator_of
from launch.samples.samplers import SAMPLERS, named_sampler
from launch.samples.scores import extractor_of, scores
from tests.launch import tiny
from tests.launch.commands import run_command

DIT = DiT(image_size=8, channels=1, num_classes=10, patch_size=4, width=16, depth=1, num_heads=2)
DIGITS = Experiment(
    objective=ImageDiffusion(model=DIT, pixels=GreyLevels(17), label_dropout=0.1),
    data=Images(source=Digits()), optimizer=AdamW(learning_rate=0.01),
    training=Training(steps=4, batch_size=16, evaluate_examples=32, writers=(), devices=1),
)  # fmt: skip
POINTS = dataclasses.replace(DIGITS, objective=PointDiffusion(model=DenoisingMLP(width=16, depth=1)),
                             data=Points(source=EightGaussians(), examples=600, held_out_examples=300))
SAMPLER = Sampler(Ddim(), 3)
TWENTY = np.zeros((20, 8, 8, 1), np.uint8)


@functools.cache
def fresh(experiment: Experiment) -> Trained:
    """A run with parameters drawn at random in place of trained ones."""
    program = program_for(experiment.objective, experiment.optimizer, 1, None, choose_plan(16, 1, 1))
    return Trained(experiment, jax.jit(experiment.objective.init)(jax.random.key(0)), 0, program, Path("nowhere"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("digits")
    run(DIGITS, made)
    return made


@pytest.mark.parametrize("layout", [Layout(plan="mesh", data=2, fsdp=4),
                                    Layout(plan="mesh", data=2, tensor=2, sequence=2)])
def test_a_run_whose_network_is_cut_over_devices_is_sampled_so(layout, monkeypatch):
    from tests.launch.test_sample_images import CLASSIFIER

    def with_noise(run):  # Fresh ones say 0 whatever they read.
        return dataclasses.replace(run, variables=jax.tree.map(
            lambda x: x + 0.05 * np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape), run.variables))

    whole = with_noise(fresh(DIGITS))
    plain = Request(SAMPLER, 8, guidance=2.0)
    request = dataclasses.replace(plain, classifier=with_noise(fresh(CLASSIFIER)), classifier_scale=5e3)
    plan = choose_plan(16, 1, 8, layout, DIGITS.objective)
    program = program_for(DIGITS.objective, DIGITS.optimizer, 1, None, plan)
    variables = jax.device_put(whole.variables, plan.of_state(whole.variables))
    cut = dataclasses.replace(whole, variables=variables, program=program)
    given, put = [], ChunkProgram.put
    monkeypatch.setattr(ChunkProgram, "put", lambda self, variables: given.append(put(self, variables)) or given[-1])
    found, alone, unguided = draw(cut, request).x, draw(whole, request).x, draw(whole, plain).x
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-5)
    assert np.abs(alone - unguided).max() > 1 and np.ptp(unguided) > 0.1
    are_whole = [all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(its)) for its in given]
    assert are_whole == [False, True, True]


def call(environment, module, *flags):
    return run_command(module, *flags, environment=environment)


def test_samples_are_a_picture_an_animation_or_arrays(tmp_path):
    request = Request(SAMPLER, count=12, classes=(3, 5), chunk=5)
    said = make(fresh(DIGITS), request, tmp_path / "grid.png")
    assert said == "12 samples, 3 evaluations each"
    assert Image.open(tmp_path / "grid.png").size == (17 * 19, 53 * 19)  # Two columns, one a class.
    make(fresh(DIGITS), request, tmp_path / "way.gif")
    assert Image.open(tmp_path / "way.gif").n_frames > 1
    make(fresh(DIGITS), request, tmp_path / "arrays.npz")
    arrays = np.load(tmp_path / "arrays.npz")
    assert arrays["sample"].shape == (12, 8, 8, 1) and arrays["sample"].dtype == np.uint8
    np.testing.assert_array_equal(arrays["label"], [3, 5] * 6)
    settings = json.loads(str(arrays["settings"]))
    assert settings["sampler"] == repr(SAMPLER) and settings["start"] == 1e-3
    own, later = (draw(fresh(DIGITS), dataclasses.replace(request, start=start)).x for start in (None, 0.5))
    assert (own != later).any()


def test_points_are_drawn_on_their_way(tmp_path):
    make(fresh(POINTS), Request(SAMPLER, count=50, chunk=50), tmp_path / "ways.png")
    assert Image.open(tmp_path / "ways.png").size[0] > 1_000


@pytest.mark.parametrize(("task", "rows"), [
    ("inpaint", ["image", "measured", "restored"]), ("super_resolution", ["image", "measured", "restored"]),
    ("edit", ["image", "edited by 0.5"]), ("interpolate", ["image", "0%", "17%", "33%", "50%", "67%", "83%", "100%"]),
])  # fmt: skip
def test_held_out_images_are_restored_edited_and_interpolated(task, rows, tmp_path):
    said = make(fresh(DIGITS), Request(SAMPLER, count=3, task=task), tmp_path / "rows.npz")
    arrays = dict(np.load(tmp_path / "rows.npz"))
    assert list(arrays) == rows and all(array.shape == (3, 8, 8, 1) for array in arrays.values())
    cost = "80 evaluations each way" if task == "interpolate" else "3 evaluations each"
    assert said.endswith(f"{', '.join(rows)}, {cost}")
    if task == "inpaint":  # What is known stays.
        known = operator_of(task, (8, 8, 1)).mask
        np.testing.assert_array_equal(arrays["restored"][:, known], arrays["image"][:, known])


@pytest.mark.parametrize("chunk", [2, 3])
def test_ends_of_an_interpolation_have_their_own_classes(chunk, tmp_path, monkeypatch):
    """A network that never saw the label for none is not asked with it. So many at a time, which are told of."""
    def ends(path, own, x, next_x, fractions, flow, following):
        return jnp.stack([x + 10 * own[:, None, None, None]] * 6 + [next_x + 10 * following[:, None, None, None]])

    monkeypatch.setattr(ImageDiffusion, "denoiser", lambda self, variables, label_B=None: label_B)
    monkeypatch.setattr(ImageDiffusion, "decode", lambda self, x: x)
    monkeypatch.setattr(diffusion, "interpolate", ends)
    told = []
    make(fresh(DIGITS), Request(SAMPLER, count=3, task="interpolate", chunk=chunk), tmp_path / "rows.npz",
         lambda *done: told.append(done))
    assert told == [(2, 3), (3, 3)][chunk - 2:]
    arrays = np.load(tmp_path / "rows.npz")
    labels = np.round((arrays["0%"] - arrays["image"]) / 10)[:, 0, 0, 0]
    assert arrays["0%"].shape == (3, 8, 8, 1) and len(np.unique(labels)) > 1
    np.testing.assert_array_equal(arrays["100%"], np.roll(arrays["0%"], -1, axis=0))


def test_many_steps_of_a_task_are_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "_MANY_STEPS", 3)
    told = []
    make(fresh(DIGITS), Request(SAMPLER, count=3, task="edit", chunk=2), tmp_path / "edited.npz",
         lambda *done: told.append(done))
    assert sorted(told) == [(0, 3), (1, 3), (2, 3), (2, 3), (3, 3), (3, 3)]


@pytest.mark.parametrize(("experiment", "request_", "name", "message"), [
    (DIGITS, Request(SAMPLER, classes=(10,)), "a.png", "there is no class 10 among 10, 0 to 9"),
    (DIGITS, Request(SAMPLER), "a.jpg", "must end in .png, .gif, .npz: a picture, an animation or arrays"),
    (DIGITS, Request(SAMPLER, task="edit"), "a.gif", "an animation is of samples on their way; edit writes .png"),
    (DIGITS, Request(SAMPLER, 2, task="colourise"), "a.png", "images of 1 channel have no colours to find"),
    (POINTS, Request(SAMPLER, guidance=2.0), "a.png", "guidance=2.0 asks for a class, but this run is unconditional"),
    (POINTS, Request(SAMPLER, classes=(1,)), "a.png", "classes are asked for, but this run is unconditional"),
    (POINTS, Request(SAMPLER), "a.gif", "a.gif, an animation, is of images, and this run is of points"),
    (POINTS, Request(SAMPLER, task="inpaint"), "a.png", "--task=inpaint is of images, and this run is of points"),
    (POINTS, Request(SAMPLER, start=1.0), "a.png", "start=1 is no time of this path, which is trained from 0.001 on"),
])  # fmt: skip
def test_what_cannot_be_made_is_a_one_line_error(experiment, request_, name, message, tmp_path):
    with pytest.raises(ConfigError) as error:
        make(fresh(experiment), request_, tmp_path / name)
    assert message in str(error.value)


def test_samplers_are_known_by_name_and_take_steps():
    assert named_sampler("heun").evaluations == 35 and named_sampler("heun", 10).evaluations == 19
    assert isinstance(SAMPLERS["ode"], AdaptiveOde)
    for name, message in (("euler", "there is no sampler 'euler'"), ("ode", "the sampler ode chooses its own steps")):
        with pytest.raises(ConfigError, match=message):
            named_sampler(name, 5)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """The folder of a classifier's run, and what its features are compared by."""
    from tests.launch.test_sample_images import CLASSIFIER

    made = tmp_path_factory.mktemp("classifier")
    run(CLASSIFIER, made)
    return made, *extractor_of(str(made), fresh(DIGITS))


def test_a_classifier_reads_the_samples(features):
    _, extractor, classifier = features
    record, read = scores(fresh(DIGITS), SampleQuality(SAMPLER, samples=64, extractor=extractor), classifier)
    assert record.extractor.startswith("features of ") and len(record.extractor_hash) == 16
    assert 0 <= read["read_as_asked"].value < 0.6
    # Samples in a file are read where they say what was asked for.
    made = {"sample": load_splits(DIGITS.data).train.gather(np.arange(40))["image"]}
    own = classifier.experiment.objective.outputs(classifier.variables, {"image": made["sample"]})["probabilities"]
    quality = SampleQuality(extractor=extractor, scoring=Scoring(("sliced_wasserstein",)))
    assert scores(fresh(DIGITS), quality, classifier, made)[1] == {}
    read = scores(fresh(DIGITS), quality, classifier, made | {"label": np.argmax(own, axis=1)})[1]
    assert read["read_as_asked"].value == 1.0


def test_features_that_samples_have_not_are_a_one_line_error(features, tmp_path, monkeypatch):
    for name, experiment, message in (
            (features[0], POINTS, "reads images, and this run makes points"),
            ("weights.npz", DIGITS, r"Inception reads images of 3 channels, and the samples are of \(8, 8, 1\)"),
            (tmp_path / "nothing", DIGITS, "holds no run")):
        with pytest.raises(ConfigError, match=message):
            extractor_of(str(name), fresh(experiment))
    monkeypatch.setattr("launch.samples.scores.load_run", lambda folder: SimpleNamespace(experiment=tiny.get_config(8)))
    with pytest.raises(ConfigError, match="gpt is a run of NextToken, which gives no features of images"):
        extractor_of("gpt", fresh(DIGITS))


def test_a_classifier_guides_samples(features, tmp_path):
    classifier = features[2]
    plain, guided = (draw(fresh(DIGITS), Request(SAMPLER, 4, classifier=each, classifier_scale=50.0)).x
                     for each in (None, classifier))
    assert np.abs(plain - guided).max() > 1e-3
    # It does not where noise is so loud that large scales blew up: sigma / alpha is 12 at t = .7, 1.6 at .35.
    denoisers = [_denoiser_of(DIGITS.objective, 1.0, each and each.experiment.objective, 50.0)
                 for each in (None, classifier)]
    variables = (fresh(DIGITS).variables, classifier.variables)
    x, label = np.ones((2, 8, 8, 1), np.float32), np.array([3, 5])
    data_of = jax.jit(lambda v, t: [denoiser(v, label)(x, t).data for denoiser in denoisers])
    for t, same in ((0.7, True), (0.35, False)):
        alone, told = data_of(variables, t)
        assert np.allclose(alone, told, rtol=1e-5, atol=1e-5) == same
    with pytest.raises(ConfigError, match="is no run of classification of such images; --classifier needs one"):
        make(fresh(DIGITS), Request(SAMPLER, 4, classifier=fresh(DIGITS)), tmp_path / "a.png")


@pytest.mark.parametrize("count", [17, 256])
def test_a_classifier_that_guides_reads_images_as_it_was_trained_on_them(count):
    pixels, seen = GreyLevels(count), []
    images = np.round(np.arange(count) * (255 / (count - 1))).astype(np.uint8)[:, None]
    model = SimpleNamespace(apply=lambda variables, x: seen.append(x) or np.zeros((len(x), 2), np.float32))
    classifier = SimpleNamespace(model=model, pixels=SimpleNamespace(normalize=lambda x: x))
    log_probability(classifier, pixels, {}, pixels.normalize(images), np.zeros(count, int))
    np.testing.assert_allclose(seen[0], images, atol=0.51)  # Bytes are rounded.


def test_a_classifier_of_other_classes_is_refused(tmp_path):
    other = dataclasses.replace(DIGITS, objective=dataclasses.replace(
        DIGITS.objective, model=dataclasses.replace(DIT, num_classes=3)))
    from tests.launch.test_sample_images import CLASSIFIER

    for experiment, message in ((other, "nowhere knows 10 classes and this run 3; --classifier "),
                                (POINTS, "nowhere is no run of classification of such images")):
        with pytest.raises(ConfigError, match=message):
            Request(SAMPLER, classifier=fresh(CLASSIFIER)).check(experiment, tmp_path / "a.png")


def test_the_commands_say_what_they_did(folder, environment):
    path = folder / "grid.png"
    made = call(environment, "launch.sample", f"--workdir={folder}", "--images=4", "--steps=3", "--guidance=2",
                f"--output={path}")
    assert made.returncode == 0 and f"4 samples, 3 evaluations each; {path}" in made.stdout, made.stderr
    asked = call(environment, "launch.evaluate", f"--workdir={folder}", "--evaluation=likelihood,samples",
                 "--examples=32", "--samples=40", "--steps=3", "--json")
    assert asked.returncode == 0, asked.stderr
    said = json.loads(asked.stdout)
    assert said["bits_per_dimension"]["mean"] > 0
    assert said["samples"]["made_by"]["sampler"].endswith("steps=3, corrector=None, grid=None, denoise=True)")
    assert said["samples"]["extractor"] == "pixels" and said["samples"]["samples"] == 40
    assert {"frechet_distance", "held_out_frechet_distance", "neighbour_ratio"} <= set(said["samples"]["scores"])
    assert "fid" not in said["samples"]["scores"]


def test_samples_in_a_file_are_scored_as_new_ones_are(folder, environment, tmp_path):
    path = tmp_path / "samples.npz"
    make(load_run(folder), Request(SAMPLER, 40, guidance=2.0), path)
    asked = call(environment, "launch.evaluate", f"--workdir={folder}", "--evaluation=samples", f"--arrays={path}",
                 "--json")
    assert asked.returncode == 0, asked.stderr
    said = json.loads(asked.stdout)["samples"]
    arrays, settings = read_arrays(path, load_run(folder))
    assert said["made_by"] == settings and settings["file"] == str(path) and settings["guidance"] == 2
    record, _ = scores(load_run(folder), SampleQuality(), None, arrays)
    assert said["samples"] == 40 and record.references == said["references"] == 1_437
    assert said["scores"]["frechet_distance"]["value"] == pytest.approx(record.scores["frechet_distance"].value)
    # And as they would be elsewhere.
    data = load_splits(DIGITS.data).train.gather(np.arange(1_437))["image"]
    moments = (FeatureStatistics.of(each.reshape(-1, 64) / 255) for each in (arrays["sample"], data))
    expected = frechet_distance(*moments)
    assert record.scores["frechet_distance"].value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("arrays", "message"), [
    (None, "there is no file of samples"),
    (b"no zip", "is no .npz of samples, as launch.sample --output=samples.npz writes it"),
    ({"image": np.zeros(3)}, "holds image and no sample; launch.sample writes samples where --task=generate"),
    ({"sample": np.zeros((4, 8, 8, 3), np.uint8)}, "are uint8 [4, 8, 8, 3]; those of this run are uint8 [N, 8, 8, 1]"),
    ({"sample": np.zeros((4, 8, 8, 1))}, "are float64 [4, 8, 8, 1]; those of this run are uint8 [N, 8, 8, 1]"),
    ({"sample": np.zeros((4, 8, 8, 1), np.uint8)}, "holds 4 samples, which are too few to score: take 20 or more"),
    ({"sample": TWENTY, "label": np.zeros(3, int)}, "are int64 [3], of 20 samples"),
    ({"sample": TWENTY, "label": np.full(20, 77)}, "go from 77 to 77; the data's classes are 0 to 9"),
    ({"sample": TWENTY, "label": np.full(20, -1)}, "go from -1 to -1"),
])
def test_what_is_no_file_of_samples_is_a_one_line_error(arrays, message, tmp_path):
    path = tmp_path / "samples.npz"
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    elif arrays is not None:
        np.savez(path, **arrays)
    with pytest.raises(ConfigError) as error:
        read_arrays(path, fresh(DIGITS))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_has_no_samples_like_a_file_s_is_a_one_line_error(tmp_path):
    np.savez(tmp_path / "samples.npz", sample=TWENTY)
    from tests.launch.test_sample_images import CLASSIFIER

    with pytest.raises(ConfigError, match="samples are of diffusion models, not of Classification"):
        read_arrays(tmp_path / "samples.npz", fresh(CLASSIFIER))


def test_points_of_another_program_are_read(tmp_path):
    np.savez(tmp_path / "points.npz", sample=np.ones((30, 2)), settings=np.array({"of": "theirs"}, object))
    made, settings = read_arrays(tmp_path / "points.npz", fresh(POINTS))
    assert made["sample"].shape == (30, 2) and settings == {"file": str(tmp_path / "points.npz")}
    found = PointQuality(EightGaussians()).run(fresh(POINTS).collect, made)
    assert found["within_4_sigma"].mean == 0.0  # One point between two of the eight.
    np.savez(tmp_path / "points.npz", sample=np.full((30, 2), np.nan))
    with pytest.raises(ConfigError, match="are not all finite"):
        read_arrays(tmp_path / "points.npz", fresh(POINTS))


def test_points_are_scored_as_asked(tmp_path, environment):
    run(POINTS, tmp_path)
    asked = call(environment, "launch.evaluate", f"--workdir={tmp_path}", "--evaluation=points", "--steps=1")
    assert asked.returncode == 2 and "steps must be at least 2, not 1" in asked.stderr
    path = tmp_path / "points.npz"
    np.savez(path, sample=np.full((50, 2), 1e3))
    asked = call(environment, "launch.evaluate", f"--workdir={tmp_path}", "--evaluation=points", f"--arrays={path}",
                 "--json")
    said = json.loads(asked.stdout)
    assert said["points"]["made_by"] == {"file": str(path)}
    # By the mean of |cos| over directions, times the distance.
    assert said["sliced_wasserstein"]["mean"] == pytest.approx(2 / np.pi * 1e3 * 2**0.5, rel=0.1)


@pytest.mark.parametrize(("command", "flags", "message"), [
    ("launch.sample", ["--prompt=x"], "--prompt does not go with a run on diffusion"),
    ("launch.sample", ["--classes=x"], "--classes=x must be numbers, as 3,5"),
    ("launch.sample", ["--task=interpolate", "--steps=5"], "--steps does not go with --task=interpolate"),
    ("launch.evaluate", ["--evaluation=likelihood", "--sampler=euler_maruyama"],
     "a likelihood is that of the probability-flow ODE, and EulerMaruyama adds noise"),
    ("launch.evaluate", ["--evaluation=likelihood", "--guidance=2"],
     "--guidance is read by --evaluation=samples alone"),
    ("launch.evaluate", ["--evaluation=samples,likelihood", "--arrays=x.npz", "--samples=30"],
     "--samples does not go with --arrays, whose samples are made"),
    ("launch.evaluate", ["--evaluation=samples", "--features=nowhere"], "nowhere holds no run"),
    ("launch.evaluate", ["--evaluation=samples", "--statistics=no.npz"], "there is no statistics file no.npz"),
    ("launch.evaluate", ["--evaluation=points,likelihood", "--arrays=no.npz", "--steps=3"], "no file of samples no"),
    ("launch.evaluate", ["--start=.1"], "--start is read by --evaluation=samples or points or likelihood alone"),
    ("launch.evaluate", ["--evaluation=knn"], "a probe reads features, of which ImageDiffusion gives none"),
])  # fmt: skip
def test_a_flag_that_does_not_fit_is_a_one_line_error(folder, environment, command, flags, message):
    result = call(environment, command, f"--workdir={folder}", *flags)
    assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1, result.stderr


def test_no_batch_of_samples_is_made_for_nothing(monkeypatch):
    """Dispatches of eight batches would be filled up."""
    seen, outputs = [], Program.outputs

    def watch(batches, count, what):
        seen.append((count, what))
        return batches

    def seen_outputs(self, variables, batches, read):
        seen.append(batches["index"].shape)
        return outputs(self, variables, batches, read)

    monkeypatch.setattr(Program, "outputs", seen_outputs)
    watched = dataclasses.replace(fresh(DIGITS), watch=watch)
    assert len(watched.collect("held_out", SampleQuality(SAMPLER).draw, 24)["sample"]) == 24
    assert seen == [(2, "batches of held_out, read by Draw"), (1, 16), (1, 16)]


def test_a_run_comes_back_as_it_was_trained(folder):
    loaded = load_run(folder)
    assert loaded.experiment == DIGITS and loaded.step == 4
