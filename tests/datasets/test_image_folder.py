import json

import numpy as np
import pytest
from PIL import Image

from vlmlens.datasets import image_folder, load
from vlmlens.errors import DataError, ImageError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "a.JPG", "sub/c.webp"):
        Image.new("RGB", (6, 4), "blue").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._b.png").write_bytes(b"left here by macOS")
    return tmp_path


def write_csv(folder, *lines, encoding="utf-8"):
    (folder / "questions.csv").write_text("\n".join(lines) + "\n", encoding=encoding)


def write_jsonl(folder, *rows):
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "questions.jsonl").write_text(text, encoding="utf-8")


def test_without_a_table_every_image_is_asked_the_same(folder):
    samples = image_folder(folder, question="What is it?")
    assert [s.id for s in samples] == ["a.JPG", "b.png", "sub/c.webp"]
    for sample in samples:
        assert (sample.question, sample.answer, sample.choices) == ("What is it?", None, ())
        assert sample.pictures()[0].size == (6, 4)
    assert image_folder(str(folder))[0].question == "Describe the image."


def test_images_come_in_the_order_of_their_paths(tmp_path):
    names = [f"{letter}.png" for letter in "qwertyuiopasdfghjkl"]
    for name in names:
        Image.new("RGB", (1, 1)).save(tmp_path / name)
    assert [s.id for s in image_folder(tmp_path)] == sorted(names)


def test_a_csv_table_asks_a_question_a_row(folder):
    write_csv(
        folder,
        "image,question,answer,choices,category,id,note",
        'sub/c.webp,"Is it red, or not?",no,yes | no,color,first,x',
        "b.png,What is it?,,,,,",
        "b.png,And why?,",
        encoding="utf-8-sig",
    )
    first, second, third = image_folder(folder)
    assert (first.question, first.answer) == ("Is it red, or not?", "no")
    assert (first.choices, first.category, first.id) == (("yes", "no"), "color", "first")
    assert first.images == (folder / "sub" / "c.webp",)
    assert (second.answer, second.choices, second.category) == (None, (), "")
    assert (second.id, third.id) == ("b.png:2", "b.png:3")
    assert third.answer is None


def test_a_jsonl_table_says_the_same(folder):
    asked = {"image": "b.png", "question": "How many?\u2028", "answer": 3, "choices": ["2", 3]}
    unknown = [
        {"image": "a.JPG", "question": q, "answer": a} for q, a in (("Why?", None), ("O?", np.nan))
    ]
    write_jsonl(folder, asked, *unknown)
    first, second, third = image_folder(folder)
    assert third.answer is None  # "NaN", as json.dumps writes it
    assert (first.question, first.answer, first.choices) == ("How many?", "3", ("2", "3"))
    assert (second.answer, second.id) == (None, "a.JPG:2")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["image,question"], "has no column answer; there is: image, question"),
        ([""], "there is: nothing"),
        (["image,question,answer"], "asks nothing"),
        (["image,question,answer", ",Why?,"], "line 2 has an empty image"),
        (["image,question,answer", "b.png,,yes"], "line 2 has an empty question"),
        (["image,question,answer", "b.png,Red, or not?,no"], "line 2 has more cells.*quotes"),
        (["image,question,answer", 'b.png,"Why?,no'], "line 2: unexpected end of data"),
        (["image,question,answer", "b.png,What"], "line 2 ends before its answer"),
        (["image,question,answer,catgory", "b.png,A?,,x"], "'catgory' is not read: write category"),
        (["image,question,answer,choice", "b.png,A?,,x|y"], "'choice' is not read: write choices"),
        (["Image,question,answer", "b.png,A?,"], "no column image.*'Image' .*: write image"),
        (["image,question,answer,ID", "b.png,A?,,x"], "'ID' is not read: write id"),
        (["image,question,answer,answer", "b.png,A?,,x"], "the column answer twice"),
        (["image,question,answer", "b.png,A?,", "a.JPG,A?,", "b.png,A?,"], "line 4 says .*line 2"),
        (["image,question,answer,choices", "b.png,A?,,yes;no"], "line 2: choices is 'yes;no'"),
        (["image,question,answer,choices", "b.png,A?,,a|b|a"], "line 2: .*one of them twice"),
        (
            ["image,question,answer,choices", "b.png,Red?,nope,yes|no"],
            "line 2: the answer 'nope' is none of the choices",
        ),
        (
            ["image,question,answer,id", "b.png,A?,,x", "b.png,B?,,x"],
            "line 3 has the id 'x' of .*line 2",
        ),
    ],
)
def test_a_csv_that_cannot_serve_says_where(folder, lines, words):
    write_csv(folder, *lines)
    with pytest.raises(DataError, match=rf"questions\.csv.*{words}"):
        image_folder(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"image": "b.png"', "line 1: Expecting"),
        ('\n["b.png", "Why?"]', "line 2 is no object"),
        ('{"image": "b.png", "question": "Why?"}', "line 1 has no answer; there is: image"),
        ('{"image": "b.png", "question": ["Why?"], "answer": ""}', "line 1: question is"),
        ('{"image": "b.png", "question": "A?", "answer": "", "choices": 2}', "line 1: choices is"),
        ('{"image": "b.png", "question": "A?", "answer": "", "catgory": ""}', "line 1 .*category"),
        ('{"image": "b.png", "question": "A?", "answer": "", "choices": "yesno"}', "a single one"),
        ('{"image": ' + "[" * 100_000, "line 1"),
        ("", "asks nothing"),
    ],
)
def test_a_jsonl_that_cannot_serve_says_where(folder, text, words):
    (folder / "questions.jsonl").write_text(text)
    with pytest.raises(DataError, match=rf"questions\.jsonl.*{words}"):
        image_folder(folder)


def test_two_tables_or_one_in_another_encoding_are_refused(folder):
    (folder / "questions.csv").write_bytes("image,question,answer\nb.png,où?,".encode("latin-1"))
    with pytest.raises(DataError, match=r"questions\.csv.*UTF-8"):
        image_folder(folder)
    write_jsonl(folder)
    with pytest.raises(DataError, match="keep one of them"):
        image_folder(folder)


def test_a_missing_image_is_named_with_its_row(folder):
    write_csv(folder, "image,question,answer", "b.png,Why?,", "gone.png,Why?,")
    with pytest.raises(ImageError, match=r"questions\.csv, line 3: there is no image .*gone\.png"):
        image_folder(folder)
    write_csv(folder, "image,question,answer", "sub/d.webp,Why?,")
    with pytest.raises(ImageError, match=r"line 2: .*did you mean c\.webp"):
        image_folder(folder)


def test_columns_that_nobody_reads_are_named(folder, caplog):
    write_csv(folder, "image,question,answer,options,note,", "b.png,Why?,,x,y,")
    image_folder(folder)
    assert "the columns options, note are not read" in caplog.text


def test_a_row_is_asked_again_under_another_id_only(folder):
    write_csv(folder, "image,question,answer,id", "b.png,Why?,,first", "b.png,Why?,,second")
    first, second = image_folder(folder)
    assert (first.id, second.id) == ("first", "second")
    assert second.source.endswith("questions.csv, line 3")
    assert "line 3" in second.named()


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", r"d\.png is empty"), (b"not a picture", r"d\.png is no readable image")],
)
def test_an_empty_or_damaged_image_is_named(folder, data, words):
    (folder / "d.png").write_bytes(data)
    with pytest.raises(ImageError, match=words):
        image_folder(folder)


def test_an_image_is_checked_behind_its_header_too(folder):
    png = (folder / "b.png").read_bytes()
    pixels = png.index(b"IDAT") + 6
    (folder / "d.png").write_bytes(png[:pixels] + b"!" + png[pixels + 1 :])
    with pytest.raises(ImageError, match=r"d\.png is no readable image"):
        image_folder(folder)


def test_an_image_with_a_wrong_checksum_is_refused(folder):
    data, path = bytearray((folder / "b.png").read_bytes()), folder / "d.png"
    at = data.index(b"IDAT")
    data[at + 4 + int.from_bytes(data[at - 4 : at])] ^= 1
    path.write_bytes(data)
    Image.open(path).load()  # Pillow does not look at it
    with pytest.raises(ImageError, match=r"d\.png is no readable image .*checksum"):
        image_folder(folder)


def test_folders_that_hold_nothing_say_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"no images \(png jpg .*questions\.csv.*put some there"):
        image_folder(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        image_folder(tmp_path / "none")
    with pytest.raises(DataError, match="it is a file"):
        image_folder(__file__)


def test_load_knows_a_folder_by_its_path(folder):
    assert load(str(folder), question="Why?") == image_folder(folder, question="Why?")
    few = load(folder, samples=2, seed=0)
    assert len(few) == 2
    assert [s.id for s in few] == sorted(s.id for s in few)


@pytest.mark.parametrize("name", ["questions.csv", "questions.jsonl"])
def test_questions_one_folder_up_are_mentioned(folder, name):
    (folder / name).write_text("image,question,answer\nsub/c.webp,What?,red\n")
    for read in (load, image_folder):
        with pytest.raises(DataError, match=rf"{name} lies one folder up.*name that file"):
            read(folder / "sub")
    assert len(load(folder / "sub", question="What is it?")) == 1
    (folder / "sub" / name).write_text((folder / name).read_text().replace("sub/", ""))
    if name == "questions.csv":
        assert load(folder / "sub")[0].question == "What?"
