"""What is said of a store, and what tidying it leaves."""

import json

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import xarray as xr

from vlmlens.cli.terminal import app
from vlmlens.errors import DataError, InputError
from vlmlens.store import Condition, Running, Store, note, upkeep
from vlmlens.store.exporting import export

ONE = Condition("1" * 24, {"label": "one", "model": "m", "measure": "Answering()"})
TWO = Condition("2" * 24, {"label": "two", "model": "m", "measure": "Answering()"})


def keys(*numbers):
    return [number.to_bytes(12, "little") for number in numbers]


def keep(folder, condition, numbers, **more):
    store = Store(folder)
    store.open()
    values = {"x": ("sample", [float(n) for n in numbers]), **more}
    store.add(condition, keys(*numbers), [f"s{n}" for n in numbers], xr.Dataset(values))
    store.flush()


def failed(folder, condition, number, error):
    store = Store(folder)
    store.open()
    store.add_failed(condition, *keys(number), f"s{number}", error)
    store.flush()


@pytest.fixture
def store(tmp_path):
    """Ten samples were asked for under two conditions."""
    folder = tmp_path / "store"
    keep(folder, ONE, range(6))
    keep(folder, ONE, range(4, 8))
    keep(folder, TWO, range(3), said=("sample", ["a", "b", "c"]))
    failed(folder, ONE, 8, "KeyError: 8")
    failed(folder, ONE, 7, "it went away")  # and was done later
    asked = {each.key: (each.told, keys(*range(10))) for each in (ONE, TWO)}
    note(folder, asked, ["s10"])
    return folder


def counted(folder):
    found = upkeep.status(folder).conditions
    return [(found[c.key].done, found[c.key].failed, found[c.key].left) for c in (ONE, TWO)]


def test_what_is_done_failed_and_left(store):
    found = upkeep.status(store)
    assert counted(store) == [(8, 1, 1), (3, 0, 7)]
    assert found.failures == {"s8": "KeyError: 8"}
    assert found.unread == ["s10"]
    assert found.files == 5
    assert found.bytes == sum(path.stat().st_size for path in store.glob("results-*"))
    assert not found.running
    assert not found.damaged
    running = Running(store)
    assert len(upkeep.status(store).running) == 1
    running.close()
    assert not upkeep.status(store).running


def test_damaged_files_are_named(store):
    path = sorted(store.glob("results-*"))[0]
    path.write_bytes(path.read_bytes()[:-10])
    (said,) = upkeep.status(store).damaged
    assert str(path) in said


def test_stores_are_merged_and_tidied(store, tmp_path):
    keep(tmp_path / "other", TWO, range(3, 10))
    (store / f"{'a' * 24}.nc").write_bytes(b"old")
    assert upkeep.merge(store, [tmp_path / "other"]) == 1
    assert upkeep.merge(store, [tmp_path / "other"]) == 0
    before = counted(store)
    assert before == [(8, 1, 1), (10, 0, 0)]
    (store / f"results-{'0' * 24}.parquet").write_bytes(b"none")
    running = Running(store)
    with pytest.raises(DataError, match="is being written into"):
        upkeep.gc(store)
    running.close()
    found = upkeep.gc(store)
    assert found["rows there twice"] == 3  # two results, and a failure that is done by now
    assert found["damaged files"] == found["results of vlmlens 0.3"] == 1
    assert found["files"] == 3  # one of each form
    assert counted(store) == before
    assert not list(store.glob("*.nc"))
    assert upkeep.gc(store)["rows there twice"] == 0
    damaged = next((tmp_path / "other").glob("results-*"))
    damaged.write_bytes(b"none")
    with pytest.raises(DataError, match="damaged"):
        upkeep.merge(tmp_path / "third", [tmp_path / "other"])


def test_all_results_as_one_table(store, tmp_path):
    keep(store, Condition("3" * 24), [1], a=(("sample", "k"), [[0.5, 1.0]]))
    assert export(store, tmp_path / "t.parquet") == 12
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert sorted(r["x"] for r in rows if r["condition"] == "one") == [float(n) for n in range(8)]
    assert {r["said"] for r in rows if r["condition"] == "two"} == {"a", "b", "c"}
    assert [r["a"] for r in rows if r["a"]] == [[0.5, 1.0]]
    assert export(store, tmp_path / "t.csv") == 12
    table = pyarrow.csv.read_csv(tmp_path / "t.csv").to_pylist()
    assert [(r["sample"], r["x"]) for r in table] == [(r["sample"], r["x"]) for r in rows]
    assert [json.loads(r["a"]) for r in table if r["a"]] == [[0.5, 1.0]]
    with pytest.raises(InputError, match=r"\.parquet"):
        export(store, tmp_path / "t.xlsx")


def test_what_is_no_store_is_said(tmp_path, store):
    for folder, words in ((tmp_path / "none", "there is no store"), (tmp_path, f"{store} does")):
        with pytest.raises(DataError, match=words):
            upkeep.status(folder)


@pytest.fixture
def told(capfd):
    def tell(*words):
        with pytest.raises(SystemExit) as ended:
            app([str(word) for word in words])
        said = capfd.readouterr()
        return ended.value.code, said.out, said.err

    return tell


def test_the_commands(store, tmp_path, told):
    code, out, err = told("status", store)
    assert code == 1
    assert "failed: s8: KeyError: 8" in err
    assert "failed: s10: its pictures cannot be read" in err
    assert "5 files, 0.0 MB" in out
    keep(tmp_path / "run" / "cells", ONE, range(2))
    assert told("status", tmp_path / "run")[0] == 0
    assert told("merge", store, tmp_path / "run")[:2] == (0, f"1 files brought into {store}\n")
    assert "rows there twice: 5" in told("gc", store)[1]
    code, out, _ = told("export", store, tmp_path / "t.csv")
    assert out == f"11 rows: {tmp_path / 't.csv'}\n"
    code, _, err = told("status", tmp_path / "nowhere")
    assert code == 2
    assert "error: there is no store" in err


def test_tidying_never_holds_more_than_a_large_file(tmp_path, monkeypatch):
    """Files of activations may be many times what memory holds."""
    for n in range(6):
        keep(tmp_path, ONE, [n])
    size = max(path.stat().st_size for path in tmp_path.glob("results-*"))
    monkeypatch.setattr(upkeep, "LARGE", 2 * size)
    assert upkeep.gc(tmp_path)["files"] == 3
    keep(tmp_path, ONE, [0, 6])
    assert upkeep.gc(tmp_path)["rows there twice"] == 1
    assert upkeep.gc(tmp_path)["rows there twice"] == 0
    assert upkeep.status(tmp_path).conditions[ONE.key].done == 7
    export(tmp_path, tmp_path / "all.parquet")
    found = pq.read_table(tmp_path / "all.parquet").to_pydict()
    assert dict(zip(found["sample"], found["x"], strict=True)) == {f"s{n}": n for n in range(7)}
