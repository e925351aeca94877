"""GPT: sizes, bad hyper-parameters, causality, initial state, and the flags that must not change its numbers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.models.gpt import GPT, GPT_SIZES
from genlab.models.layers import kernel_initializer
from genlab.models.transformer import stack_blocks

TINY = GPT(vocab_size=17, context_length=12, width=16, depth=2, num_heads=4)
ROTARY = dataclasses.replace(
    TINY, positions="rotary", norm="rmsnorm", mlp="swiglu", num_kv_heads=2, qk_norm=True, tied_head=False
)


@functools.cache
def random_params(model):
    """Parameters of the right shapes, drawn by NumPy: an initialiser takes a second to compile."""
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32)))
    return jax.tree.map(lambda s: rng.normal(0.1, 0.4, s.shape).astype(np.float32), shapes["params"])


def tokens_of(model, batch=3, length=None, seed=1):
    """Random tokens [batch, length]."""
    shape = (batch, length or model.context_length)
    return np.random.default_rng(seed).integers(0, model.vocab_size, shape)


@functools.cache
def forward(model, train=False):
    """A compiled forward pass (params, tokens, key) -> logits."""
    return jax.jit(
        lambda params, tokens, key=None: model.apply(
            {"params": params}, tokens, train=train, rngs=None if key is None else {"dropout": key}
        )
    )


@functools.cache
def forward_with_intermediates(model):
    """A compiled forward pass (params, tokens) -> (logits, intermediates)."""

    def run(params, tokens):
        logits, kept = model.apply({"params": params}, tokens, mutable="intermediates")
        return logits, kept["intermediates"]

    return jax.jit(run)


@pytest.mark.parametrize(
    ("size", "published"),
    [("124M", 124_439_808), ("350M", 354_823_168), ("774M", 774_030_080), ("1.5B", 1_557_611_200)],
)
@pytest.mark.parametrize("scan_layers", [False, True])
def test_gpt2_sizes_have_the_published_numbers_of_parameters(size, published, scan_layers):
    model = dataclasses.replace(GPT_SIZES[size], scan_layers=scan_layers)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == published


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 3}, "width 16 is not divisible by num_heads 3"),
        ({"num_kv_heads": 3}, "num_heads 4 is not divisible by num_kv_heads 3"),
        ({"num_kv_heads": 0}, "num_heads 4 is not divisible by num_kv_heads 0"),
        ({"num_heads": 16, "positions": "rotary"}, "width / num_heads must be even, not 1"),
        ({"positions": "alibi"}, 'positions must be "learned" or "rotary", not "alibi"'),
        ({"norm": "batchnorm"}, 'norm must be "layernorm" or "rmsnorm"'),
        ({"mlp": "relu"}, 'mlp must be "gelu" or "swiglu"'),
        ({"initialization": "zeros"}, 'initialization must be "fan_in" or "gpt2"'),
        ({"dtype": "float8"}, 'dtype must be "float32" or "bfloat16", not "float8"'),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"remat": "dots_nobatch"}, r"remat=dots_nobatch is not a choice; did you mean dots_no_batch\?"),
        ({"remat": True}, "remat=True is not a choice; one of none, dots, dots_no_batch, full"),
        ({"attention_block": 0}, "attention_block=0 must be at least 1 position"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"num_heads": 0}, "num_heads must be at least 1"),
        ({"vocab_size": 0}, "vocab_size must be at least 1"),
    ],
)
def test_bad_hyper_parameters_are_one_line_errors(changes, message):
    model = dataclasses.replace(TINY, **changes)
    with pytest.raises(ValueError, match=message) as error:
        model.validate()
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=message):
        random_params(model)


def test_a_sequence_longer_than_the_context_is_a_one_line_error():
    with pytest.raises(ValueError, match="13 tokens are longer than the model's context_length 12"):
        jax.eval_shape(TINY.init, jax.random.key(0), jnp.zeros((1, 13), jnp.int32))


@pytest.mark.parametrize("model", [TINY, ROTARY], ids=["learned", "rotary"])
def test_later_tokens_change_nothing_before_them(model):
    params, tokens = random_params(model), tokens_of(model)
    changed = tokens.copy()
    changed[:, 7:] = (changed[:, 7:] + 1) % model.vocab_size
    before, after = forward(model)(params, tokens), forward(model)(params, changed)
    np.testing.assert_allclose(before[:, :7], after[:, :7], atol=1e-6)
    assert np.all(np.abs(before - after).max(axis=-1)[:, 7:] > 1e-3)


def test_earlier_tokens_and_their_order_change_what_comes_after():
    for model in (TINY, ROTARY):
        params, tokens = random_params(model), tokens_of(model)
        swapped = tokens.copy()
        swapped[:, [0, 1]] = swapped[:, [1, 0]]
        different = tokens[:, 0] != tokens[:, 1]
        last = np.abs(forward(model)(params, tokens) - forward(model)(params, swapped))[different, -1]
        assert different.any()
        assert np.all(last.max(axis=-1) > 1e-4)


def test_scan_with_remat_gives_the_same_loss_and_gradients():
    tokens = tokens_of(ROTARY)

    def gradients(model, params):
        def loss(params):
            return jnp.mean(jax.nn.log_softmax(model.apply({"params": params}, tokens))[..., 0])

        return jax.jit(jax.value_and_grad(loss))(params)

    def stack(params):
        return params | {"transformer": stack_blocks(params["transformer"])}

    params = random_params(ROTARY)
    scanned = dataclasses.replace(ROTARY, scan_layers=True, remat="full")
    assert jax.tree.map(np.shape, stack(params)) == jax.tree.map(np.shape, random_params(scanned))
    value, expected = gradients(ROTARY, params)
    other_value, other = gradients(scanned, stack(params))
    np.testing.assert_allclose(value, other_value, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), other, stack(expected))


@pytest.mark.parametrize("scan_layers", [False, True])
def test_remat_puts_each_block_in_a_checkpoint(scan_layers):
    def checkpoints(remat):
        model = dataclasses.replace(TINY, remat=remat, scan_layers=scan_layers)
        params = {"params": random_params(model)}
        return str(jax.make_jaxpr(model.apply)(params, tokens_of(model))).count("remat")

    assert checkpoints("none") == 0
    for policy in ("dots", "dots_no_batch", "full"):
        assert checkpoints(policy) == (1 if scan_layers else TINY.depth)


def test_policies_of_remat_give_the_same_gradients():
    model = dataclasses.replace(TINY, scan_layers=True, dropout=0.2)
    params, tokens = random_params(model), tokens_of(model)

    @jax.jit
    def gradients(params):
        def loss(params, remat):
            logits = dataclasses.replace(model, remat=remat).apply(
                {"params": params}, tokens, True, rngs={"dropout": jax.random.key(0, impl="rbg")})
            return jnp.mean(jax.nn.log_softmax(logits)[..., 0])

        return [jax.grad(loss)(params, remat) for remat in ("none", "dots", "dots_no_batch")]

    plain, *others = gradients(params)
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), other, plain)


def test_bfloat16_computes_near_float32_and_keeps_float32_parameters_and_logits():
    model = dataclasses.replace(TINY, dtype="bfloat16")
    params, tokens = random_params(model), tokens_of(model)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    logits, kept = forward_with_intermediates(model)(params, tokens)
    assert logits.dtype == jnp.float32
    assert kept["transformer"]["block_0"]["output_BTD"][0].dtype == jnp.bfloat16
    exact = forward(TINY)(params, tokens)
    assert 1e-4 < np.abs(logits - exact).max() < 0.05 * np.abs(exact).max()


def test_dropout_is_random_by_key_in_training_only():
    model = dataclasses.replace(TINY, dropout=0.5)
    params, tokens = random_params(model), tokens_of(model)
    train = forward(model, train=True)
    one, again, two = (train(params, tokens, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - two).max() > 0.1
    evaluation = jax.make_jaxpr(functools.partial(model.apply, train=False))({"params": params}, tokens)
    assert "random_bits" not in str(evaluation)


def initial_scale_and_loss(depth):
    """Standard deviation of the residual stream after the last block, and the loss, at initialisation."""
    model = GPT(vocab_size=64, context_length=16, depth=depth, num_heads=2, scan_layers=True)
    tokens = tokens_of(model, batch=16, length=17)
    key = jax.random.key(0, impl="rbg")  # compiles in half the time of threefry
    params = jax.jit(model.init)(key, tokens[:1, :1])["params"]
    logits, kept = forward_with_intermediates(model)(params, tokens[:, :-1])
    logits = np.asarray(logits)
    picked = np.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
    loss = np.mean(np.log(np.exp(logits).sum(axis=-1)) - picked)
    return np.std(kept["transformer"]["blocks"]["output_BTD"][0][-1]), loss


def test_the_initial_state_is_stable_with_depth():
    """The residual stream keeps its scale from 2 to 32 blocks, and the loss starts near ln V."""
    shallow, shallow_loss = initial_scale_and_loss(2)
    deep, deep_loss = initial_scale_and_loss(32)
    assert 0.8 < deep / shallow < 1.25
    # Logits of unit variance, as 1 / sqrt(D) tables give, cost .5 nats over ln V.
    assert abs(shallow_loss - np.log(64)) < 0.75
    assert abs(deep_loss - np.log(64)) < 0.75


def test_kernels_have_the_standard_deviation_of_their_scheme():
    draw = functools.partial(jax.jit, static_argnames="shape")
    key, shape = jax.random.key(0), (100, 400)
    fan_in = draw(lambda shape: kernel_initializer("fan_in", 0.5)(key, shape))(shape)
    gpt2 = draw(lambda shape: kernel_initializer("gpt2", 0.5)(key, shape))(shape)
    np.testing.assert_allclose(np.std(fan_in), 0.5 / 10, rtol=0.02)
    np.testing.assert_allclose(np.std(gpt2), 0.5 * 0.02, rtol=0.02)


def test_attention_weights_can_be_read_out():
    params, tokens = random_params(TINY), tokens_of(TINY)
    logits, kept = forward_with_intermediates(TINY)(params, tokens)
    np.testing.assert_allclose(logits, forward(TINY)(params, tokens), atol=1e-5)
    weights = kept["transformer"]["block_1"]["attention"]["weights_BHTS"][0]
    assert weights.shape == (3, 4, 12, 12)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    assert np.all(np.triu(weights[0, 0], 1) == 0)
