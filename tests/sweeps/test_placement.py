import pytest

from genlab.sweeps import placement


@pytest.mark.parametrize(("cores", "slots", "shares"), [
    ([0, 1], 2, [[0], [1]]),
    ([2, 3, 5, 7], 2, [[2, 3], [5, 7]]),
    ([0, 1, 2], 2, [[0], [1]]),
    ([4], 3, [[4], [4], [4]]),
    ([0, 1], 1, [[0, 1]]),
])
def test_workers_share_the_cores(monkeypatch, cores, slots, shares):
    monkeypatch.setattr(placement, "available_cores", lambda: cores)
    assert [placement.cores_of_worker(slot, slots) for slot in range(slots)] == shares


def test_a_worker_of_one_core_has_one_thread_and_keeps_the_users_flags(monkeypatch):
    monkeypatch.setattr(placement, "available_cores", lambda: [0, 1])
    monkeypatch.setenv("XLA_FLAGS", "--xla_mine=1")
    assert placement.worker_environment(0, 2)["XLA_FLAGS"] == "--xla_mine=1 --xla_cpu_multi_thread_eigen=false"
    assert placement.worker_environment(0, 1)["XLA_FLAGS"] == "--xla_mine=1"


def accelerators(monkeypatch, folder, count, visible=None):
    for index in range(count):
        (folder / f"nvidia{index}").touch()
    monkeypatch.setattr(placement.importlib.util, "find_spec", lambda name: name == "jax_cuda12_plugin")
    monkeypatch.delenv("JAX_PLATFORMS")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize(("visible", "gpus"), [(None, ["0", "1", "2"]), ("2,0", ["2", "0"]), ("", [])])
def test_accelerators_are_found_without_starting_jax(monkeypatch, tmp_path, visible, gpus):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert not placement.has_accelerator(tmp_path)
    accelerators(monkeypatch, tmp_path, 3, visible)
    assert placement.has_accelerator(tmp_path)
    assert placement.visible_gpus(tmp_path) == gpus


def test_each_worker_has_a_gpu_or_its_share_of_one(monkeypatch):
    monkeypatch.setattr(placement, "visible_gpus", lambda: ["0", "1"])
    environments = [placement.worker_environment(slot, 4) for slot in range(4)]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments] == ["0", "1", "0", "1"]
    assert float(environments[0]["XLA_PYTHON_CLIENT_MEM_FRACTION"]) <= 0.5


def test_the_default_is_a_worker_a_core_as_memory_allows(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(placement, "available_cores", lambda: list(range(8)))
    assert placement.automatic_workers() == min(8, placement._available_bytes() >> 30)
    monkeypatch.setattr(placement, "_available_bytes", lambda: 3 << 30)
    assert placement.automatic_workers() == 3
    monkeypatch.setattr(placement, "_available_bytes", lambda: 1 << 30)
    assert placement.automatic_workers() == 0
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert placement.automatic_workers() == 0
