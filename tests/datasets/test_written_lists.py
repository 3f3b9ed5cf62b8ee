"""Lists that a cell of text writes out, as JSON, Python and numpy do."""

import base64
import csv
import json
from io import BytesIO

import numpy as np
import pytest
from as_users import as_users
from PIL import Image

from vlmlens.datasets import load
from vlmlens.errors import VLMLensError

WRITTEN = {"JSON": json.dumps, "Python": repr}
CHOICES = (["cat", "dog"], ["it's", 'a "b"', "c, d"], ["1", "2", "3"], ["[a]", "b|c"])


def png(color):
    data = BytesIO()
    Image.new("RGB", (8, 6), color).save(data, "PNG")
    return data.getvalue()


def written(rows, path):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), dialect="excel-tab")
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return load(path)


def base64_of(color):
    return base64.b64encode(png(color)).decode()


def one(tmp_path, kind="csv", **cells):
    row = {"image": "a.png", "question": "Which?", "answer": "", **cells}
    (tmp_path / "a.png").write_bytes(png("red"))
    return written([row], tmp_path / f"mine.{kind}")[0]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("choices", CHOICES)
@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_choices_are_those_of_the_list(tmp_path, write, choices, kind):
    found = one(tmp_path, kind, choices=write(choices), answer=choices[-1])
    assert found.choices == tuple(choices) and found.answer == choices[-1]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_several_pictures_stand_in_a_cell(tmp_path, write, kind):
    (tmp_path / "b.png").write_bytes(png("blue"))
    cells = [base64_of("green"), "b.png", f"data:image/png;base64,{base64_of('red')}"]
    found = one(tmp_path, kind, image=write(cells))
    shown = [picture.getpixel((0, 0)) for picture in found.pictures()]
    assert shown == [(0, 128, 0), (0, 0, 255), (255, 0, 0)]


def test_a_row_that_names_another_shows_all_of_its_pictures(tmp_path):
    both = repr([base64_of("green"), base64_of("red")])
    rows = [{"index": 5, "image": both, "question": "Which?", "answer": "x"}]
    rows += [{"index": 6, "image": "5", "question": "And now?", "answer": "y"}]
    first, second = written(rows, tmp_path / "mine.tsv")
    assert len(first.images) == 2 and second.images == first.images


@pytest.mark.parametrize("cell", [np.array(["cat", "dog"]), np.array(["a.png", "a.png"])])
@pytest.mark.parametrize("column", ["choices", "image"])
def test_what_numpy_writes_without_commas_is_no_list(tmp_path, cell, column):
    """To Python 'cat' 'dog' is 'catdog'."""
    with as_users(), pytest.raises(VLMLensError, match=r"single one|there is no image"):
        one(tmp_path, **{column: str(cell)})


def test_a_file_may_be_called_like_a_list(tmp_path):
    (tmp_path / "[1].png").write_bytes(png("blue"))
    (shown,) = one(tmp_path, image="[1].png").pictures()
    assert shown.getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "null", "<NA>"])
def test_a_last_option_that_a_program_left_empty_is_none(tmp_path, empty):
    found = one(tmp_path, "tsv", A="cat", B="dog", C=empty, D=empty, answer="B")
    assert found.options == ("cat", "dog") and found.choices == ("A", "B")
    kept = one(tmp_path, "tsv", A="cat", B="None", answer="B")
    assert kept.options == ("cat", "None")
