"""Peak rates by the names that jax reports."""

import pytest

from genlab.scaling.counting.devices import PEAKS, floors, missing_peak, model_flops_utilization, peak_flops


def test_known_devices():
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("NVIDIA H200", "float32") == 494.7e12
    assert peak_flops("TPU v5 lite") == 197e12
    assert peak_flops("TPU v5") == 459e12


@pytest.mark.parametrize("kind", ["cpu", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "TPU", ""])
def test_an_unknown_device_has_no_peak_and_no_utilization(kind):
    assert peak_flops(kind) is None
    assert model_flops_utilization(1e12, kind, 8) is None


def test_an_unknown_dtype_has_no_peak():
    assert peak_flops("NVIDIA H200", "int4") is None


def test_utilization_is_over_all_devices():
    assert model_flops_utilization(312e12, "NVIDIA A100-SXM4-40GB", 4) == 0.25


def test_every_peak_is_plausible_and_has_its_source():
    for kind, peak in PEAKS.items():
        # Memory is read in 5 to 80 ms, and the roofline's ridge lies at tens to hundreds of FLOPs a byte.
        assert 0.005 < peak.memory / peak.bandwidth < 0.085, kind
        assert 50 < peak.flops("float16") / peak.bandwidth < 600, kind
        assert peak.flops("float32") <= peak.flops("float16") and peak.source, kind


def test_floors_by_hand():
    # 312e12 FLOPs are a second of an A100's bfloat16, and two of its TF32; 2,039e9 bytes a second of its memory.
    found = floors(312e12, 2039e8, "NVIDIA A100-SXM4-80GB")
    assert (found.arithmetic, found.memory, found.seconds) == (1.0, 0.1, 1.0)
    assert floors(312e12, 2039e9 * 3, "NVIDIA A100-SXM4-80GB", "float32").seconds == 3.0
    assert floors(312e12, 1.0, "NVIDIA A100-SXM4-80GB", "float32").arithmetic == 2.0


def test_floors_where_rates_are_not_known():
    assert floors(1.0, 1.0, "cpu") is None
    found = floors(1e12, 900e9, "Tesla V100-SXM2-16GB", "bfloat16")  # Volta's units know float16 alone.
    assert found.arithmetic is None and found.seconds == found.memory == 1.0


def test_a_missing_peak_is_told():
    assert "'cpu'" in missing_peak("cpu") and missing_peak("NVIDIA H200") == ""
    assert "bfloat16" in missing_peak("Tesla V100-SXM2-16GB") and missing_peak("Tesla V100-SXM2-16GB", "float16") == ""
