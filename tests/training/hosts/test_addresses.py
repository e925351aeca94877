"""Who a process is: by flags, under SLURM, in a TPU pod."""

import pytest

from genlab.configuration import ConfigError
from genlab.training.hosts.addresses import Place, find_place

SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "gpu[003-004]", "SLURM_NTASKS": "2", "SLURM_PROCID": "1",
         "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2"}
ONE_NODE = SLURM | {"SLURM_STEP_NODELIST": "gpu003", "SLURM_STEP_NUM_NODES": "1", "SLURM_LOCALID": "1"}
POD = {"TPU_WORKER_HOSTNAMES": "localhost,10.0.0.3", "TPU_WORKER_ID": "1", "TPU_SKIP_MDS_QUERY": "1",
       "MEGASCALE_COORDINATOR_ADDRESS": "localhost", "MEGASCALE_NUM_SLICES": "1", "MEGASCALE_SLICE_ID": "0"}


def test_alone_without_flags_and_cluster():
    assert find_place() is None
    assert find_place("node0:9876", processes=1, process=0) is None


def test_flags():
    assert find_place("node0:9876", processes=2, process=1) == Place("node0:9876", 1, 2)


@pytest.mark.parametrize(("flags", "message"), [
    ({"processes": 2, "process": 0}, "come together, but there is no --coordinator"),
    ({"coordinator": "node0:9876"}, "there is no --processes and no --process"),
    ({"coordinator": "node0:9876", "processes": 2, "process": 2}, "--process=2 must be from 0 to 1"),
    ({"coordinator": "node0:9876", "processes": 2, "process": -1}, "--process=-1 must be from 0 to 1"),
    ({"coordinator": "node0", "processes": 2, "process": 0}, "--coordinator=node0 must be HOST:PORT"),
    ({"coordinator": "node0:70000", "processes": 2, "process": 0}, "must be HOST:PORT"),
])
def test_flags_that_make_no_sense(flags, message):
    with pytest.raises(ConfigError, match=message):
        find_place(**flags)


@pytest.mark.parametrize(("variables", "devices"), [
    (SLURM, None),  # A task has its node to itself, with all its devices.
    (ONE_NODE, [1]),  # Two share one: each takes its own.
    (ONE_NODE | {"CUDA_VISIBLE_DEVICES": "0,1"}, [1]),
    (ONE_NODE | {"CUDA_VISIBLE_DEVICES": "0"}, None),  # --gpus-per-task has given each its own already.
])
def test_slurm(monkeypatch, variables, devices):
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    place = find_place()
    assert place.coordinator.startswith("gpu003:") and place[1:] == (1, 2, devices)


def test_one_task_under_slurm_is_alone(monkeypatch):
    for name, value in (SLURM | {"SLURM_NTASKS": "1"}).items():
        monkeypatch.setenv(name, value)
    assert find_place() is None


def test_a_pod_as_its_variables_describe_it(monkeypatch):
    monkeypatch.setattr("jax._src.clusters.cloud_tpu_cluster.running_in_cloud_tpu_vm", True)
    monkeypatch.setattr("jax._src.clusters.cluster.running_in_cloud_tpu_vm", True)
    for name, value in POD.items():
        monkeypatch.setenv(name, value)
    place = find_place()
    assert place.coordinator.startswith("localhost:") and place[1:] == (1, 2, None)
