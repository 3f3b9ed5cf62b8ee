"""What is wrong with a table is said, with its place, before a model is opened; nothing is guessed.

A table of faults by formats: each fault is written in every format that can hold it.
"""

import json
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from children import python
from PIL import Image

from vlmlens.datasets import image_folder, load, read_table
from vlmlens.errors import DataError, ImageError, VLMLensError

GOOD = {"image": "a.png", "question": "Is it red?", "answer": "yes"}
HEAD = ("image", "question", "answer", "choices", "id")
CELLS = ("a.png", "Is it red?", "yes", "yes|no", "x")


def csv(*rows, mark=","):
    return "\n".join(mark.join(row) for row in rows).encode()


def changed(**cells):
    """A good row, and one with other cells; choices and ids among them."""
    row = dict(zip(HEAD, CELLS, strict=True))
    return [row, row | {"id": "y", "question": "And now?"} | cells]


def as_csv(rows):
    return csv(HEAD, *(["" if row[n] is None else str(row[n]) for n in HEAD] for row in rows))


def as_tsv(rows):
    return as_csv(rows).replace(b",", b"\t")


def as_json(rows):
    return json.dumps(rows).encode()


def as_lines(rows):
    return "\n".join(map(json.dumps, rows)).encode()


def as_parquet(rows):
    data = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), data)
    return data.getvalue()


WRITERS = {
    ".csv": as_csv, ".tsv": as_tsv, ".json": as_json, ".jsonl": as_lines, ".parquet": as_parquet,
}  # fmt: skip
#: Where the second row stands in each.
PLACES = {
    ".csv": "line 3", ".tsv": "line 3", ".json": "row 2", ".jsonl": "line 2", ".parquet": "row 1",
}  # fmt: skip

#: Faults of a row: what is in it, and what is said besides its place.
ROWS = {
    "no image": (changed(image=""), "has an empty image"),
    "no question": (changed(question="  "), "has an empty question"),
    "no such answer": (changed(answer="perhaps"), "'perhaps' is none of the choices"),
    "one choice": (changed(choices="yes"), "a single one"),
    "choice twice": (changed(choices="yes|no|yes"), "holds one of them twice"),
    "id twice": (changed(id="x"), "has the id 'x' of .*(line|row)"),
    "row twice": (changed(id="x", question="Is it red?"), "says what .* says already"),
    "address": (changed(image="https://example.org/a.png"), "nothing is downloaded"),
}
#: Faults of a row that only formats with types can hold.
TYPES = {
    "answer is a list": ([GOOD, GOOD | {"answer": ["yes"]}], "answer is .*write it as text"),
    "answer is true": ([GOOD, GOOD | {"answer": True}], "answer is True; write it as text"),
    "question is an object": ([GOOD, GOOD | {"question": {"a": 1}}], "question is .*as text"),
    "choices is a number": ([GOOD, GOOD | {"choices": 3}], "choices is 3; write a list"),
    "image is an object": ([GOOD, GOOD | {"image": {"url": "x"}}], "image is .*as text"),
    "image is true": ([GOOD, GOOD | {"image": True}], "image is True"),
    "no object": ([GOOD, ["a.png"]], "is no object"),
    "no answer": ([GOOD, {"image": "a.png", "question": "Why?"}], "has no answer; there is: image"),
    "misspelt": ([GOOD, GOOD | {"catgory": "x"}], "'catgory' is not read: write category"),
}
#: Faults of a file: its bytes, and what is said.
FILES = {
    "csv, empty": (".csv", b"", "has no column image, question, answer; there is: nothing"),
    "csv, header only": (".csv", csv(HEAD), "asks nothing"),
    "csv, short row": (".csv", csv(HEAD[:3], ("a.png", "Why?")), "line 2 ends before its answer"),
    "csv, long row": (".csv", csv(HEAD[:3], ("a.png", "Red, or not?", "no")), "line 2 has more"),
    "csv, open quote": (".csv", csv(HEAD[:3], ("a.png", '"Why?', "no")), "line 2: unexpected end"),
    "csv, quote inside": (
        ".csv",
        csv(HEAD[:3], ("a.png", '"Why" not?', "no")),
        "line 2: .*expected",
    ),
    "csv, column twice": (".csv", csv((*HEAD[:3], "answer"), CELLS[:4]), "column answer twice"),
    "csv, latin-1": (".csv", csv(HEAD[:3]) + b"\na.png,o\xf9?,", "save it as UTF-8"),
    "csv, UTF-16 unmarked": (".csv", csv(HEAD).decode().encode("utf-16-le"), "as UTF-16 does"),
    "csv, UTF-16 cut": (".csv", csv(HEAD[:3], CELLS[:3]).decode().encode("utf-16")[:-1], "UTF-8"),
    "csv, semicolons, long row": (
        ".csv",
        csv(HEAD[:3], ("a.png", "Red; or not?", "no"), mark=";"),
        "line 2 has more cells .*';' in double quotes",
    ),
    "csv, a pointer": (".csv", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "tsv, short row": (".tsv", csv(HEAD[:3], ("a.png", "Why?"), mark="\t"), "line 2 ends before"),
    "tsv, empty": (".tsv", b"\n\n", "there is: nothing"),
    "json, empty": (".json", b" \n", "asks nothing"),
    "json, empty list": (".json", b"[]", "asks nothing"),
    "json, cut": (".json", as_json([GOOD])[:-3], "line 1: Unterminated"),
    "json, a number": (".json", b"3", "line 1 is no object"),
    "json, infinity": (".json", b'[{"answer": -Infinity}]', "-Infinity is no number"),
    "json, twice": (".json", b'{"answer": 1, "answer": 2}', "the name 'answer' twice"),
    "json, latin-1": (".json", '{"a": "ù"}'.encode("latin-1"), "save it as UTF-8"),
    "json, deep": (".json", b'{"image": ' + b"[" * 100_000, "line 1"),
    "json, wrapped": (".json", json.dumps({"data": [GOOD]}).encode(), "there is: data"),
    "jsonl, cut": (".jsonl", as_lines([GOOD, GOOD])[:-3], "line 2"),
    "jsonl, a list": (".jsonl", b'{}\n["a.png"]', "has no image"),
    "jsonl, a pointer": (".jsonl", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "parquet, none": (".parquet", b"PAR1 but no more", "git lfs pull"),
    "parquet, cut": (".parquet", as_parquet([GOOD])[:-40], "git lfs pull"),
    "parquet, empty": (".parquet", as_parquet([]), "no column"),
    "parquet, no answer": (
        ".parquet",
        as_parquet([{"image": "a.png", "question": "Why?"}]),
        "has no column answer; there is: image, question",
    ),
}

CASES = [
    *((f"{fault}{ending}", ending, write(rows), rf"{PLACES[ending]}\b.*{words}")
      for fault, (rows, words) in ROWS.items() for ending, write in WRITERS.items()),
    *((f"{fault}{ending}", ending, WRITERS[ending](rows), words)
      for fault, (rows, words) in TYPES.items() for ending in (".json", ".jsonl")),
    *((name, *case) for name, case in FILES.items()),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (8, 6), "red").save(tmp_path / "a.png")
    return tmp_path


@pytest.mark.parametrize(
    ("ending", "data", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_fault_is_said_with_its_file_and_place(folder, ending, data, words):
    path = folder / f"mine{ending}"
    path.write_bytes(data)
    for read, place in ((load, path), (load, folder), (image_folder, folder)):
        with pytest.raises(DataError, match=f"(?s){words}") as error:
            read(place)
        assert path.name in str(error.value)


@pytest.mark.parametrize("ending", WRITERS)
def test_all_rows_that_cannot_be_used_are_told_at_once(folder, ending):
    rows = [changed(id=f"n{n}", answer="perhaps")[1] for n in range(13)]
    path = folder / f"mine{ending}"
    path.write_bytes(WRITERS[ending](rows))
    with pytest.raises(DataError, match=r"13 rows cannot be used: .*; and 3 more") as error:
        read_table(path)
    assert str(error.value).count("is none of the choices") == 10


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("answer", ["", None, "nan", "NaN", "NULL", "<NA>"])
def test_an_empty_answer_is_one_that_nobody_knows(folder, ending, answer):
    path = folder / f"mine{ending}"
    path.write_bytes(WRITERS[ending](changed(answer=answer)))
    assert [sample.answer for sample in load(path)] == ["yes", None]


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_nan_is_an_answer_that_nobody_knows_and_no_question(folder, ending):
    path = folder / f"mine{ending}"
    nan = float("nan")
    path.write_bytes(WRITERS[ending](changed(answer=nan, choices=nan)))
    assert [(s.answer, s.choices) for s in load(path)] == [("yes", ("yes", "no")), (None, ())]
    path.write_bytes(WRITERS[ending](changed(question=nan)))
    with pytest.raises(DataError, match=f"{PLACES[ending]} has an empty question"):
        load(path)


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("state", ["missing", "empty", "damaged"])
def test_a_picture_that_cannot_be_read_is_named_with_its_row(folder, ending, state):
    path = folder / f"mine{ending}"
    path.write_bytes(WRITERS[ending](changed(image="b.png")))
    if state != "missing":
        (folder / "b.png").write_bytes(b"" if state == "empty" else b"no picture")
    with pytest.raises(ImageError, match=rf"{path.name}, {PLACES[ending]}: .*b\.png"):
        load(path)


@pytest.mark.parametrize("case", ["csv, short row", "json, cut", "parquet, none"])
def test_nothing_is_written_and_torch_is_not_loaded(folder, case):
    ending, data, _ = FILES[case]
    path = folder / f"mine{ending}"
    path.write_bytes(data)
    code = (
        "import sys\nfrom vlmlens import cli\n"
        f"sys.argv[1:] = ['diagnose', '--data', {str(path)!r}, '--out', {str(folder / 'out')!r}]\n"
        "try:\n    cli.run()\nfinally:\n    print('torch' in sys.modules)"
    )
    done = python(code, status=2)
    assert done.stdout.strip() == "False"
    assert path.name in "".join(done.stderr.split("\n"))
    assert not (folder / "out").exists()


def test_half_a_character_is_told_before_anything_is_written(folder):
    """JSON may escape it, and no file could hold what is said about it."""
    path = folder / "mine.jsonl"
    path.write_text(json.dumps({"image": "a.png", "question": "\ud800?", "answer": "red"}))
    with pytest.raises(VLMLensError, match=r"mine.jsonl, line 1.* holds half of a character"):
        load(path)


def test_a_column_is_one_thing(folder):
    path = folder / "mine.csv"
    path.write_text("image,text\na.png,What?\n")
    with pytest.raises(DataError, match="text cannot be two things"):
        load(path, columns="question=text,answer=text")


def test_a_picture_that_is_nowhere_is_said_to_be(folder):
    picture = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema({"image": picture, "question": pa.string(), "answer": pa.string()})
    row = {"image": {"bytes": None, "path": None}, "question": "What?", "answer": "red"}
    pq.write_table(pa.Table.from_pylist([row], schema=schema), folder / "mine.parquet")
    with pytest.raises(ImageError, match="image holds neither a picture nor the name of one"):
        load(folder / "mine.parquet")
