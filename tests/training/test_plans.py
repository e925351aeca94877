"""Every plan trains the same run: on 8 simulated devices, dropout, noise and micro-batches included."""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.data import Digits, Images
from genlab.diffusion.samplers import EulerMaruyama, Sampler
from genlab.diffusion.times import UniformLogSnr
from genlab.experiment import Experiment, run
from genlab.models import placement
from genlab.models.dit import DiT
from genlab.models.gpt import GPT
from genlab.models.mixer import Mixer
from genlab.models.mlp import MLP
from genlab.models.resnet import ResNet
from genlab.models.unet import UNet
from genlab.models.vit import ViT
from genlab.objectives.classification import Classification
from genlab.objectives.diffusion import ImageDiffusion
from genlab.objectives.generation import Draw
from genlab.objectives.grey_levels import GreyLevels
from genlab.objectives.next_token import NextToken
from genlab.objectives.task_scores import Greedy
from genlab.randomness import examples, part_of_batch, per_example
from genlab.trained import plan_here
from genlab.training import plans
from genlab.training.checkpoints import Checkpoints
from genlab.training.optimizers import AdamW
from genlab.training.plans import Layout, choose_plan
from genlab.training.program import Program
from genlab.training.rules import partition
from genlab.training.settings import Training
from tests.training.regression import Regression

STEPS, BATCH = 20, 16
STACK = {"width": 32, "depth": 1, "num_heads": 4}
IMAGES = {"image_size": 4, "channels": 1}
GPT_TINY = GPT(vocab_size=64, context_length=16, dropout=0.1, **STACK)
NETWORK = DiT(**IMAGES, num_classes=10, patch_size=2, **STACK)
OBJECTIVES = {
    "gpt": NextToken(model=GPT_TINY, z_loss=1e-3),
    "gpt in blocks": NextToken(model=dataclasses.replace(GPT_TINY, attention_block=3), z_loss=1e-3, loss_chunk=3),
    # Without a token of the class, so that "sequence" divides the positions.
    "vit": Classification(model=ViT(**IMAGES, num_classes=10, patch_size=2, dropout=0.1, stochastic_depth=0.2,
                                    scan_layers=True, pooling="mean", **{**STACK, "depth": 2})),
    "mixer": Classification(model=Mixer(**IMAGES, num_classes=10, patch_size=2, width=32, depth=2, token_mlp_width=16,
                                        channel_mlp_width=64, stochastic_depth=0.1)),
    "dit": ImageDiffusion(model=NETWORK, times=UniformLogSnr(), label_dropout=0.2, pixels=GreyLevels(17)),
    "unet": ImageDiffusion(model=UNet(**IMAGES, num_classes=0, width=8, channel_multipliers=(1,), blocks=1,
                                      attention_resolutions=(4,), dropout=0.1), pixels=GreyLevels(17)),
}
LAYOUTS = {
    "data": Layout(),
    "pmap": Layout(plan="pmap"),
    "fsdp": Layout(plan="mesh", data=2, fsdp=4),
    "tensor": Layout(plan="mesh", data=2, tensor=4),
    "sequence": Layout(plan="mesh", data=2, fsdp=2, sequence=2),
    "all": Layout(plan="mesh", data=1, fsdp=2, tensor=2, sequence=2),
}
# All layouts of one Transformer, and of the others those whose code is their own.
CASES = [("gpt", layout) for layout in ("data", "pmap", "tensor", "sequence")]
CASES += [("gpt in blocks", layout) for layout in ("fsdp", "all")]
CASES += [("vit", "all"), ("mixer", "tensor"), ("unet", "fsdp")]
OPTIMIZER = AdamW(learning_rate=3e-3, warmup_fraction=0.1)


def program_of(objective, devices, layout=LAYOUTS["data"], micro_batches=1):
    return Program(objective, OPTIMIZER, micro_batches, 0.99,
                   choose_plan(BATCH, micro_batches, devices, layout, objective))


def batches_of(objective):
    random = np.random.default_rng(0)
    ranges = {"tokens": 64, "label": 10, "image": 256}
    return {name: random.integers(0, ranges[name], (STEPS, *leaf.shape)).astype(leaf.dtype)
            for name, leaf in objective.dummy_batch(BATCH).items()}


def first_state(program):
    return program.initial_state(3, OPTIMIZER.hyperparameters(STEPS))


def losses(program, batches, start=None):
    """Of each step, from a state on the host or one that the plan itself draws; no FLOPs are counted, a trace more."""
    state = first_state(program) if start is None else jax.device_put(start, program.plan.of_state(start))
    total, weight = program.steps_alone(state, program.plan.put(batches))[1]["loss"]
    return np.asarray(total) / np.asarray(weight)


@pytest.fixture(scope="module")
def on_one_device():
    """Family -> (its first state, on the host, its losses)."""

    @functools.cache
    def curve(family):
        program = program_of(OBJECTIVES[family], 1)
        start = jax.device_get(first_state(program))
        return start, losses(program, batches_of(OBJECTIVES[family]), start)

    return curve


@pytest.mark.parametrize(("family", "layout"), CASES)
def test_every_plan_gives_the_curve_of_one_device(family, layout, on_one_device, capfd):
    objective = OBJECTIVES[family]
    start, expected = on_one_device(family.removesuffix(" in blocks"))
    own = family.startswith("gpt")  # Of one family each plan draws the first state as well.
    found = losses(program_of(objective, 8, LAYOUTS[layout]), batches_of(objective), None if own else start)
    assert "[SPMD]" not in capfd.readouterr().err  # XLA's warning that it gathers what it need not.
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("devices", "layout"), [(4, "pmap"), (8, "all")])
def test_micro_batches_draw_what_the_whole_batch_draws(devices, layout, on_one_device):
    objective = OBJECTIVES["dit"]
    start, expected = on_one_device("dit")
    found = losses(program_of(objective, devices, LAYOUTS[layout], 2), batches_of(objective), start)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


READINGS = {"gpt": Greedy(room=4, stop=-1), "dit": Draw(Sampler(EulerMaruyama(), 3), guidance=2.0)}


@pytest.fixture(scope="module")
def samples(on_one_device):
    @functools.cache
    def of(family, devices, layout):
        batch = {"prompt": np.arange(4 * BATCH).reshape(1, BATCH, 4) % 64, "start": np.zeros((1, BATCH), int),
                 "index": np.arange(BATCH)[None], "label": np.arange(BATCH)[None] % 10,
                 "example_weight": np.ones((1, BATCH))}
        program = program_of(OBJECTIVES[family], devices, LAYOUTS[layout])
        start, _ = on_one_device(family)
        state = jax.device_put(start, program.plan.of_state(start))
        # A fresh DiT says 0 whatever it reads.
        variables = jax.tree.map(lambda x: x + 0.05 * np.cos(np.arange(x.size)).reshape(x.shape), state.evaluated)
        found = program.outputs(variables, program.plan.put(batch), READINGS[family])
        return np.asarray(found["written" if family == "gpt" else "sample"])

    return of


@pytest.mark.parametrize("family", ["gpt", "dit"])
@pytest.mark.parametrize("layout", ["fsdp", "all"])
def test_samples_are_those_of_one_device(family, layout, samples):
    one = samples(family, 1, "data")
    assert len(np.unique(one)) > 4
    np.testing.assert_array_equal(samples(family, 8, layout), one)


def test_prompts_are_continued_under_a_plan_and_again_without_one():
    objective = OBJECTIVES["gpt"]
    params = jax.jit(objective.init)(jax.random.key(0))["params"]
    prompts = np.arange(32).reshape(8, 4)
    plan = choose_plan(BATCH, 1, 8, LAYOUTS["all"], objective)
    alone = objective.generate({"params": params}, prompts, max_new_tokens=4)
    with plan.placing():
        cut = jax.device_put(params, plan.of_state(params))
        found = objective.generate({"params": cut}, prompts, max_new_tokens=4)
        here = {placement.where(), placement.where()}
    assert len(here) == 1 and placement.where() not in here  # Else what was traced elsewhere would be called here.
    np.testing.assert_array_equal(found, alone)
    np.testing.assert_array_equal(objective.generate({"params": params}, prompts, max_new_tokens=4), alone)


@pytest.mark.parametrize("family", ["dit", "unet"])
def test_a_sampler_s_examples_are_cut_over_the_devices(family):
    objective = OBJECTIVES[family]
    variables = jax.eval_shape(objective.init, jax.random.key(0))
    plan = choose_plan(BATCH, 1, 8, LAYOUTS["fsdp"], objective)
    with plan.placing():
        trace = jax.make_jaxpr(lambda variables, x: objective.denoiser(variables)(x, 0.5))
        text = str(trace(variables, np.zeros((BATCH, 4, 4, 1), np.float32)))
    assert "spec=P(('data', 'fsdp'), None, None, None)" in text


@pytest.mark.parametrize(("layout", "sizes"), [
    (LAYOUTS["fsdp"], (2, 4, 1, 1)),
    (Layout(plan="mesh", fsdp=16), (8, 1, 1, 1)),  # More than there are.
    (Layout(), (8, 1, 1, 1)),
])
def test_a_run_is_read_back_under_its_own_layout_where_that_fits(layout, sizes):
    training = Training(steps=1, batch_size=BATCH, layout=layout)
    experiment = Experiment(objective=OBJECTIVES["gpt"], data=None, optimizer=OPTIMIZER, training=training)
    assert tuple(plan_here(experiment).mesh.shape.values()) == sizes


def test_what_a_plan_would_cut_and_cannot_is_warned_of_once(monkeypatch):
    lines = []
    monkeypatch.setattr(placement.logging, "warning", lambda line, *values: lines.append(line % values))
    with choose_plan(BATCH, 1, 8, LAYOUTS["sequence"], OBJECTIVES["gpt"]).placing():
        for _ in range(2):
            assert placement.parts("T", 196) == 2 and placement.parts("B", 1) == 1 and not lines
        for _ in range(2):
            assert placement.parts("T", 197) == 1
    assert lines == ["197 positions do not divide over sequence=2: each of its devices computes all of them"]


def test_devices_count_by_their_weights():
    objective = Regression(inputs=4, noise=0.3)
    random = np.random.default_rng(0)
    batches = {"x": random.normal(size=(3, 16, 4)), "y": random.normal(size=(3, 16, 1)),
               "weight": np.arange(48).reshape(3, 16)}
    batches = {name: array.astype(np.float32) for name, array in batches.items()}
    one, eight = (losses(program_of(objective, devices, LAYOUTS["pmap"]), batches) for devices in (1, 8))
    np.testing.assert_allclose(eight, one, rtol=1e-5)


def test_activations_and_their_work_are_cut_along_heads_and_positions():
    model = dataclasses.replace(GPT_TINY, context_length=256, num_heads=8, scan_layers=True, dropout=0.0)
    objective = NextToken(model=model)

    def cost(layout):
        """(temporary bytes, FLOPs) of a device."""
        program = program_of(objective, 8, layout)
        batch = jax.ShapeDtypeStruct((1, BATCH, 257), np.int32, sharding=program.plan.stacked_batches)
        state = program.abstract_state(OPTIMIZER.hyperparameters(STEPS))
        compiled = program.compile_steps(state, {"tokens": batch})
        return compiled.memory_analysis().temp_size_in_bytes, compiled.cost_analysis()["flops"]

    share, work = cost(Layout(plan="mesh", data=8))
    uncut = 4 * share  # Of a batch in two parts and not in eight.
    for name, most, most_work in (("sequence", 0.4, 1.05), ("tensor", 0.6, 1.15), ("fsdp", 0.4, 1.05)):
        found, done = cost(Layout(plan="mesh", data=2, **{name: 4}))
        assert found < most * uncut and done < most_work * work, name


def test_a_state_too_large_for_a_device_is_cut(monkeypatch):
    objective = OBJECTIVES["gpt"]
    shapes = jax.tree.leaves(jax.eval_shape(objective.init, jax.random.key(0)))
    state = 16 * sum(math.prod(leaf.shape) for leaf in shapes)
    found = {}
    for memory in (None, 3 * state, 2 * state):
        monkeypatch.setattr(plans, "_memory_of_device", lambda memory=memory: memory)
        found[memory] = choose_plan(BATCH, 1, 8, Layout(), objective)
    assert [plan.mesh.shape["fsdp"] for plan in found.values()] == [1, 1, 8]
    assert [plan.describe() for plan in found.values()] == [
        "on 8 x cpu: mesh data=8, parameters on each"] * 2 + [
        "on 8 x cpu: mesh fsdp=8, parameters and optimizer state cut"]
    assert choose_plan(BATCH, 1, 1).describe() == "on one cpu"
    assert choose_plan(BATCH, 1, 4, LAYOUTS["pmap"]).describe() == "on 4 x cpu: pmap, parameters on each"


def test_examples_draw_by_their_position_and_no_two_alike():
    key = jax.random.key(0)
    whole = per_example(jax.random.normal, key, (8, 3))
    assert len(np.unique(whole)) == 24
    found = []
    for first in (0, 4):  # Two devices.
        with part_of_batch(first + np.arange(4), 8):
            np.testing.assert_array_equal(per_example(jax.random.normal, key, (4, 3)), whole[first : first + 4])
            views = per_example(jax.random.normal, key, (8, 3))  # Two of each example.
            assert examples(8).count == 16
        np.testing.assert_array_equal(views[:4], whole[first : first + 4])
        found.append(views)
    assert len(np.unique(found)) == 48
    assert examples(8).count == 8


def test_parameters_and_moments_are_cut_as_the_table_says():
    program = program_of(OBJECTIVES["gpt"], 8, LAYOUTS["all"])
    state = program.initial_state(0, OPTIMIZER.hyperparameters(STEPS))
    found = {jax.tree_util.keystr(path): leaf.sharding.spec for path, leaf in jax.tree_util.tree_leaves_with_path(state)
             if "'up'" in jax.tree_util.keystr(path)}
    assert len(found) == 4  # Of the parameters, their average and two moments.
    assert set(found.values()) == {jax.sharding.PartitionSpec("fsdp", "tensor")}


def test_without_a_rule_fsdp_takes_the_largest_dimension_that_it_divides():
    axes = {"data": 1, "fsdp": 4, "tensor": 1, "sequence": 1}
    assert tuple(partition((), axes, "x", (3, 3, 64, 130))) == (None, None, "fsdp")
    assert tuple(partition((), axes, "x", (8, 256))) == (None, "fsdp")
    assert tuple(partition((), axes, "x", (7, 1001))) == tuple(partition((), axes, "x", (8, 8))) == ()


def test_a_checkpoint_of_any_plan_is_read_under_any_other(on_one_device, tmp_path):
    hyperparameters = OPTIMIZER.hyperparameters(STEPS)
    programs = {name: program_of(OBJECTIVES["gpt"], 8, layout) for name, layout in LAYOUTS.items()}
    state, _ = on_one_device("gpt")
    for written, program in programs.items():
        own = program.abstract_state(hyperparameters)
        placed = jax.tree.map(lambda x, to: jax.device_put(x, to.sharding), state, own)
        checkpoints = Checkpoints(tmp_path / written)
        checkpoints.save(placed, {})
        checkpoints.wait()
        for read in {*programs} - {written}:
            abstract = programs[read].abstract_state(hyperparameters)
            found, _ = checkpoints.restore(abstract)
            jax.tree.map(np.testing.assert_array_equal, found.params, state.params)
            assert jax.tree.all(jax.tree.map(lambda x, wanted: x.sharding == wanted.sharding, found.opt_state,
                                             abstract.opt_state)), (written, read)
        checkpoints.close()


def test_a_run_goes_on_with_other_devices_under_other_plans(tmp_path):
    model = MLP(image_size=8, channels=1, num_classes=10, widths=(32,))
    base = Experiment(objective=Classification(model=model), data=Images(source=Digits()), optimizer=OPTIMIZER,
                      training=Training(steps=16, batch_size=16, steps_per_dispatch=4, checkpoint_steps=4,
                                        evaluate_examples=32, writers=()))

    def go(folder, stages):
        for place, (devices, layout) in enumerate(stages, start=1):
            training = dataclasses.replace(base.training, devices=devices, layout=layout)
            asked = iter(range(1_000))
            end = len(stages) == place
            result = run(dataclasses.replace(base, training=training), folder,
                         should_stop=lambda end=end, asked=asked: not end and next(asked) >= 0)
        return result.outcome

    once = go(tmp_path / "once", [(1, Layout())])
    moved = go(tmp_path / "moved", [(8, LAYOUTS["fsdp"]), (4, Layout(plan="pmap")), (1, Layout()),
                                    (2, Layout(plan="mesh", fsdp=2))])
    assert (once.status, moved.status, moved.steps) == ("finished", "finished", 16)
    np.testing.assert_allclose(moved.metrics["loss"].mean, once.metrics["loss"].mean, rtol=1e-5)
    np.testing.assert_allclose([loss for _, loss in moved.curve], [loss for _, loss in once.curve], rtol=1e-5)


def test_fsdp_lowers_the_bytes_of_each_device_as_arithmetic_says():
    objective = NextToken(model=GPT(vocab_size=50_304, context_length=64, width=1600, depth=48, num_heads=25,
                                    scan_layers=True, remat="full"))

    def bytes_of(layout):
        plan = choose_plan(8, 1, 8, layout, objective)
        program = Program(objective, AdamW(), 1, None, plan)
        state = program.abstract_state(AdamW().hyperparameters(1))
        return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
                   for leaf in jax.tree.leaves((state.params, state.opt_state))), program, state

    (whole, _, _), (cut, program, state) = bytes_of(Layout()), bytes_of(Layout(plan="mesh", fsdp=8))
    params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    assert 1.5e9 < params < 1.6e9 and whole == pytest.approx(12 * params, rel=1e-6)
    assert cut == pytest.approx(whole / 8, rel=1e-3)
    batch = jax.ShapeDtypeStruct((1, *objective.dummy_batch(8)["tokens"].shape), np.int32,
                                 sharding=program.plan.stacked_batches)
    memory = program.compile_steps(state, {"tokens": batch}).memory_analysis()
    assert memory.argument_size_in_bytes == pytest.approx(cut, rel=1e-3)


@pytest.mark.parametrize(("layout", "objective", "message"), [
    (Layout(plan="mesh", data=3, fsdp=2), "gpt", "a mesh of data=3 x fsdp=2 x tensor=1 x sequence=1 has 6 devices, but "
                                                 "there are 8"),
    (Layout(plan="mesh", fsdp=16), "gpt", "has 16 devices, but there are 8"),
    (Layout(plan="mesh", rules=(("kernels$", ("fsdp", "")),)), "gpt", "'kernels$' matches no parameter of gpt"),
    (Layout(plan="mesh", tensor=2), "unet", "layout.tensor=2: unet has no rules for that axis; gpt, vit"),
    (Layout(plan="mesh", sequence=2), "mixer", "layout.sequence=2: mixer has no sequence to cut"),
    (Layout(plan="pmap"), "resnet", 'layout.plan="pmap" computes each device\'s examples by themselves'),
])
def test_a_plan_that_cannot_be_is_one_line(layout, objective, message):
    resnet = Classification(model=ResNet(**IMAGES, num_classes=10, depths=(1,), widths=(8,), stem="small"))
    with pytest.raises(ConfigError) as error:
        choose_plan(BATCH, 1, 8, layout, {**OBJECTIVES, "resnet": resnet}[objective])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_batch_that_does_not_divide_and_sizes_without_a_mesh_are_one_line():
    with pytest.raises(ConfigError, match="batch_size=12 does not divide into 1 micro-batches on 8 devices; take a"):
        choose_plan(12, 1, 8, Layout(plan="mesh", data=2, fsdp=4), OBJECTIVES["gpt"])
    with pytest.raises(ConfigError, match='layout.plan="auto" takes no sizes and no rules'):
        Layout(fsdp=8)
    with pytest.raises(ConfigError, match="names the axis 'tesnor'; there are data, fsdp, tensor, sequence"):
        Layout(plan="mesh", rules=(("kernel", ("tesnor",)),))
