"""Peak rates of accelerators, keyed by the `device_kind` strings that jax reports, and the floors they set.

Dense rates (no structured sparsity) of one jax device, from the makers' data sheets. Where a sheet prints
a figure "with sparsity", half of it is given here.

float32 arrays at jax's default matmul precision run as TF32 on NVIDIA (from Ampere on) and as one bfloat16
pass on TPU, so those are the rates given for float32. Volta has no TF32 and no bfloat16 units.
"""

from dataclasses import dataclass

_V100 = "NVIDIA V100 data sheet (2020)"
_A100 = "NVIDIA A100 data sheet (2021)"
_H100 = "NVIDIA H100 data sheet (2023)"
_H200 = "NVIDIA H200 data sheet (2024)"
_B200 = "NVIDIA HGX B200 data sheet (2024): an eighth of the board's figures"
_L4 = "NVIDIA L4 data sheet (2023)"
_TPU = "Google Cloud TPU documentation, system architecture of {}, one chip"


@dataclass(frozen=True)
class Peak:
    """What one device can do at most.

    Attributes:
      bfloat16: FLOP/s of matrix products; None where no unit computes them.
      float32: FLOP/s of matrix products of float32 arrays at jax's default precision.
      memory: bytes, in the data sheet's decimal gigabytes; a program gets a little less.
      bandwidth: bytes/s between that memory and the chip.
      source: of all four.
      float16: FLOP/s, where it is not bfloat16's.
    """

    bfloat16: float | None
    float32: float
    memory: float
    bandwidth: float
    source: str
    float16: float | None = None

    def flops(self, dtype: str) -> float | None:
        """FLOP/s for arrays of this dtype, or None where it is not known."""
        return {"bfloat16": self.bfloat16, "float16": self.float16 or self.bfloat16,
                "float32": self.float32}.get(dtype)


def _peak(bfloat16: float, float32: float, gigabytes: float, bandwidth: float, source: str) -> Peak:
    """From TFLOP/s, GB and GB/s."""
    return Peak(bfloat16 * 1e12, float32 * 1e12, gigabytes * 1e9, bandwidth * 1e9, source)


def _volta(float16: float, float32: float, gigabytes: float) -> Peak:
    return Peak(None, float32 * 1e12, gigabytes * 1e9, 900e9, _V100, float16=float16 * 1e12)


_V4 = _peak(275.0, 275.0, 32, 1228, _TPU.format("v4"))
_V5E = _peak(197.0, 197.0, 16, 819, _TPU.format("v5e"))
_V5P = _peak(459.0, 459.0, 95, 2765, _TPU.format("v5p"))
_V6E = _peak(918.0, 918.0, 32, 1638, _TPU.format("v6e"))

# GPUs by the names that CUDA gives them, TPUs by those of the runtime; some runtimes say "v5e" for "v5 lite".
PEAKS: dict[str, Peak] = {
    "Tesla V100-SXM2-16GB": _volta(125.0, 15.7, 16),
    "Tesla V100-SXM2-32GB": _volta(125.0, 15.7, 32),
    "Tesla V100-PCIE-16GB": _volta(112.0, 14.0, 16),
    "Tesla V100-PCIE-32GB": _volta(112.0, 14.0, 32),
    "NVIDIA A100-SXM4-40GB": _peak(312.0, 156.0, 40, 1555, _A100),
    "NVIDIA A100-SXM4-80GB": _peak(312.0, 156.0, 80, 2039, _A100),
    "NVIDIA A100-PCIE-40GB": _peak(312.0, 156.0, 40, 1555, _A100),
    "NVIDIA A100 80GB PCIe": _peak(312.0, 156.0, 80, 1935, _A100),
    "NVIDIA H100 80GB HBM3": _peak(989.4, 494.7, 80, 3350, _H100),
    "NVIDIA H100 PCIe": _peak(756.0, 378.0, 80, 2000, _H100),
    "NVIDIA H100 NVL": _peak(835.5, 417.7, 94, 3900, _H100),
    "NVIDIA H200": _peak(989.4, 494.7, 141, 4800, _H200),
    "NVIDIA H200 NVL": _peak(835.5, 417.7, 141, 4800, _H200),
    "NVIDIA B200": _peak(2250.0, 1125.0, 180, 7700, _B200),
    "NVIDIA L4": _peak(121.0, 60.0, 24, 300, _L4),
    "TPU v4": _V4,
    "TPU v5 lite": _V5E,
    "TPU v5e": _V5E,
    "TPU v5": _V5P,
    "TPU v5p": _V5P,
    "TPU v6 lite": _V6E,
    "TPU v6e": _V6E,
}


@dataclass(frozen=True)
class Floors:
    """Seconds below which a computation cannot come on a device.

    Attributes:
      arithmetic: if its matrix units did nothing but these FLOPs; None where their rate is not known.
      memory: if its memory did nothing but move these bytes.
    """

    arithmetic: float | None
    memory: float

    @property
    def seconds(self) -> float:
        """The higher of the two, which is the floor that binds."""
        return max(self.arithmetic or 0.0, self.memory)


def floors(flops: float, num_bytes: float, device_kind: str, dtype: str = "bfloat16") -> Floors | None:
    """The roofline's two floors (Williams, Waterman & Patterson 2009) of so many FLOPs and bytes, or None.

    Args:
      flops: of matrix products, on one device.
      num_bytes: to and from its memory.
      device_kind: as in `peak_flops`.
      dtype: of the operands.
    """
    peak = PEAKS.get(device_kind)
    if peak is None:
        return None
    rate = peak.flops(dtype)
    return Floors(None if rate is None else flops / rate, num_bytes / peak.bandwidth)


def peak_flops(device_kind: str, dtype: str = "bfloat16") -> float | None:
    """The peak FLOP/s of one device for matmuls of `dtype`, or None where it is not known.

    Args:
      device_kind: `jax.devices()[0].device_kind`. Names match whole: a slice of a card (MIG) has
        its own name and is unknown.
      dtype: "bfloat16", "float16" or "float32" (at jax's default matmul precision).
    """
    peak = PEAKS.get(device_kind)
    return None if peak is None else peak.flops(dtype)


def model_flops_utilization(
    flops_per_second: float, device_kind: str, device_count: int, dtype: str = "bfloat16"
) -> float | None:
    """MFU: achieved over peak FLOP/s of all devices (Chowdhery et al. 2022, app. B), or None."""
    peak = peak_flops(device_kind, dtype)
    return None if peak is None else flops_per_second / (peak * device_count)


def missing_peak(device_kind: str, dtype: str = "bfloat16") -> str:
    """The words for why there is no MFU on a device; empty where its peak is known."""
    if device_kind not in PEAKS:
        return f"no MFU: the peak rate of {device_kind!r} is not known"
    return f"no MFU: {device_kind} has no known rate for {dtype}" if peak_flops(device_kind, dtype) is None else ""
