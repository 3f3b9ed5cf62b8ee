"""A file's own description: short, and of the first layout still read."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from filled import ONE, TWO, kept, opened, table, values

from vlmlens.identity import digest
from vlmlens.store import Condition, upkeep


def as_before(path):
    """The same file as the first layout had it: Arrow's own schema, every condition told whole."""
    file = pq.ParquetFile(path)
    told = json.loads(file.metadata.metadata[b"vlmlens"])
    every = told.pop("every")
    told["conditions"] = {key: every | own for key, own in told["conditions"].items()}
    rows = file.read()
    at = rows.schema.get_field_index("vlmlens_condition")
    rows = rows.set_column(at, "vlmlens_condition", rows["vlmlens_condition"].dictionary_encode())
    lists = [
        pa.list_(f.type.value_type) if pa.types.is_list(f.type) else f.type for f in rows.schema
    ]
    rows = rows.cast(pa.schema(list(zip(rows.column_names, lists, strict=True))))
    told = json.dumps(told | {"format": 1})
    pq.write_table(rows.replace_schema_metadata({"vlmlens": told}), path)
    data = path.read_bytes()
    path.unlink()
    path.with_name(f"results-{digest(data)[:24]}.parquet").write_bytes(data)


def test_files_of_the_first_layout_are_read_and_put_together_with_new_ones(tmp_path):
    pairs = xr.Dataset({"x": ("sample", [1.0, 2.0]), "m": (("sample", "k"), [[1, 2], [3, 4]])})
    kept(tmp_path, (ONE, (0, 1), pairs), (TWO, (0, 1), pairs + 10))
    (path,) = tmp_path.glob("results-*")
    as_before(path)
    kept(tmp_path, (ONE, (2, 3), pairs + 20))
    for _ in range(2):
        store = opened(tmp_path)
        assert values(store, ONE, 0, 1, 2, 3) == {0: 1, 1: 2, 2: 21, 3: 22}
        assert values(store, TWO, 0, 1) == {0: 11, 1: 12}
        told = upkeep.status(tmp_path).conditions
        assert {key: each.told for key, each in told.items()} == {c.key: c.told for c in (ONE, TWO)}
        upkeep.gc(tmp_path)
    assert len(list(tmp_path.glob("results-*"))) == 1


def test_a_file_of_a_later_layout_is_refused_by_name(tmp_path, caplog):
    kept(tmp_path, (ONE, (0,), table(1.0)))
    (path,) = tmp_path.glob("results-*")
    with pq.ParquetWriter(path, pq.read_schema(path)) as writer:
        writer.add_key_value_metadata({"vlmlens": json.dumps({"format": 3})})
    data = path.read_bytes()
    path.rename(path.with_name(f"results-{digest(data)[:24]}.parquet"))
    assert values(opened(tmp_path), ONE, 0) == {}
    assert "layout 3, this vlmlens reads 1 and 2" in caplog.text


def test_what_conditions_share_is_told_once(tmp_path):
    """A file's own description is short: thirty conditions take less than three kilobytes."""
    shared = {"model": "m" * 60, "versions": "v" * 200, "measure": "a" * 60}
    many = [Condition(f"{n:024x}", {"label": f"seed {n}", **shared}) for n in range(30)]
    kept(tmp_path, *((each, (0,), table(float(n))) for n, each in enumerate(many)))
    (path,) = tmp_path.glob("results-*")
    assert path.stat().st_size < 3000
    told = upkeep.status(tmp_path).conditions
    assert {key: each.told for key, each in told.items()} == {c.key: c.told for c in many}
