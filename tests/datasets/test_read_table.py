"""One reader for every table of questions: formats, names of columns, and ways to give pictures."""

import base64
import csv
import json
import os
from io import BytesIO, StringIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import build
from PIL import Image
from published_files import PICTURE, TEXT, struct, table
from typer.testing import CliRunner

from vlmlens import cli, experiments
from vlmlens.datasets import check_pictures, image_folder, load, read_table
from vlmlens.datasets.reading import Base64, InParquet
from vlmlens.datasets.reading.columns import USUAL
from vlmlens.errors import DataError, ImageError, UnknownColumnError
from vlmlens.model import HookedVLM

COLORS = ("red", "green", "blue")
ROWS = [
    {
        "image": f"{color}.png",
        "question": 'Is it "red", or\nnot?' if n else "What, then; is it?",
        "answer": "yes" if color == "red" else "no",
        "choices": ["yes", "no"],
        "category": "color",
        "id": f"number {n}",
    }
    for n, color in enumerate(COLORS)
]


def png(color, kind="PNG"):
    data = BytesIO()
    Image.new("RGB", (8, 6), color).save(data, kind)
    return data.getvalue()


def separated(rows, mark):
    text = StringIO()
    flat = [{k: "|".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
    writer = csv.DictWriter(text, list(flat[0]), delimiter=mark)
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def parquet(rows, path):
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


#: How a table may be written: its ending, and what writes rows into it.
FORMATS = {
    "csv": (".csv", lambda rows, path: path.write_bytes(separated(rows, ",").encode())),
    "csv, semicolons": (".csv", lambda rows, path: path.write_bytes(separated(rows, ";").encode())),
    "csv, tabs": (".csv", lambda rows, path: path.write_bytes(separated(rows, "\t").encode())),
    "csv, BOM": (
        ".csv",
        lambda rows, path: path.write_bytes(separated(rows, ",").encode("utf-8-sig")),
    ),
    "csv, UTF-16": (
        ".CSV",
        lambda rows, path: path.write_bytes(separated(rows, ",").encode("utf-16")),
    ),
    "tsv": (".tsv", lambda rows, path: path.write_bytes(separated(rows, "\t").encode())),
    "tsv, UTF-16": (
        ".tsv",
        lambda rows, path: path.write_bytes(separated(rows, "\t").encode("utf-16")),
    ),
    "json": (".json", lambda rows, path: path.write_text(json.dumps(rows, indent=1))),
    "json, UTF-16": (
        ".json",
        lambda rows, path: path.write_bytes(json.dumps(rows).encode("utf-16")),
    ),
    "json, lines": (
        ".json",
        lambda rows, path: path.write_text("\n".join(map(json.dumps, rows))),
    ),
    "json, by name": (
        ".json",
        lambda rows, path: path.write_text(json.dumps({str(n): r for n, r in enumerate(rows)})),
    ),
    "jsonl": (".jsonl", lambda rows, path: path.write_text("\n".join(map(json.dumps, rows)))),
    "parquet": (".parquet", parquet),
}


@pytest.fixture(params=FORMATS)
def put(request, tmp_path):
    """Writes rows as a table beside three pictures; its path."""
    ending, write = FORMATS[request.param]
    for color in COLORS:
        (tmp_path / f"{color}.png").write_bytes(png(color))

    def write_rows(rows, stem="mine"):
        write(rows, tmp_path / f"{stem}{ending}")
        return tmp_path / f"{stem}{ending}"

    return write_rows


def renamed(rows, **names):
    return [{names.get(key, key): value for key, value in row.items()} for row in rows]


def check(samples):
    assert len(samples) == len(ROWS)
    for sample, row, color in zip(samples, ROWS, COLORS, strict=True):
        assert (sample.question, sample.answer) == (row["question"], row["answer"])
        assert (sample.choices, sample.category) == (("yes", "no"), "color")
        assert sample.id == row["id"]
        (picture,) = sample.pictures()
        assert picture.getpixel((3, 3)) == Image.new("RGB", (1, 1), color).getpixel((0, 0))


def test_every_format_says_the_same_by_its_path_and_in_its_folder(put):
    path = put(ROWS)
    for read in (read_table, load):
        check(read(path))
    for read in (image_folder, load):
        check(read(path.parent))
    assert [s.id for s in load(path, samples=2, seed=1)] == [
        s.id for s in load(path.parent, samples=2, seed=1)
    ]


def test_columns_are_named_by_the_user_in_every_format(put):
    path = put(renamed(ROWS, image="foto", question="Frage", answer="A?", choices="options"))
    columns = {"image": "foto", "question": "Frage", "answer": "A?", "choices": "options"}
    text = ",".join(f"{field}={name}" for field, name in columns.items())
    for given in (columns, text):
        for read in (read_table, load):
            check(read(path, columns=given))
        check(load(path.parent, columns=given))
        check(image_folder(path.parent, columns=given))


@pytest.mark.parametrize(
    ("field", "name"), [(field, name) for field, names in USUAL.items() for name in names]
)
def test_usual_names_are_known(tmp_path, field, name):
    for color in COLORS:
        (tmp_path / f"{color}.png").write_bytes(png(color))
    for key in ("json", "parquet", "tsv"):
        ending, write = FORMATS[key]
        write(renamed(ROWS, **{field: name}), tmp_path / f"mine{ending}")
        check(read_table(tmp_path / f"mine{ending}"))


@pytest.mark.parametrize("lacking", ["image", "question", "answer"])
def test_a_column_that_is_missing_is_named_with_the_nearest(put, lacking):
    near = {"image": "imge", "question": "Question", "answer": "answers"}[lacking]
    path = put(renamed(ROWS, **{lacking: near}))
    with pytest.raises(DataError, match=rf"has no .*{lacking}; there is: .*'{near}' is not read.*"):
        load(path)
    check(load(path, columns={lacking: near}))
    path = put(renamed(ROWS, **{lacking: "zzz"}))
    with pytest.raises(DataError, match=rf"{lacking}; there is: .*--columns {lacking}=COLUMN"):
        load(path)


def test_a_column_that_the_user_names_and_is_not_there_is_named_with_the_nearest(put):
    path = put(ROWS)
    for field in USUAL:
        with pytest.raises(UnknownColumnError, match=r"no column 'answr'; did you mean answer"):
            load(path, columns={field: "answr"})


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("question", "write FIELD=COLUMN"),
        ("question=", "write FIELD=COLUMN"),
        ("=text", "write FIELD=COLUMN"),
        ("", "write FIELD=COLUMN"),
        ("question=text,question=label", "twice"),
        ("qestion=text", "no column 'qestion'; did you mean question"),
    ],
)
def test_columns_that_say_nothing_are_refused(tmp_path, columns, words):
    path = tmp_path / "mine.csv"
    path.write_text(separated(ROWS, ","))
    with pytest.raises(DataError, match=words):
        load(path, columns=columns)


def test_columns_are_refused_where_no_table_is_read(tmp_path):
    (tmp_path / "a.png").write_bytes(png("red"))
    for data in (tmp_path, "shapes-2d", "pope"):
        with pytest.raises(DataError, match="are of a table"):
            load(data, columns="question=text")


def test_two_columns_that_may_be_the_answer_are_not_chosen_between(put):
    rows = [row | {"gold": "yes"} for row in renamed(ROWS, answer="label")]
    path = put(rows)
    with pytest.raises(DataError, match=r"label and gold.*--columns answer=label"):
        load(path)
    check(load(path, columns="answer=label"))


#: A picture in a cell: how it is written, and the formats that can hold it.
HELD = {
    "base64": (lambda color: base64.b64encode(png(color)).decode(), FORMATS),
    "base64, in lines": (
        lambda color: base64.encodebytes(png(color)).decode(),
        ["csv", "tsv", "json", "jsonl", "parquet"],
    ),
    "data URL": (
        lambda color: "data:image/png;base64," + base64.b64encode(png(color)).decode(),
        FORMATS,
    ),
    "struct": (lambda color: {"bytes": png(color), "path": f"{color}"}, ["parquet"]),
    "struct of a path": (
        lambda color: {"bytes": None, "path": f"{color}.png"},
        ["json", "jsonl", "parquet"],
    ),
    "bytes": (png, ["parquet"]),
    "list": (lambda color: [f"{color}.png"], ["json", "jsonl", "parquet"]),
    "list of structs": (lambda color: [{"bytes": png(color), "path": ""}], ["parquet"]),
    "path below": (lambda color: f"./{color}.png", FORMATS),
}


@pytest.mark.parametrize(
    ("held", "kind"), [(h, k) for h, (_, kinds) in HELD.items() for k in kinds]
)
def test_pictures_are_read_as_they_are_given(tmp_path, held, kind):
    ending, write = FORMATS[kind]
    for color in COLORS:
        (tmp_path / f"{color}.png").write_bytes(png(color))
    cell = HELD[held][0]
    rows = [row | {"image": cell(color)} for row, color in zip(ROWS, COLORS, strict=True)]
    write(rows, tmp_path / f"mine{ending}")
    check(load(tmp_path / f"mine{ending}"))


def test_pictures_wait_until_they_are_opened(tmp_path):
    rows = [row | {"image": {"bytes": png("red"), "path": None}} for row in ROWS]
    parquet(rows, tmp_path / "mine.parquet")
    assert all(isinstance(s.images[0], InParquet) for s in load(tmp_path / "mine.parquet"))
    rows = [row | {"image": base64.b64encode(png("red")).decode()} for row in ROWS]
    (tmp_path / "mine.tsv").write_text(separated(rows, "\t"))
    samples = load(tmp_path / "mine.tsv")
    assert all(isinstance(s.images[0], Base64) for s in samples)
    assert "iVBOR" not in repr(samples)


@pytest.mark.parametrize("opened_before", [False, True])
def test_pictures_of_a_file_written_anew_are_not_shown_with_the_old_questions(
    tmp_path, opened_before
):
    path = tmp_path / "mine.parquet"
    red, blue = (
        [row | {"image": {"bytes": png(color, "BMP"), "path": None}} for row in ROWS]
        for color in ("red", "blue")
    )
    parquet(red, path)
    samples, dates = load(path), path.stat()
    if opened_before:
        samples[0].pictures()
    parquet(blue, path)
    assert path.stat().st_size == dates.st_size
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    with pytest.raises(ImageError, match="changed since its questions were read: read it again"):
        samples[0].pictures()
    (shown,) = load(path)[0].pictures()
    assert shown.getpixel((0, 0)) == (0, 0, 255)


def test_a_table_of_vlmevalkit_lists_its_options_and_shares_its_pictures(tmp_path):
    """The columns of its files: a row may name another row's index in the place of its picture."""
    options = {"A": "a cat", "B": "a dog", "C": "", "D": ""}
    first = {"index": 7, "image": base64.b64encode(png("red")).decode(), "question": "Which?"}
    rows = [
        first | {"answer": "B", "category": "animal", "split": "val"} | options,
        {"index": 8, "image": "7", "question": "And what?", "answer": "A", "category": "animal",
         "split": "val", **options, "C": "a bird"},
    ]  # fmt: skip
    (tmp_path / "mine.tsv").write_text(separated(rows, "\t"))
    one, two = load(tmp_path / "mine.tsv")
    assert one.question == (
        "Which?\nA. a cat\nB. a dog\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert (one.answer, one.choices, one.options) == ("B", ("A", "B"), ("a cat", "a dog"))
    assert (two.answer, two.options, two.id) == ("A", ("a cat", "a dog", "a bird"), "8")
    assert {one.form, two.form} == {"letters"}
    assert two.images == one.images


def test_a_folder_of_several_tables_is_not_chosen_from(tmp_path):
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text(separated(ROWS, ","))
    (tmp_path / "red.png").write_bytes(png("red"))
    with pytest.raises(DataError, match=r"test\.csv, train\.csv.*name the one you mean"):
        load(tmp_path)
    with pytest.raises(ImageError, match=r"train\.csv.*green\.png"):
        load(tmp_path / "train.csv")


def test_an_unreadable_picture_counts_like_any_other(put):
    """Before a model is opened, all are looked at; as many may fail as the user allows."""
    broken = base64.b64encode(png("red"))[:80].decode() + "!" * 9
    path = put([row | {"image": broken} if n == 1 else row for n, row in enumerate(ROWS)])
    with pytest.raises(ImageError, match=r"(line|row) \d"):
        load(path)
    samples = load(path, check=False)
    check_pictures(samples, most=1)
    with pytest.raises(ImageError):
        check_pictures(samples)


def test_an_unreadable_picture_is_a_failed_sample_of_a_run(tmp_path):
    for color in COLORS:
        (tmp_path / f"{color}.png").write_bytes(png(color))
    broken = base64.b64encode(png("red"))[:60].decode()
    rows = [row | {"image": broken} if n == 1 else row for n, row in enumerate(ROWS)]
    (tmp_path / "mine.tsv").write_text(separated(rows, "\t"))
    samples = load(tmp_path / "mine.tsv", check=False)
    with HookedVLM(*build("llava")) as model:
        found = experiments.permutation_test(
            model, samples, permutations=1, scoring="likelihood", max_failed=1
        )
    assert found["sample"].values.tolist() == ["number 0", "number 2"]
    (failure,) = json.loads(found.attrs["failures"])
    assert failure["id"] == "number 1"
    assert "mine.tsv" in failure["error"]


@pytest.mark.slow
def test_the_command_line_reads_them(tmp_path):
    model = tmp_path / "model"
    for part in build("llava"):
        part.save_pretrained(model)
    data = tmp_path / "data"
    data.mkdir()
    for color in COLORS:
        (data / f"{color}.png").write_bytes(png(color))
    (data / "mine.tsv").write_text(separated(renamed(ROWS, question="text", image="file"), "\t"))
    words = ["diagnose", str(model), "--permutations", "1", "--max-new-tokens", "2"]
    words += ["--columns", "image=file,question=text"]
    for n, place in enumerate((data, data / "mine.tsv")):
        out = tmp_path / f"out {n}"
        told = CliRunner().invoke(cli.app, [*words, "--data", str(place), "--out", str(out)])
        assert told.exit_code == 0, told.output
        assert "3 samples of" in told.output
        assert (out / "report.html").is_file()


@pytest.mark.parametrize("named", [0, 1, 2])
def test_a_part_of_a_split_stands_for_all_of_it(named, tmp_path):
    """As the hub cuts it; a part that is missing is named, and one that is meant alone renamed."""
    columns = {"image": PICTURE, "question": TEXT, "answer": TEXT}
    parts = [tmp_path / f"test-0000{n}-of-00003.parquet" for n in range(3)]
    for n, part in enumerate(parts):
        table(part, columns, (struct(n), f"What {n}?", "red"), (struct(n), f"Which {n}?", "blue"))
    asked = ["What 0?", "Which 0?", "What 1?", "Which 1?", "What 2?", "Which 2?"]
    assert [sample.question for sample in read_table(parts[named])] == asked
    assert [sample.question for sample in image_folder(tmp_path)] == asked
    other = parts[0].with_name("train-00000-of-00001.parquet")
    other.write_bytes(parts[0].read_bytes())
    with pytest.raises(DataError, match="train-00000"):
        image_folder(tmp_path)  # two splits: which is meant?
    other.unlink()
    parts[(named + 1) % 3].unlink()
    with pytest.raises(
        DataError, match=f"one of 3 parts, and {parts[(named + 1) % 3].name} is not"
    ):
        read_table(parts[named])
    with pytest.raises(DataError, match="one of 3 parts"):
        image_folder(tmp_path)
    alone = parts[named].rename(tmp_path / "alone.parquet")
    assert len(read_table(alone)) == 2


@pytest.mark.parametrize(
    "names", ["A B C", "a b c", "option_a option_b option_c", "Option_C Option_A Option_B", "C B A"]
)
def test_columns_of_options_are_read_as_they_are_usually_called(tmp_path, names):
    names = names.split()
    said = {name: {"a": "cat", "b": "dog", "c": "bird"}[name[-1].lower()] for name in names}
    row = {"image": "a.png", "question": "What?", "answer": "b", "x": 1, "y": 2} | said
    (tmp_path / "asked.jsonl").write_text(json.dumps(row))
    (found,) = read_table(tmp_path / "asked.jsonl")
    assert (found.answer, found.options, found.form) == ("B", ("cat", "dog", "bird"), "letters")
    assert "C. bird" in found.question


@pytest.mark.parametrize(
    "names",
    ["A C", "a c", "B C", "A B D", "option_a option_c", "option_1 option_2", "choice1 choice2",
     "a b option_a option_b"],
)  # fmt: skip
def test_columns_of_options_with_a_gap_are_refused(tmp_path, names):
    row = {"image": "a.png", "question": "What?", "answer": "A"} | dict.fromkeys(names.split(), "x")
    (tmp_path / "asked.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"has options in .*; (name them A, B, C|keep those)"):
        read_table(tmp_path / "asked.jsonl")


@pytest.mark.parametrize("names", ["x y w h", "r g b", "A", "b", "R G B"])
def test_letters_that_are_no_options_are_left(tmp_path, names):
    row = {"image": "a.png", "question": "What?", "answer": "cat"} | dict.fromkeys(names.split(), 1)
    (tmp_path / "asked.jsonl").write_text(json.dumps(row))
    assert read_table(tmp_path / "asked.jsonl")[0].choices == ()
