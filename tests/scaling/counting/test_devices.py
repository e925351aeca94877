"""Peak rates by the names that jax reports."""

import pytest

from genlab.scaling.counting.devices import model_flops_utilization, peak_flops


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
