import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genlab.configuration import ConfigError
from genlab.training.checkpoints import Checkpoints
from genlab.training.memory import estimate_training_memory
from genlab.training.optimizers import SGD, Adafactor, AdamW, Lion, Muon, decay_mask, initial_optimizer_state, kept_as
from genlab.training.step import initial_state
from tests.training.regression import Regression

OPTIMIZERS = [AdamW(), Lion(), Muon(), SGD(), Adafactor()]
IN_BFLOAT16 = [AdamW(moment_dtype="bfloat16", second_moment_dtype="bfloat16"), Lion(moment_dtype="bfloat16"),
               Muon(moment_dtype="bfloat16"), SGD(moment_dtype="bfloat16")]


def update(optimizer, params, gradient, learning_rate=0.1, weight_decay=0.0):
    transform = optimizer.transform(jnp.float32(learning_rate), jnp.float32(weight_decay))
    updates, _ = transform.update(gradient, initial_optimizer_state(optimizer, params), params)
    return updates


def layer(seed=0):
    keys = jax.random.split(jax.random.key(seed))
    return {"layer": {"kernel": jax.random.normal(keys[0], (4, 6)), "bias": jnp.ones(6)},
            "norm": {"scale": jnp.ones(4)}, "token_embedding": jax.random.normal(keys[1], (5, 4))}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_descends_a_quadratic(optimizer):
    """Every optimizer lowers |params|^2 a thousandfold with a decaying learning rate, all numbers traced."""
    params = layer()
    h = {name: jnp.float32(v) for name, v in optimizer.hyperparameters(300).items()} | {
        "learning_rate": jnp.float32(0.1)}

    @jax.jit
    def step(carry, t):
        params, state = carry
        gradient = jax.tree.map(lambda p: 2 * p, params)
        transform = optimizer.transform(optimizer.learning_rate_at(t, h), h["weight_decay"])
        updates, state = transform.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = optax.global_norm(params)
    (params, _), _ = jax.lax.scan(step, (params, initial_optimizer_state(optimizer, params)), jnp.arange(300))
    assert optax.global_norm(params) ** 2 < 1e-3 * start**2


@pytest.mark.parametrize("optimizer", IN_BFLOAT16, ids=lambda o: type(o).__name__)
def test_moments_are_kept_in_bfloat16_and_computed_with_in_float32(optimizer):
    """After two updates they are what float32 gives of the rounded ones after the first, rounded once."""
    exact = dataclasses.replace(optimizer, **{name: "float32" for name in ("moment_dtype", "second_moment_dtype")
                                              if hasattr(optimizer, name)})
    params = layer()
    transforms = [o.transform(jnp.float32(0.1), jnp.float32(0.1)) for o in (optimizer, exact)]
    kept = initial_optimizer_state(optimizer, params)
    moments = [leaf.dtype for leaf in jax.tree.leaves(kept) if leaf.ndim and leaf.shape != (3,)]
    unrounded = 3 if isinstance(optimizer, Muon) else 0  # second moments of what is no matrix
    assert (moments.count(jnp.bfloat16), moments.count(jnp.float32)) == (len(moments) - unrounded, unrounded)

    @jax.jit
    def both(gradient, kept):
        as_float32 = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, kept)
        return [t.update(gradient, state, params) for t, state in zip(transforms, (kept, as_float32), strict=True)]

    for seed in (1, 2):
        (updates, kept), (exact_updates, exact_state) = both(layer(seed), kept)
        jax.tree.map(np.testing.assert_array_equal, updates, exact_updates)
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y.astype(x.dtype)), kept, exact_state)


def test_training_with_bfloat16_moments_stays_close():
    """Logistic regression in batches: 200 updates end within 1 % of the loss that float32 moments give."""
    keys = jax.random.split(jax.random.key(0), 3)
    x, true = jax.random.normal(keys[0], (200, 32, 16)), jax.random.normal(keys[1], (16,))
    y = jax.random.bernoulli(keys[2], jax.nn.sigmoid(x @ true))

    def loss(params, x, y):
        return optax.sigmoid_binary_cross_entropy(x @ params["kernel"], y).mean()

    def last_loss(optimizer):
        transform = optimizer.transform(jnp.float32(0.02), jnp.float32(0))

        def step(carry, batch):
            params, state = carry
            updates, state = transform.update(jax.grad(loss)(params, *batch), state, params)
            return (optax.apply_updates(params, updates), state), None

        start = {"kernel": jnp.zeros(16)}
        (params, _), _ = jax.lax.scan(step, (start, initial_optimizer_state(optimizer, start)), (x, y))
        return loss(params, x.reshape(-1, 16), y.reshape(-1))

    exact, rounded = jax.jit(lambda: (last_loss(AdamW()), last_loss(IN_BFLOAT16[0])))()
    assert exact < 0.6 * np.log(2) and rounded != exact
    np.testing.assert_allclose(rounded, exact, rtol=0.01)


@pytest.mark.parametrize(("beta2", "falls"), [(0.999, False), (0.996, True), (0.98, True)])
def test_a_second_moment_in_bfloat16_falls_only_where_beta2_takes_off_more_than_it_rounds(beta2, falls):
    """Which is why others are refused: with .999 it stays where it was when gradients have vanished."""
    rule = kept_as(optax.scale_by_adam(b2=beta2), nu="bfloat16")
    start = jnp.linspace(1, 2, 129)
    state = rule.init(start)._replace(nu=start.astype(jnp.bfloat16))
    state, _ = jax.lax.scan(lambda state, _: (rule.update(jnp.zeros(129), state)[1], None), state, length=1000)
    assert np.all(state.nu < 0.1) if falls else np.all(state.nu > 0.99)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_weight_decay_shrinks_kernels_and_spares_biases_and_scales(optimizer):
    params = layer()
    gradient = jax.tree.map(jnp.ones_like, params)
    plain = update(optimizer, params, gradient)
    decayed = update(optimizer, params, gradient, weight_decay=0.5)
    difference = jax.tree.map(lambda a, b: a - b, decayed, plain)
    for got, param in ((difference["layer"]["kernel"], params["layer"]["kernel"]),
                       (difference["token_embedding"], params["token_embedding"])):
        np.testing.assert_allclose(got, -0.05 * param, rtol=1e-3, atol=1e-6)
    assert np.abs(difference["layer"]["bias"]).max() == 0
    assert np.abs(difference["norm"]["scale"]).max() == 0


def test_adamw_first_update_by_hand():
    """After bias correction the first update is -rate * g / (|g| + eps): Kingma & Ba 2014, algorithm 1."""
    params = {"kernel": jnp.array([1.0, -2.0])}
    gradient = {"kernel": jnp.array([0.3, -0.004])}
    got = update(AdamW(clip_norm=None), params, gradient)["kernel"]
    np.testing.assert_allclose(got, -0.1 * np.sign(gradient["kernel"]), rtol=1e-5)


def test_clipping_scales_to_the_norm():
    params = {"kernel": jnp.zeros(2)}
    got = update(SGD(momentum=0.0, clip_norm=1.0), params, {"kernel": jnp.array([3.0, 4.0])})["kernel"]
    np.testing.assert_allclose(got, [-0.06, -0.08], rtol=1e-6)


def test_muon_orthogonalises_kernels_only():
    params = layer()
    gradient = layer(seed=1)
    got = update(Muon(consistent_rms=None, clip_norm=None), params, gradient, learning_rate=1.0)
    singular = np.linalg.svd(got["layer"]["kernel"], compute_uv=False)
    assert singular.min() > 0.5 and singular.max() < 1.5
    np.testing.assert_allclose(np.abs(got["token_embedding"]), 1.0, rtol=1e-3)


def test_decay_mask_goes_by_name():
    assert decay_mask(layer()) == {"layer": {"kernel": True, "bias": False}, "norm": {"scale": False},
                                   "token_embedding": True}


def test_hyperparameters_are_matched_to_the_length():
    h = AdamW(warmup_steps=20, warmup_fraction=0.05).hyperparameters(1000)
    assert (h["warmup_steps"], h["total_steps"]) == (50, 1000)
    assert AdamW(warmup_steps=20).hyperparameters(10)["warmup_steps"] == 10
    assert AdamW(learning_rate=1.0).without_hyperparameters() == AdamW(learning_rate=2.0).without_hyperparameters()


def test_refuses_numbers_out_of_range():
    with pytest.raises(ConfigError, match=r"optimizer.warmup_fraction=1.5 .* \[0, 1\]"):
        AdamW(warmup_fraction=1.5)
    with pytest.raises(ConfigError, match=r"learning_rate=-1.0 must be a number from 0 up"):
        AdamW(learning_rate=-1.0)
    with pytest.raises(ConfigError, match=r"optimizer.moment_dtype=bfloat61 is not a choice; did you mean bfloat16\?"):
        Lion(moment_dtype="bfloat61")
    with pytest.raises(ConfigError, match=r"rounds away what beta2=0.999 takes off .* take beta2 of at most .996, or"):
        AdamW(beta2=0.999, second_moment_dtype="bfloat16")
    with pytest.raises(ConfigError, match="Adafactor keeps no averages of gradients"):
        Adafactor(moment_dtype="bfloat16")


def test_moments_in_bfloat16_halve_their_memory_and_come_back_from_a_checkpoint(tmp_path):
    objective, batch = Regression(inputs=32), {"x": jax.ShapeDtypeStruct((4, 32), jnp.float32),
                                               "y": jax.ShapeDtypeStruct((4, 1), jnp.float32)}
    counter = 4
    sizes = [estimate_training_memory(objective, optimizer, batch).optimizer - counter
             for optimizer in (AdamW(), AdamW(moment_dtype="bfloat16"), IN_BFLOAT16[0])]
    assert sizes == [4 * 66, 3 * 66, 2 * 66]
    optimizer = IN_BFLOAT16[0]
    shapes = jax.eval_shape(lambda: initial_state(objective, optimizer, 0, optimizer.hyperparameters(9), False))
    rng, device = np.random.default_rng(0), jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state = jax.tree.map(lambda x: jax.device_put(rng.normal(size=x.shape).astype(x.dtype), device), shapes)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state, {})
    checkpoints.wait()
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    found, _ = checkpoints.restore(abstract)
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, found.opt_state, state.opt_state)
    assert [x.dtype for x in jax.tree.leaves(found.opt_state)] == [x.dtype for x in jax.tree.leaves(shapes.opt_state)]
