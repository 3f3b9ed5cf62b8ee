"""Rows go in and come out, whatever they hold, whoever else writes, and however many there are."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from children import HOME, line_of, ran
from filled import ONE, TWO, kept, keys, opened, table, values

from vlmlens.errors import DataError
from vlmlens.store import Claims, Condition, canonical
from vlmlens.store import store as stores

TABLES = {
    "numbers": {
        "a": ("sample", np.array([1, -(2**62)])),
        "b": ("sample", np.float16([0.1, np.nan])),
    },
    "flags": {"a": ("sample", [True, False])},
    "words": {
        "a": ("sample", ["", "ö\0\n\u2028\\ud800"]),
        "b": ("sample", ["a\udce9", "\\ud800\\\\"]),
    },
    "dates": {"a": ("sample", np.array(["2024-01-01", "NaT"], "M8[ns]"))},
    "arrays": {"a": (("layer", "sample", "head"), np.arange(12.0, dtype="f4").reshape(3, 2, 2))},
    "flags in arrays": {"a": (("sample", "k"), [[True, False], [False, False]])},
    "words in arrays": {"a": (("sample", "k"), [["a", "bcd"], ["", "e"]])},
    "none of many": {"a": (("sample", "k"), np.zeros((2, 0)))},
    "swapped bytes": {"a": ("sample", np.array([1.5, 2.5], ">f8"))},
    "of all samples": {"a": ("k", [1.0, 2.0]), "b": ("sample", [1.0, 2.0])},
}


@pytest.mark.parametrize("kind", TABLES)
def test_what_comes_out_is_what_went_in(tmp_path, kind):
    given = xr.Dataset(TABLES[kind], attrs={"source": "here", "n": np.int64(3), "all": [1, 2]})
    if "layer" in given.dims:
        given = given.assign_coords(layer=[0, 5, 7], name=("head", ["h", "long"]))
        given["layer"].attrs["units"] = "blocks"
    given[next(iter(given))].attrs["units"] = "nats"
    wanted = canonical(given)
    store = kept(tmp_path, (ONE, (1, 2), wanted))
    ((places, found),) = store.read({"": (ONE.key, keys(1, 2))})[""]
    assert places == [0, 1]
    xr.testing.assert_identical(found, wanted)
    assert {n: v.dtype.kind for n, v in found.variables.items()} == {
        n: v.dtype.kind for n, v in wanted.variables.items()
    }


def test_what_no_file_holds_is_refused_before_anything_is_written(tmp_path):
    store = opened(tmp_path)
    for own in ({"x": ("sample", [1j])}, {"x": ("sample", np.array([None], object))}):
        with pytest.raises(DataError, match=r"no file holds x, whose values are (complex|object)"):
            store.add(ONE, keys(1), ["a"], xr.Dataset(own))
    store.flush()
    assert not list(tmp_path.glob("*.parquet"))


def test_a_result_is_read_under_its_own_condition_alone(tmp_path):
    store = kept(tmp_path, (ONE, (1, 2), table(1.0, 2.0)), (TWO, (2, 3), table(20.0, 30.0)))
    assert values(store, ONE, 1, 2, 3) == {1: 1.0, 2: 2.0}
    assert values(store, TWO, 1, 2, 3) == {2: 20.0, 3: 30.0}
    assert store.has(TWO.key, keys(1, 2, 3)).tolist() == [False, True, True]
    other = Condition("3" * 24)
    assert values(store, other, 1, 2) == {}
    assert store.has(other.key, keys(1, 2)).tolist() == [False, False]


def test_rows_come_in_the_order_that_is_asked_for(tmp_path):
    kept(tmp_path, (ONE, (1, 2, 3), table(1.0, 2.0, 3.0)))
    store = kept(tmp_path, (ONE, (5, 4), table(5.0, 4.0)))
    assert len(store.shards) == 2  # whichever is read first, the other's rows come between its own
    ((places, found),) = store.read({"": (ONE.key, keys(4, 9, 3, 5, 1))})[""]
    assert places == [0, 2, 3, 4]
    assert found["x"].values.tolist() == [4.0, 3.0, 5.0, 1.0]


def test_rows_of_several_forms_and_twice_the_same(tmp_path):
    kept(tmp_path, (ONE, (1, 2), table(1.0, 2.0)))
    store = kept(tmp_path, (ONE, (2, 3), table(2, 3)), (ONE, (4,), table(4.0, units="m")))
    assert values(store, ONE, 4, 3, 2, 1) == {1: 1.0, 2: 2.0, 3: 3, 4: 4.0}
    assert len(list(tmp_path.glob("results-*"))) == 3


def test_what_failed_is_kept_and_counts_as_missing(tmp_path):
    store = opened(tmp_path)
    store.add_failed(ONE, *keys(1), "s1", "KeyError: 's1'")
    store.flush()
    store = opened(tmp_path)
    assert store.has(ONE.key, keys(1)).tolist() == [False]
    assert values(store, ONE, 1) == {}


def test_many_small_files_become_few(tmp_path):
    store = opened(tmp_path)
    for n in range(100):
        store.add(ONE, keys(n), [f"s{n}"], table(float(n)))
        store.flush()
    assert len(list(tmp_path.glob("results-*"))) < 2 * stores.TOGETHER
    store = opened(tmp_path)
    assert values(store, ONE, *range(100)) == {n: float(n) for n in range(100)}
    assert all(shard.conditions == {ONE.key: ONE.told} for shard in store.shards.values())


def test_files_that_are_put_together_while_they_are_read(tmp_path, monkeypatch):
    for n in range(4):
        kept(tmp_path, (ONE, (n,), table(float(n))))
    reader, other = opened(tmp_path), opened(tmp_path)
    stores.put_into_one(list(other.shards.values()))
    assert len(list(tmp_path.glob("results-*"))) == 1
    assert values(reader, ONE, *range(4)) == {n: float(n) for n in range(4)}


def test_a_file_that_changes_after_it_was_looked_at_is_not_read(tmp_path):
    store = kept(tmp_path, (ONE, (1,), table(1.0)))
    (path,) = tmp_path.glob("results-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="vanish"):
        values(store, ONE, 1)
    assert values(opened(tmp_path), ONE, 1) == {}


def test_a_name_that_is_seen_late_is_computed_twice_and_read_once(tmp_path, monkeypatch):
    """As on a network's disk: a file that was renamed is not listed at once."""
    kept(tmp_path, (ONE, (1,), table(1.0)))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "glob", lambda self, pattern: iter(()))
        late = opened(tmp_path)
        assert late.has(ONE.key, keys(1)).tolist() == [False]
    late.add(ONE, keys(1), ["other"], table(1.0))
    late.flush()
    assert values(opened(tmp_path), ONE, 1) == {1: 1.0}


def test_a_clock_that_is_set_back_loses_nothing(tmp_path, monkeypatch):
    store = kept(tmp_path, (ONE, (1,), table(1.0)))
    for path in tmp_path.glob("results-*"):
        os.utime(path, (2e9, 2e9))
    monkeypatch.setattr(stores.time, "time", lambda: 0.0)
    store.add(ONE, keys(2), ["s2"], table(2.0))
    store.flush()
    assert values(opened(tmp_path), ONE, 1, 2) == {1: 1.0, 2: 2.0}


READER = """
import json, sys
import pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
rows = table.drop_columns(["vlmlens_key", "vlmlens_condition"]).to_pylist()
meta = json.loads(pq.read_schema(sys.argv[1] + "/" + sys.argv[2]).metadata[b"vlmlens"])
conditions = table["vlmlens_condition"].to_pylist()
labels = [meta["conditions"][key]["label"] for key in conditions]
dims = {told["name"]: told["dims"] for told in json.loads(meta["form"])["columns"]}
print(json.dumps([rows, labels, dims, "vlmlens" in sys.modules]))
"""


def test_it_is_read_with_pyarrow_alone(tmp_path):
    own = xr.Dataset(
        {
            "said": ("sample", ["red", "blue"]),
            "cmb": (("sample", "layer"), [[0.5, 0.25], [1.0, 0.0]]),
        },
        coords={"layer": [0, 1]},
    )
    kept(tmp_path, (ONE, (1, 2), own))
    (path,) = tmp_path.glob("results-*")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = ran(sys.executable, "-c", READER, tmp_path, path.name, cwd="/", env=environment)
    rows, labels, dims, ours = json.loads(done.stdout)
    assert rows == [
        {"sample": "s1", "said": "red", "cmb": [0.5, 0.25]},
        {"sample": "s2", "said": "blue", "cmb": [1.0, 0.0]},
    ]
    assert labels == ["one", "one"]
    assert dims == {"said": ["sample"], "cmb": ["sample", "layer"]}
    assert not ours


# Claims.

HOLDER = """
import sys
from pathlib import Path
from vlmlens.store import Claims
claims = Claims(Path(sys.argv[1]))
print([claims.take(key) for key in sys.argv[2:]], flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(folder, *names):
    """Another process that claims these and holds them until it is killed; and what it got."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), *names],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": HOME},
    ) as started:  # fmt: skip
        try:
            yield line_of(started)
        finally:
            started.kill()


@pytest.mark.slow
def test_work_is_one_process_s_until_it_is_given_back_or_the_process_is_killed(tmp_path):
    own, other = "a" * 32, "b" * 32
    claims = Claims(tmp_path)
    assert claims.take(own)
    assert claims.take(own)
    with holding(tmp_path, own, other) as said:
        assert said == "[False, True]"
        assert not claims.take(other)
    assert claims.take(other)
    claims.give_back([own])
    with holding(tmp_path, own, other) as said:
        assert said == "[True, False]"
    claims.close()
    with holding(tmp_path, own, other) as said:
        assert said == "[True, True]"


# Many.


def test_the_index_of_a_hundred_thousand_results_opens_at_once(tmp_path):
    count, rng = 10_000, np.random.default_rng(0)
    all_keys = [rng.bytes(12) for _ in range(count)]
    store = opened(tmp_path)
    for n in range(10):
        for start in range(0, count, 1000):
            own = table(*rng.random(1000).astype("f4"))
            ids = [f"sample {k}" for k in range(start, start + 1000)]
            store.add(Condition(f"{n:024}"), all_keys[start : start + 1000], ids, own)
    store.flush()
    bytes_a_row = sum(path.stat().st_size for path in tmp_path.glob("results-*")) / 100_000
    assert bytes_a_row < 10
    before = time.process_time()
    again = opened(tmp_path)
    assert again.has(f"{3:024}", all_keys).all()
    assert time.process_time() - before < 1
