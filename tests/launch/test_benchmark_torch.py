"""launch.benchmark torch without PyTorch: bad input, whose parameters go where, what a step costs, what is printed."""

import dataclasses
import io
import sys
import types

import jax
import numpy as np
import pytest
from rich.console import Console

from genlab.configuration import ConfigError
from genlab.models import flash
from genlab.models.transformer import stack_blocks
from genlab.objectives.next_token import NextToken
from genlab.scaling.counting.devices import PEAKS
from launch.benchmarks.pytorch import dit, nanogpt, timm_vit, weights
from launch.benchmarks.pytorch import peer as torch_peer
from launch.benchmarks.pytorch import step as torch_step
from launch.benchmarks.shapes import parse_shapes
from launch.benchmarks.timing import Side
from tests.launch.commands import run_command

PEERS = {nanogpt.GPT2Shape(16, 2, 2): nanogpt.NanoGPT(None), timm_vit.ViTShape(16, 2, 2): timm_vit.Timm(None),
         dit.DiTShape(16, 2, 2): dit.AuthorsDiT(None)}


def parameters(objective):
    """Numbers that are all different, in the shapes of an objective's parameters."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(objective.init, jax.random.key(0))["params"])
    numbers = np.split(np.arange(sum(s.size for s in leaves)), np.cumsum([s.size for s in leaves])[:-1])
    return jax.tree.unflatten(tree, [x.reshape(s.shape) for x, s in zip(numbers, leaves, strict=True)])


@pytest.fixture(scope="module")
def works():
    """The work of a tiny step of each family, by the peer's name."""
    return {peer.name: (shape.experiment(), torch_step.work(shape.experiment())) for shape, peer in PEERS.items()}


@pytest.mark.parametrize(("arguments", "message"), [
    (("torch",), "torch compares with nanoGPT: give --peer=PATH"),
    (("torch", "--family=dit"), "torch compares with DiT: give --peer=PATH"),
    (("torch", "--family=mixer"), "--family=mixer is for step; torch has gpt, vit, dit"),
    (("loop", "--family=vit"), "--family=vit is for step and torch; loop has its own models"),
    (("torch", "--peer=/nowhere", "--shapes=8,1,2"), "--peer=/nowhere has no model.py; give the root of a checkout of "
                                                     "nanoGPT"),
    (("torch", "--family=vit", "--shapes=8,1"), "--shapes: '8,1' is not WIDTH,DEPTH,HEADS"),
    (("torch", "--peer=.", "--config.training.micro_batches=4"), "follows in nothing but training.batch_size, "),
    (("torch", "--family=vit", "--config.objective.mixup=.2"), "follows in nothing but training.batch_size, "),
    (("torch", "--peer=.", "--config.objective.model.positions=rotary"), "follows in nothing but training.batch_size"),
    (("torch", "--peer=.", "--config.objective.model.wide=4"), "has no field 'wide'; did you mean width?"),
])
def test_bad_input_is_one_line(arguments, message):
    done = run_command("launch.benchmark", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and message in line


def test_without_pytorch_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "model.py").write_text("import torch\n")
    for load in (lambda: nanogpt.load(str(tmp_path)), timm_vit.load):
        with pytest.raises(ConfigError, match="needs torch: pip install torch"):
            load()
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    monkeypatch.setitem(sys.modules, "timm", None)
    (tmp_path / "models.py").write_text("import torch, timm\n")
    for load in (lambda: dit.load(str(tmp_path)), timm_vit.load):
        with pytest.raises(ConfigError, match="needs timm: pip install timm"):
            load()


def test_both_sides_must_see_the_gpu(monkeypatch):
    cuda = types.SimpleNamespace(is_available=lambda: True)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    with pytest.raises(ConfigError, match="JAX sees no GPU"):
        torch_peer.check_devices()
    monkeypatch.setattr(torch_peer.jax, "default_backend", lambda: "gpu")
    torch_peer.check_devices()
    cuda.is_available = lambda: False
    with pytest.raises(ConfigError, match="PyTorch sees no GPU"):
        torch_peer.check_devices()


@pytest.mark.parametrize("shape", PEERS, ids=lambda shape: type(shape).__name__)
def test_every_parameter_has_its_place_in_torch(shape):
    objective, peer = shape.objective(), PEERS[shape]
    params = parameters(objective)
    arrays = peer.as_torch(params, objective.model)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert len(np.unique(np.concatenate([np.ravel(array) for array in arrays.values()]))) == count
    scanned = params | {"transformer": stack_blocks(params["transformer"])}
    again = peer.as_torch(weights.unrolled(scanned), objective.model)
    assert all(np.array_equal(again[name], array) for name, array in arrays.items())


def test_a_linear_layer_and_a_patch_embedding_compute_the_same_in_torch_s_places():
    random = np.random.default_rng(0)
    tree = {"kernel": random.normal(size=(2 * 2 * 3, 5)), "bias": random.normal(size=5)}
    image = random.normal(size=(1, 4, 4, 3))
    given = weights.patches("proj", tree, 2)
    # A convolution with stride 2, as torch defines it, of the image [C, I, J]; the third patch of four.
    expected = np.einsum("fcij,ijc->f", given["proj.weight"], image[0, 2:, :2]) + given["proj.bias"]
    patch = image[0, 2:, :2].reshape(-1)
    np.testing.assert_allclose(expected, patch @ tree["kernel"] + tree["bias"])
    given = weights.linear("both", [tree, tree])
    np.testing.assert_allclose(given["both.weight"] @ patch + given["both.bias"], np.tile(expected, 2), rtol=1e-5)


def test_a_step_s_work_by_hand(works):
    experiment, its = works["nanoGPT"]
    D, L, V, T, B = 16, 2, 256, 64, 4
    matrices = L * 12 * D * D + V * D
    assert its.parameters == matrices + T * D + L * (4 * D + 9 * D) + 2 * D
    assert (its.unit, its.units) == ("tokens", B * T)
    assert its.flops == B * T * (6 * matrices + 12 * L * T * D)
    # Parameters and two moments read and written, a gradient written and read, and the tokens.
    assert its.num_bytes == pytest.approx(4 * its.parameters * 8 + 4 * B * (T + 1), rel=1e-3)
    scanned = dataclasses.replace(experiment.objective.model, scan_layers=True, remat="full")
    objective = dataclasses.replace(experiment.objective, model=scanned, loss_chunk=16)
    assert torch_step.work(dataclasses.replace(experiment, objective=objective)).flops == its.flops
    assert works["timm"][1].unit == works["DiT"][1].unit == "images"


@pytest.mark.parametrize("peer", ["nanoGPT", "timm", "DiT"])
def test_the_step_lowers_for_a_gpu_with_cudnn_s_attention_in_every_block(works, monkeypatch, peer):
    """As far as that can be seen without one: the timed program's StableHLO for CUDA, on what JAX takes for an H200."""
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91_000)
    monkeypatch.setattr(flash, "local_device", lambda: flash.Device("gpu", "NVIDIA H200", (9, 0)))
    experiment, _ = works[peer]
    program = torch_step.timed_program(experiment)
    shapes = (program.abstract_state(torch_step.hyperparameters(experiment)),
              jax.tree.map(lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), experiment.objective.dummy_batch(4)))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), shapes)  # of no CPU
    text = jax.jit(program._steps()).trace(*shapes).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("@__cudnn$fmhaSoftmax(") == text.count("@__cudnn$fmhaSoftmaxBackward(") == 2  # its depth


def test_figures_stand_beside_their_floors(works, monkeypatch):
    experiment, its = works["nanoGPT"]
    its = dataclasses.replace(its, units=1_000, flops=4.947e12, num_bytes=4.8e9, conventions={"6N": 2.4735e9})
    monkeypatch.setitem(PEAKS, jax.devices()[0].device_kind, PEAKS["NVIDIA H200"])
    row = {"loss_error": 1e-7, "gradient_error": 1e-6, "start_error": 1e-4, "ratio": 1.25, "ratio_of_minima": 1.5,
           "seconds_first": [0.0125, 0.015, 0.012], "seconds_second": [0.01, 0.008, 0.012]}
    console = Console(file=io.StringIO(), width=200)
    found = torch_step.report("16,2,2", "nanoGPT", experiment, its, row, console)
    assert found["floors"] == {"arithmetic": pytest.approx(5e-3), "memory": pytest.approx(1e-3)}
    assert found["rates"]["genlab"]["per_second"] == pytest.approx(1e5)
    assert found["rates"]["genlab"]["mfu"] == pytest.approx(0.5)
    assert found["rates"]["nanoGPT"]["mfu"] == pytest.approx(0.4)
    assert found["rates"]["genlab"]["mfu_by_convention"] == {"6N": pytest.approx(0.25)}
    text = console.file.getvalue()
    assert "8.00 / 10.00  100,000 tokens/s  MFU 50.0%" in text and "80,000 tokens/s  MFU 40.0%" in text
    assert "5.00 (arithmetic) and 1.00 (bytes)  200,000 tokens/s" in text and "1.25 times as fast" in text
    assert "genlab's MFU by 6N 25.0%" in text


def test_no_mfu_where_the_peak_is_unknown(works):
    console = Console(file=io.StringIO(), width=200)
    row = {"loss_error": 0.0, "gradient_error": 0.0, "start_error": None, "ratio": 1.0, "ratio_of_minima": 1.0,
           "seconds_first": [1.0], "seconds_second": [1.0]}
    assert torch_step.report("x", "DiT", *works["DiT"], row, console)["floors"] is None
    assert "no MFU: the peak rate of" in console.file.getvalue() and "drawn by each" in console.file.getvalue()


@pytest.fixture
def without_torch(monkeypatch):
    """PyTorch's side as it would be if it computed what genlab does, but for a factor of its gradients."""
    def loss_and_gradient(peer, model, params, loss, batch):
        tokens = np.concatenate([batch["inputs"], batch["targets"][:, -1:]], axis=1)
        loss = torch_peer.own_loss(NextToken(model=model))
        value, gradient = jax.jit(jax.value_and_grad(loss))(params, {"tokens": tokens})
        return float(value), {name: side.factor * np.asarray(array)
                              for name, array in peer.as_torch(gradient, model).items()}

    class TorchTrainer:
        def __init__(self, peer, model, params, batches, optimizer, mode):
            self.batches = [peer.batch(batch) for batch in batches]

        def dispatch(self):
            return np.log(256)

        def side(self):
            return Side("nanoGPT", self.dispatch, lambda loss: None)

    side = types.SimpleNamespace(loss_and_gradient=loss_and_gradient, TorchTrainer=TorchTrainer, factor=1.0,
                                 versions=lambda: {"torch": "none"}, release=lambda: None,
                                 out_of_memory=lambda error: isinstance(error, MemoryError))
    monkeypatch.setitem(sys.modules, "launch.benchmarks.pytorch.side", side)
    monkeypatch.setattr("launch.benchmarks.pytorch.side", side, raising=False)
    monkeypatch.setattr(torch_step, "check_devices", lambda: None)
    return side


def test_both_sides_are_compared_and_timed(without_torch, monkeypatch):
    console = Console(file=io.StringIO(), width=200)
    shapes, peer = [nanogpt.GPT2Shape(8, 1, 2)], nanogpt.NanoGPT(None)
    results, good = torch_step.run(peer, shapes, 2, 0.0, "default", console)
    (row,) = results["shapes"]
    assert good and row["loss_error"] < 1e-6 and row["gradient_error"] < 1e-5 and row["start_error"] < 1e-2
    assert len(row["seconds_first"]) == len(row["seconds_second"]) == 2
    assert row["rates"]["genlab"]["per_second"] == pytest.approx(4 * 64 / np.median(row["seconds_second"]))
    monkeypatch.setattr(torch_step, "measure", lambda *_: row | {"gradient_error": 0.1})
    assert not torch_step.run(peer, shapes, 1, 0.0, "default", console)[1]
    assert "the two sides do not compute the same" in console.file.getvalue()


def test_a_gradient_that_differs_is_found(without_torch):
    objective = nanogpt.GPT2Shape(8, 1, 2).objective()
    params = jax.jit(objective.init)(jax.random.key(0))["params"]
    without_torch.factor = 1.1
    errors = torch_step.agreement(nanogpt.NanoGPT(None), objective, params)
    assert errors["gradient_error"] == pytest.approx(0.1 / 1.1, rel=1e-3) and errors["loss_error"] < 1e-6


def test_too_little_memory_is_one_line(without_torch, monkeypatch):
    def full(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 13000000000 bytes.")

    monkeypatch.setattr(torch_step, "measure", full)
    with pytest.raises(ConfigError, match="smaller batches than 4: --config.training.batch_size=N"):
        torch_step.run(nanogpt.NanoGPT(None), [nanogpt.GPT2Shape(8, 1, 2)], 1, 0.0, "default", Console())


def test_sides_that_differ_are_found():
    good = {"loss_error": 1e-7, "gradient_error": 1e-5, "start_error": 1e-3}
    assert torch_step.alike(good) and torch_step.alike(good | {"start_error": None})
    for name in good:
        assert not torch_step.alike(good | {name: 0.1})
    theirs = {"a": np.array([1.0, -10.0]), "rounding": np.array([1e-9])}
    assert torch_step.gradient_error({"a": np.array([1.5, -10.0]), "rounding": np.array([-1e-9])},
                                     theirs) == pytest.approx(0.05)


def test_what_both_sides_follow_in_can_be_set(monkeypatch):
    changes = [("training.batch_size", "2"), ("objective.model.scan_layers", "true"), ("objective.loss_chunk", "16")]
    monkeypatch.setattr("launch.flags._overrides", changes)
    experiment = nanogpt.GPT2Shape(8, 1, 2).experiment()
    assert (experiment.training.batch_size, experiment.objective.loss_chunk) == (2, 16)
    assert experiment.objective.model.scan_layers


def test_shapes_and_batches():
    assert [str(shape) for shape in parse_shapes(None, nanogpt.GPT2Shape)] == ["768,12,12", "1024,24,16"]
    for shape in PEERS:
        objective = shape.objective()
        batches = torch_peer.random_batches(objective, 3, 2)
        assert {name: array.shape[1:] for name, array in batches.items()} == {
            name: leaf.shape for name, leaf in objective.dummy_batch(3).items()}
        assert objective.dtype == "bfloat16" and torch_peer.float32(objective).dtype == "float32"
        PEERS[shape].batch({name: array[0] for name, array in batches.items()})
