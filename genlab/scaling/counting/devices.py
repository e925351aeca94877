"""Peak matrix-product rates of accelerators, keyed by the `device_kind` strings that jax reports.

Dense rates (no structured sparsity) of one jax device, from the makers' data sheets:

- NVIDIA A100 data sheet (2021): 312 TFLOP/s bfloat16, 156 TF32, all form factors.
- NVIDIA H100 data sheet (2023): SXM 989.4 / 494.7, PCIe 756 / 378, NVL 835.5 / 417.7 (half of the
  "with sparsity" figures printed there).
- NVIDIA H200 data sheet (2024): SXM 989.4 / 494.7, NVL 835.5 / 417.7.
- NVIDIA HGX B200 data sheet (2024): 2,250 / 1,125.
- Google Cloud TPU system architecture pages, one chip: v4 275, v5e 197, v5p 459, v6e 918.

float32 arrays at jax's default matmul precision run as TF32 on NVIDIA and as one bfloat16 pass on
TPU, so those are the rates given for "float32".
"""

# device_kind: (bfloat16, float32) in TFLOP/s
_PEAK_TFLOPS = {
    "NVIDIA A100-SXM4-40GB": (312.0, 156.0),
    "NVIDIA A100-SXM4-80GB": (312.0, 156.0),
    "NVIDIA A100-PCIE-40GB": (312.0, 156.0),
    "NVIDIA A100 80GB PCIe": (312.0, 156.0),
    "NVIDIA H100 80GB HBM3": (989.4, 494.7),
    "NVIDIA H100 PCIe": (756.0, 378.0),
    "NVIDIA H100 NVL": (835.5, 417.7),
    "NVIDIA H200": (989.4, 494.7),
    "NVIDIA H200 NVL": (835.5, 417.7),
    "NVIDIA B200": (2250.0, 1125.0),
    "TPU v4": (275.0, 275.0),
    "TPU v5 lite": (197.0, 197.0),
    "TPU v5e": (197.0, 197.0),
    "TPU v5": (459.0, 459.0),
    "TPU v5p": (459.0, 459.0),
    "TPU v6 lite": (918.0, 918.0),
    "TPU v6e": (918.0, 918.0),
}


def peak_flops(device_kind: str, dtype: str = "bfloat16") -> float | None:
    """The peak FLOP/s of one device for matmuls of `dtype`, or None where it is not known.

    Args:
        device_kind: `jax.devices()[0].device_kind`. Names match whole: a slice of a card (MIG) has
            its own name and is unknown.
        dtype: "bfloat16", "float16" or "float32" (at jax's default matmul precision).
    """
    rates = _PEAK_TFLOPS.get(device_kind)
    column = {"bfloat16": 0, "float16": 0, "float32": 1}.get(dtype)
    return None if rates is None or column is None else rates[column] * 1e12


def model_flops_utilization(
    flops_per_second: float, device_kind: str, device_count: int, dtype: str = "bfloat16"
) -> float | None:
    """MFU: achieved over peak FLOP/s of all devices (Chowdhery et al. 2022, app. B), or None."""
    peak = peak_flops(device_kind, dtype)
    return None if peak is None else flops_per_second / (peak * device_count)
