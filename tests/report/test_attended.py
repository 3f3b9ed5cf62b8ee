import base64
from io import BytesIO

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from vlmlens.report import Thumbnail, build, extremes
from vlmlens.report.attended import looked

PICTURE = (Thumbnail("data:image/png;base64,AAAA", "a.png"),)


@pytest.fixture
def graded(results):
    """Two right answers and two wrong ones, of other log probabilities."""
    correct, sure = results["correct"].values.copy(), results["log_prob"].values.copy()
    correct[:, 0], sure[:, 0] = [1, 0, 1, 0], [-2.0, -3.0, -1.0, -5.0]
    found = results.assign(
        correct=(("sample", "permutation"), correct),
        log_prob=(("sample", "permutation"), sure),
    )
    return found.assign_coords(sample=list("abcd"))


@pytest.fixture
def attention():
    """Two samples of 64 x 32 pixels, seen in their middle 32 x 32, two layers of 2 x 2 patches."""
    cells = np.zeros((2, 2, 2, 2))
    cells[:, 0] = 0.1
    cells[:, 1, 0, 1] = 0.8  # layer 1 looks at the upper right alone
    edges = {"left": [[16, 32], [16, 32]], "right": [[32, 48], [32, 48]]}
    edges |= {"top": [[0, 0], [16, 16]], "bottom": [[16, 16], [32, 32]]}
    found = xr.DataArray(
        cells, dims=("sample", "layer", "row", "column"), coords={"sample": ["c", "d"]}
    )
    box = {name: (("row", "column"), np.array(at, float)) for name, at in edges.items()}
    found = found.assign_coords(**box, picture_width=64, picture_height=32, layer=[4, 9])
    return found.to_dataset(name="attention")


def test_best_are_right_and_sure_and_worst_are_wrong_and_far_off(graded):
    assert extremes(graded) == (["c", "a"], ["d", "b"])
    assert extremes(graded, each=1) == (["c"], ["d"])
    assert extremes(graded.drop_vars("log_prob")) == (["a", "c"], ["d", "b"])


def test_the_best_are_right_and_the_worst_are_wrong(graded):
    for right, of in (({"a"}, (["a"], ["d", "b"])), (set(), ([], ["d", "b"]))):
        correct = graded["correct"].copy()
        correct[:, 0] = [float(name in right) for name in "abcd"]
        assert extremes(graded.assign(correct=correct)) == of
        assert extremes(graded.assign(correct=1 - correct))[1] == sorted(right)


def test_what_nobody_graded_is_neither(graded):
    some = graded["correct"].where(graded["sample"] != "c")
    assert extremes(graded.assign(correct=some)) == (["a"], ["d"])
    assert extremes(graded.assign(correct=some * np.nan)) == ([], [])
    assert extremes(graded.drop_vars("correct")) == ([], [])


def test_heat_lies_on_the_part_that_the_model_saw(graded, attention):
    best, worst = looked(attention, graded, {"c": PICTURE, "d": PICTURE, "a": PICTURE})
    assert (best["sample"], best["kind"], worst["sample"]) == ("c", "best", "d")
    mean, sharp = best["heats"]
    assert mean["part"] == sharp["part"] == (25.0, 0.0, 50.0, 100.0)
    assert sharp["title"] == "layer 9, the sharpest"
    pixels = np.asarray(Image.open(BytesIO(base64.b64decode(sharp["url"].partition(",")[2]))))
    assert pixels.shape == (2, 2, 4)
    assert pixels[0, 1, 3] > 200 and pixels[..., 3].sum() == pixels[0, 1, 3]  # else it is clear
    assert pixels[0, 1, :3].tolist() == [253, 231, 37]  # viridis ends in yellow


def test_a_place_that_is_not_known_is_not_drawn(graded, attention):
    bare = attention.drop_vars(["left", "top", "right", "bottom"])
    (card,) = looked(bare, graded, {"c": PICTURE})
    assert card["heats"] == []  # 64 x 32 pixels make no squares of 2 x 2
    square = bare.assign_coords(picture_width=32)
    assert looked(square, graded, {"c": PICTURE})[0]["heats"][0]["part"] == (0, 0, 100, 100)
    assert looked(None, graded, {"c": PICTURE}) == looked(attention, graded, None) == []


@pytest.mark.slow
def test_the_page_shows_them(tmp_path, graded, attention):
    shown = {"c": PICTURE, "d": PICTURE}
    path = build(graded, None, tmp_path / "r.html", shown, tables={"attended": attention})
    text = path.read_text(encoding="utf-8")
    assert '<section id="attended">' in text and text.count('class="heat"') == 4
    assert "left:25.00%;top:0.00%;width:50.00%;height:100.00%" in text
    assert "<h3>Worst</h3>" in text and "got wrong" in text
    graded.attrs["reference"] = "own"  # then nobody knows what is right
    own = build(graded, None, tmp_path / "o.html", shown, tables={"attended": attention})
    assert "<h3>Least sure</h3>" in own.read_text() and "got wrong" not in own.read_text()
    bare = attention.drop_vars(["left", "top", "right", "bottom"])
    said = build(graded, None, tmp_path / "b.html", shown, tables={"attended": bare}).read_text()
    assert 'class="heat"' not in said and said.count("does not say where on the picture") == 2
    without = build(graded, None, tmp_path / "s.html", shown).read_text(encoding="utf-8")
    assert 'id="attended"' not in without
