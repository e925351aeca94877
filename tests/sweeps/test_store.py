import pytest
from fake_runs import experiment, grid

from genlab.configuration import ConfigError
from genlab.sweeps.record import RunRecord, write_record
from genlab.sweeps.store import SweepStore
from genlab.sweeps.sweep import Sweep


def stored(folder, sweep):
    store = SweepStore(folder / "work")
    store.check(sweep)
    store.write_sweep(sweep)
    return store


def test_the_sweep_read_back_is_the_sweep(tmp_path):
    store = stored(tmp_path, grid())
    assert store.read_sweep() == grid()
    assert [run.name for run in store.read_sweep().runs()] == [run.name for run in grid().runs()]


def test_checking_writes_nothing(tmp_path):
    assert SweepStore(tmp_path / "new").check(grid()) == 7
    assert not (tmp_path / "new").exists()


def test_a_sweep_may_grow(tmp_path):
    small = Sweep([experiment(4, name="a")])
    store = stored(tmp_path, small)
    assert store.check(small) == 0
    assert store.check(Sweep([experiment(4, name="a"), experiment(8, name="b")])) == 1


@pytest.mark.parametrize(("other", "message"), [
    (Sweep([experiment(4, name="b")]), "holds another sweep: its run 'a' is not in this one"),
    (Sweep([experiment(5, name="a")]), r"in run a, objective\.width: 4 -> 5"),
])
def test_a_folder_of_another_sweep_is_refused_with_the_first_difference(tmp_path, other, message):
    store = stored(tmp_path, Sweep([experiment(4, name="a")]))
    before = (store.workdir / "sweep.json").read_bytes()
    with pytest.raises(ConfigError, match=message) as error:
        store.check(other)
    assert "\n" not in str(error.value)
    assert (store.workdir / "sweep.json").read_bytes() == before


def test_folders_of_other_things_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        SweepStore(tmp_path / "file").check(grid())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds a single run"):
        SweepStore(tmp_path).check(grid())
    with pytest.raises(ConfigError, match=r"holds no sweep"):
        SweepStore(tmp_path).read_sweep()
    (tmp_path / "sweep.json").write_text('{"runs": [1]}')
    with pytest.raises(ConfigError, match=r"sweep.json cannot be read"):
        SweepStore(tmp_path).check(grid())


def test_the_table_has_the_runs_that_ended_in_the_order_of_the_sweep(tmp_path):
    store, runs = stored(tmp_path, grid()), grid().runs()
    # More than the 128 KB that Python's csv takes in a cell by itself.
    history = tuple({"step": step, "metrics": {"a" * 1_000: 0.5}} for step in range(200))
    records = {run.name: RunRecord(**run.identity(), status="finished", evaluations=history)
               for run in (runs[5], runs[2])}
    store.write_table(runs, records)
    assert [record.name for record in store.read_table()] == [runs[2].name, runs[5].name]
    assert store.read_table()[0].evaluations == history


def test_a_record_of_another_experiment_does_not_count(tmp_path):
    store, run = stored(tmp_path, grid()), grid().runs()[0]
    store.folder(run.name).mkdir(parents=True)
    record = RunRecord(**run.identity() | {"role": "held_out"}, status="finished")
    write_record(record, store.folder(run.name))
    assert store.record(run).role == "grid"  # The sweep says what a run is for.
    write_record(RunRecord(config_hash="other", status="finished"), store.folder(run.name))
    assert store.record(run) is None
