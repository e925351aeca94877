"""cuDNN's flash attention: which calls of attention it may serve, said once for each kind of call.

What serves the others, plain operations of XLA or block-wise attention where a model asks for it, is said too.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from absl import logging

from genlab.models import fast_ops, placement

_NEVER = -3e4  # A score whose exponential is 0, within the range of float16.


class Device(NamedTuple):
    """What decides about a device: its platform ("gpu"), its kind for people, its compute capability or None."""

    platform: str
    kind: str
    capability: tuple[int, int] | None = None


class Call(NamedTuple):
    """What decides about a call of attention: queries [B, T, H, K] of a type, keys [B, S, G, K], and its options."""

    dtype: str
    T: int
    S: int
    H: int
    G: int
    K: int
    causal: bool = False
    masked: bool = False
    dropout: bool = False
    block: int | None = None  # of block-wise attention, which serves what cuDNN may not; plain operations without
    cut: bool = False  # over devices by position, or by heads that queries have and keys have not


def obstacle(call: Call, device: Device) -> str | None:
    """Returns why cuDNN may not serve this call on this device, or None where it may.

    The limits are those of jax.nn.dot_product_attention(implementation="cudnn"), which raises beyond them. Three are
    our own: a boolean mask would become a bias of T x S numbers with a gradient, dropout would draw other numbers than
    elsewhere, and a single query (generation) is bound by reading the keys, however it is computed.
    """
    widest = 256 if device.capability is not None and device.capability[0] == 9 else 128
    if device.platform != "gpu" or device.capability is None:
        return f"{device.kind} is no NVIDIA GPU"
    if device.capability < (8, 0):
        return f"{device.kind} has compute capability {'.'.join(map(str, device.capability))}, below 8.0"
    if call.dtype not in ("bfloat16", "float16"):
        return f"it computes in bfloat16 or float16, not {call.dtype}"
    if call.K % 8 or widest < call.K:
        return f"heads must be a multiple of 8 wide and at most {widest} here, not {call.K}"
    if not call.causal and call.S % 2 and widest < call.K + 8:
        return f"heads for an odd number of keys ({call.S}) must be at most {widest - 8} wide here, not {call.K}"
    if call.H % call.G:
        return f"{call.H} query heads do not share {call.G} key heads evenly"
    if call.causal and call.T != call.S:
        return f"causality needs as many queries as keys, not {call.T} and {call.S}"
    if call.masked:
        return "it would expand the mask into T x S numbers"
    if call.dropout:
        return "its dropout draws other numbers"
    if call.cut:
        return "devices share its positions, or query heads without their key heads"
    if call.T == 1:
        return "one query gains nothing"
    return None


def eligible(q_BTHK, k_BSGK, v_BSGK, *, causal=False, masked=False, dropout=False, block=None) -> bool:
    """Whether cuDNN serves this call on this process's devices; logs the choice once for each kind of call.

    Within fast_ops.disabled() none is: flash attention has no forward mode, and hides its FLOPs.
    """
    device = local_device()
    if not fast_ops.allowed() or (device.platform != "gpu" and block is None):
        return False
    (_, T, H, K), (S, G) = q_BTHK.shape, k_BSGK.shape[1:3]
    types = sorted({str(x.dtype) for x in (q_BTHK, k_BSGK, v_BSGK)})
    # What JAX's partitioning of the cuDNN call wants whole, the plan that is traced under may cut.
    parts = {letter: placement.parts(letter, size) for letter, size in zip("TSHG", (T, S, H, G), strict=True)}
    cut = parts["T"] > 1 or parts["S"] > 1 or parts["H"] != parts["G"]
    call = Call(" and ".join(types), T, S, H, G, K, causal, masked, dropout, block, cut)
    return _choose(call, device)


@functools.lru_cache(maxsize=1024)
def _choose(call: Call, device: Device) -> bool:
    reason = obstacle(call, device)
    shape = (f"{call.T} x {call.S} positions, {call.H} heads ({call.G} of keys) of width {call.K}, {call.dtype}"
             f"{', causal' * call.causal}{', masked' * call.masked}{', dropout' * call.dropout}")
    if reason is None:
        logging.info("Attention over %s: cuDNN's flash attention on %s", shape, device.kind)
    else:
        other = "XLA" if call.block is None else f"block-wise, {call.block} positions at a time"
        logging.info("Attention over %s: %s, and not cuDNN's flash attention, because %s", shape, other, reason)
    return reason is None


@functools.cache
def local_device() -> Device:
    """The first of this process's devices; all of a run's are taken to be alike."""
    device = jax.local_devices()[0]
    parts = str(getattr(device, "compute_capability", "")).split(".")  # "9.0"; AMD's are "gfx90a"
    capability = tuple(map(int, parts)) if len(parts) == 2 and all(part.isdigit() for part in parts) else None
    return Device(device.platform, device.device_kind, capability)


def attention(q_BTHK, k_BSGK, v_BSGK, *, causal=False, window=None):
    """Returns scaled dot-product attention by cuDNN, [B, T, H, K] (see ops.attention); it must be `eligible`.

    JAX (0.10.2) takes no gradient at odd T or S, as of a ViT's 197 tokens, so those get one position more. Causal
    queries do not see it. Others would: heads become 8 channels wider, of which one gives that key a score of weight 0.
    """
    (_, T, _, K), S = q_BTHK.shape, k_BSGK.shape[1]
    past = None if window is None else (window - 1, 0)  # JAX does not count the query's own position.
    if T % 2 or S % 2:
        wider = 8 * (not causal and S % 2)
        q_BTHK, k_BSGK, v_BSGK = (_pad(x, wider) for x in (q_BTHK, k_BSGK, v_BSGK))
        if wider:
            q_BTHK, k_BSGK = q_BTHK.at[..., K].set(K**0.5), k_BSGK.at[:, S, :, K].set(_NEVER)
    out_BTHK = jax.nn.dot_product_attention(q_BTHK, k_BSGK, v_BSGK, scale=K**-0.5, is_causal=causal,
                                            local_window_size=past, implementation="cudnn")
    return out_BTHK[:, :T, :, :K]


def _pad(x_BTHK, wider: int):
    """Returns x with zeros up to an even T, and so many more channels."""
    return jnp.pad(x_BTHK, ((0, 0), (0, x_BTHK.shape[1] % 2), (0, 0), (0, wider)))
