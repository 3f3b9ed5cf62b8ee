"""Published files that are not as published: read all the same or refused, never a crash."""

import codecs
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from published_files import PUBLISHED

from vlmlens.datasets.benchmarks import BENCHMARKS
from vlmlens.errors import DataError, VLMLensError

#: What a cell may be instead.
OTHERS = (None, [], {}, 3.5, "", "zzz", [None], float("nan"))


def written(name, folder):
    key, split, _, write = PUBLISHED[name]
    write(folder)
    return BENCHMARKS[key], split


def texts(folder):
    return [path for path in folder.rglob("*") if path.suffix in (".json", ".jsonl", ".csv")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_any_encoding_that_says_so_is_read(name, encoding, tmp_path):
    bench, split = written(name, tmp_path)
    before = bench.load(tmp_path, split)
    for path in texts(tmp_path):
        path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    after = bench.load(tmp_path, split)
    assert [s.question for s in after] == [s.question for s in before]
    assert [s.answer for s in after] == [s.answer for s in before]


@pytest.mark.parametrize("fault", ["cut", "latin-1", "unmarked UTF-16", "empty"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_files_that_cannot_be_read_are_refused(name, fault, tmp_path):
    bench, split = written(name, tmp_path)
    files = texts(tmp_path) or list(tmp_path.rglob("*.parquet"))
    for path in files:
        data = path.read_bytes()
        change = {
            "cut": data[:-12],
            # Where a Parquet file ends in another letter, it is none.
            "latin-1": (data[:-1] if path.suffix == ".parquet" else data) + b"\xf9",
            "unmarked UTF-16": codecs.encode(data.decode("latin-1"), "utf-16-le"),
            "empty": b"",
        }
        path.write_bytes(change[fault])
    with pytest.raises(DataError):
        bench.load(tmp_path, split)


def changes(rows):
    """The rows with one cell of the first one taken away, or of another type."""
    for key in rows[0]:
        yield [{k: v for k, v in rows[0].items() if k != key}, *rows[1:]]
        for other in OTHERS:
            yield [rows[0] | {key: other}, *rows[1:]]


def attempt(bench, split, folder):
    try:
        for sample in bench.load(folder, split):
            assert isinstance(sample.question, str)
    except VLMLensError as error:
        assert str(error)
        return 1
    return 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_cell_of_another_type_is_no_crash(name, tmp_path):
    bench, split = written(name, tmp_path)
    refused = tried = 0
    for path in texts(tmp_path):
        if path.suffix == ".csv":
            continue
        text = path.read_text(encoding="utf-8")
        try:
            whole = json.loads(text)
        except ValueError:
            whole = [json.loads(line) for line in text.splitlines()]
        rows = whole if isinstance(whole, list) else [whole]
        if not isinstance(rows[0], dict):
            continue
        for changed in changes(rows):
            path.write_text(json.dumps(changed if isinstance(whole, list) else changed[0]))
            refused += attempt(bench, split, tmp_path)
            tried += 1
        path.write_text(text, encoding="utf-8")
    for path in tmp_path.rglob("*.parquet"):
        before = pq.read_table(path)
        for column in before.column_names:
            empty = pa.nulls(len(before), before.schema.field(column).type)
            place = before.column_names.index(column)
            for table in (
                before.drop_columns([column]),
                before.set_column(place, before.schema.field(column), empty),
                before.set_column(place, column, pa.array([3.5] * len(before))),
            ):
                pq.write_table(table, path)
                refused += attempt(bench, split, tmp_path)
                tried += 1
        pq.write_table(before, path)
    assert refused or not tried or name == "whatsup, coco"  # whose file holds lists
    assert len(bench.load(tmp_path, split)) == PUBLISHED[name][2]
