"""The estimated memory of a training step against XLA's own plan for it."""

import jax
import jax.numpy as jnp
import pytest

from genlab.models.gpt import GPT
from genlab.models.unet import UNet
from genlab.models.vit import ViT
from genlab.objectives.classification import Classification
from genlab.objectives.diffusion import ImageDiffusion
from genlab.objectives.next_token import NextToken
from genlab.training.memory import compiled_memory, estimate_training_memory, saved_bytes
from genlab.training.optimizers import AdamW
from genlab.training.plans import choose_plan
from genlab.training.program import program_for

# XLA plans memory before it leaves it to LLVM to optimise, so the plans are those of a real run.
OPTIMIZER = AdamW(learning_rate=1e-3)


def gpt(loss_chunk=None, **fields):
    model = GPT(vocab_size=256, context_length=128, width=32, depth=3, num_heads=4, **fields)
    objective = NextToken(model=model, loss_chunk=loss_chunk)
    return objective, {"tokens": jax.ShapeDtypeStruct((8, 129), jnp.int32)}


def vit(**fields):
    model = ViT(image_size=32, patch_size=4, num_classes=10, width=32, depth=3, num_heads=4, **fields)
    return Classification(model=model), Classification(model=model).dummy_batch(16)


def unet():
    model = UNet(image_size=8, width=16, channel_multipliers=(1,), blocks=1, attention_resolutions=())
    return ImageDiffusion(model=model), ImageDiffusion(model=model).dummy_batch(16)


def estimated_and_compiled(objective, batch, micro_batches=1, ema_decay=None):
    size = jax.tree.leaves(batch)[0].shape[0]
    program = program_for(objective, OPTIMIZER, micro_batches, ema_decay, choose_plan(size, micro_batches, devices=1))
    estimate = estimate_training_memory(objective, OPTIMIZER, batch, micro_batches, ema_decay is not None)
    return estimate, compiled_memory(program, OPTIMIZER.hyperparameters(100), batch, steps=2)


@pytest.mark.parametrize(("objective", "batch", "factor"), [
    (*gpt(loss_chunk=32, scan_layers=True, remat="full", attention_block=32), 1.4), (*vit(), 1.2),
    (*vit(scan_layers=True, remat="full"), 1.4), (*unet(), 1.6),
], ids=["scanned gpt with remat and blocks", "vit", "scanned vit with remat", "unet"])
def test_the_estimate_is_within_a_factor_of_xlas(objective, batch, factor):
    estimate, compiled = estimated_and_compiled(objective, batch)
    batches = 2 * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(batch))
    assert estimate.state + batches == pytest.approx(compiled.arguments, abs=200)
    print(f"estimate / XLA: {estimate.working / compiled.temporary:.2f}")
    assert 1 / factor < estimate.working / compiled.temporary < factor


def test_micro_batches_and_a_moving_average_are_seen():
    objective, batch = gpt()
    whole = estimate_training_memory(objective, OPTIMIZER, batch)
    parts, compiled = estimated_and_compiled(objective, batch, micro_batches=4, ema_decay=0.99)
    assert parts.activations == pytest.approx(whole.activations / 4, rel=0.1)
    assert (whole.gradients, parts.gradients) == (whole.parameters, 2 * whole.parameters)
    assert parts.moving_average == parts.parameters == whole.parameters and whole.moving_average == 0
    assert 1 / 1.4 < parts.working / compiled.temporary < 1.6


def test_remat_is_seen_in_what_is_saved():
    def saved(**fields):
        objective, batch = gpt(**fields)
        params = jax.eval_shape(objective.init, jax.random.key(0))["params"]
        return saved_bytes(lambda p, b: objective.loss({"params": p}, b, None, True)[0], params, batch)

    # Of each of three blocks its input remains, [8, 128, 32] floats, beside the head's own.
    logits, block = 4 * 8 * 128 * 256, 4 * 8 * 128 * 32
    assert saved() > 3 * saved(remat="full")
    assert 3 * block < saved(remat="full") < 3 * block + 4 * logits
    # Of the head, chunks leave its input, targets and log Z; of attention, blocks leave no weights [8, 4, 128, 128].
    weights = 4 * 8 * 4 * 128 * 128
    assert 3 * block < saved(remat="full", loss_chunk=32) < 5.5 * block
    assert saved() - saved(attention_block=32) > 2.5 * weights
    # Linear layers give nine blocks (queries, keys, values, output, MLP), and products with weights one more.
    linear, products = (saved(remat=policy, loss_chunk=32) for policy in ("dots_no_batch", "dots"))
    assert 3 * 9 * block < linear < 3 * 12 * block
    assert 3 * weights < products - linear < 3 * (weights + 2 * block)


def test_arguments_are_not_counted_as_saved():
    x, w = jnp.ones((64, 32)), jnp.ones((32, 16))
    # The square needs x @ w again, or twice it; x and w are there anyway.
    assert saved_bytes(lambda w, x: ((x @ w) ** 2).sum(), w, x) == 4 * 64 * 16


def test_shares_of_devices():
    objective, batch = gpt()
    whole = estimate_training_memory(objective, OPTIMIZER, batch)
    share = whole.per_device(data=2, fsdp=4)
    assert (share.parameters, share.optimizer, share.gradients) == (
        whole.parameters / 4, whole.optimizer / 4, whole.gradients / 4)
    assert share.activations == whole.activations / 8
    assert whole.per_device(data=8).state == whole.state
