import base64
import json
import sys
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from plots.made import attention
from vlmlens import plots
from vlmlens.errors import InputError
from vlmlens.plots.interactive import Selection
from vlmlens.plots.interactive.page import module, page
from vlmlens.plots.interactive.payload import check, described, packed, quantised, unpacked
from vlmlens.plots.interactive.still import still

#: The module, whose name in its folder is taken by the function.
VIEW = sys.modules["vlmlens.plots.interactive.view"]
PAGE = sys.modules["vlmlens.plots.interactive.page"]
CELLS = [divmod(cell, 3) for cell in range(9)]


def test_weights_come_back_close_and_rows_sum_to_what_they_did():
    weights = np.random.default_rng(0).dirichlet(np.full(50, 0.2), 40).astype(np.float32)
    weights[0] = 0.0
    weights[0, 3] = 1.0
    scale, code = quantised(weights)
    back = scale[:, None] * (code / 255.0) ** 2
    np.testing.assert_allclose(back.sum(-1), weights.sum(-1), rtol=1e-5)
    assert (np.abs(back - weights) <= 0.01 * weights.max(-1, keepdims=True)).all()
    np.testing.assert_array_equal(back[0], weights[0])


def test_a_row_of_nothing_stays_nothing():
    scale, code = quantised(np.zeros((1, 4), np.float32))
    assert (scale[0], code.tolist()) == (0, [[0, 0, 0, 0]])


def test_packed_weights_are_those_of_every_run_query_first():
    tables = {"a": attention(seed=0), "b": attention(seed=1)}
    back = unpacked(packed(tables), 2, tables["a"])
    for run, table in enumerate(tables.values()):
        expected = table["attention"].transpose("query", "layer", "head", "key").values
        np.testing.assert_allclose(back[run], expected, atol=0.011)


def test_the_description_is_json_and_points_at_positions():
    table = attention().sel(query=[10, 12])
    meta = json.loads(json.dumps(described({"a": check(table)}, "")))
    assert meta["queries"] == [10, 12]
    assert meta["title"] == "left?"
    assert meta["sees"] == [11, 13]  # causal: up to themselves
    assert meta["box"][1] == [0, 0, 30, 30]
    assert meta["box"][0] == [-1, -1, -1, -1]
    assert meta["runs"][0]["pictures"][0]["width"] == 90


def test_the_same_rows_give_the_same_page(tmp_path):
    first, second = (plots.explorer(attention()).save(tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_a_page_holds_what_is_kept_and_says_when_it_is_too_large(tmp_path, monkeypatch):
    explorer = plots.explorer(attention())
    whole = explorer.save(tmp_path / "whole.html").stat().st_size
    part = explorer.save(tmp_path / "part.html", layers=[1], heads=[0], rows=["user", 12])
    assert part.stat().st_size < whole
    monkeypatch.setattr(VIEW, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="keep fewer"):
        explorer.save(tmp_path / "large.html")
    assert not (tmp_path / "large.html").exists()


def test_a_notebook_is_spared_what_it_could_not_show(monkeypatch):
    pytest.importorskip("anywidget")
    monkeypatch.setattr(VIEW, "MOST_IN_A_NOTEBOOK", 100)
    with pytest.raises(InputError, match=r"table\.sel\(query="):
        plots.explorer(attention())._repr_mimebundle_()


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"layers": [7]}, "no layer 7"), ({"heads": [9]}, "no head 9"), ({"rows": ["x"]}, "no row")],
)
def test_only_what_is_there_can_be_kept(tmp_path, asked, said):
    with pytest.raises(InputError, match=said):
        plots.explorer(attention()).save(tmp_path / "x.html", **asked)


def test_it_begins_where_the_answer_begins():
    assert plots.explorer(attention()).selection == Selection("attention", position=12)
    said = attention()
    said["role"] = said["role"].where(said["key"] != 12, "assistant")
    assert plots.explorer(said).selection.position == 11


def test_choosing_from_python():
    explorer = plots.explorer(attention()).select(layer=1, head=0, area=[1, 2])
    assert explorer.selection == Selection("attention", 1, 0, 12, (1, 2))
    table = explorer.runs["attention"]["attention"]
    chosen = explorer.selection
    looks = table.sel(layer=chosen.layer, head=chosen.head, query=chosen.position)
    assert looks.sel(key=list(chosen.area)).sizes == {"key": 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer": 1}, "together"),
        ({"layer": 5, "head": 0}, "no layer 5"),
        ({"area": [99]}, "no key 99"),
        ({"run": "other"}, "no run 'other'"),
        ({"query": 3}, "has no query"),
    ],
)
def test_what_cannot_be_chosen_changes_nothing(change, said):
    explorer = plots.explorer(attention())
    before = explorer.selection
    with pytest.raises(InputError, match=said):
        explorer.select(**change)
    assert explorer.selection == before


def test_runs_that_cannot_be_laid_on_one_another():
    one = attention()
    with pytest.raises(InputError, match="along query"):
        plots.explorer({"a": one, "b": one.sel(query=[3])})
    with pytest.raises(InputError, match="differ in the role"):
        plots.explorer({"a": one, "b": one.assign_coords(role=("key", ["user"] * 13))})
    with pytest.raises(InputError, match="not 3"):
        plots.explorer(dict.fromkeys("abc", one))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda t: t.drop_vars("left"), "needs the coordinates left"),
        (lambda t: t.drop_vars("attention"), "needs the variables attention"),
        (lambda t: t.isel(layer=0), "needs layer"),
        (lambda t: t.assign(attention=t["attention"] - 1), "not negative"),
        (lambda t: t.isel(query=slice(0)), "no attention to explore"),
        (lambda t: t.assign_coords(query=t["query"] + 5), "is no position"),
    ],
)
def test_what_it_cannot_draw_is_refused_by_name(broken, said):
    with pytest.raises(InputError, match=said):
        plots.explorer(broken(attention()))


def test_no_text_from_data_can_end_a_script():
    hostile = "</script><script>alert(1)</script>"
    table = attention(words=("<s>", hostile, "?", ":"))
    table.attrs |= {"question": hostile, "answer": hostile}
    explorer = plots.explorer({hostile: table})
    text = page(described(explorer.runs, hostile), b"")
    assert "<script>alert" not in text
    assert text.count("<script") == 3


def test_the_code_asks_nothing_of_the_network():
    code = module()
    for word in ("http", "fetch(", "XMLHttpRequest", "import(", "innerHTML", "eval("):
        assert word not in code, word


def test_in_a_notebook_choices_come_back():
    pytest.importorskip("anywidget")
    explorer = plots.explorer(attention()).select(area=[2])
    widget = explorer._widget
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()[0]
    widget.chosen = {"run": "attention", "layer": 1, "head": 1, "position": 11, "area": [3, 4]}
    assert explorer.selection == Selection("attention", 1, 1, 11, (3, 4))
    explorer.select(area=())
    assert widget.chosen["area"] == []
    assert explorer.selection == replace(Selection("attention", 1, 1, 11), area=())


def kept(explorer):
    """The picture and the HTML that a notebook holds."""
    bundle = explorer._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    picture = Image.open(BytesIO(base64.b64decode(data["image/png"])))
    picture.load()
    return picture, data["text/html"], data


def test_without_anywidget_a_notebook_shows_the_page(monkeypatch):
    monkeypatch.setattr(VIEW, "find_spec", lambda _: None)
    picture, shown, _ = kept(plots.explorer(attention()))
    assert picture.width == 960
    assert shown.startswith("<img alt=") and shown.count("<iframe srcdoc=") == 1
    assert "<script" not in shown  # all of the page is inside the attribute


def test_beside_the_widget_a_notebook_keeps_a_picture_and_the_page(monkeypatch):
    pytest.importorskip("anywidget")
    explorer = plots.explorer(attention(), title="<b>left</b>")
    picture, shown, data = kept(explorer)
    assert "application/vnd.jupyter.widget-view+json" in data and data["text/plain"]
    assert "<b>" not in shown and "&lt;b&gt;left&lt;/b&gt;" in shown
    assert kept(explorer.select(layer=1, head=0))[0].tobytes() != picture.tobytes()
    monkeypatch.setattr(PAGE, "MOST_BESIDE", 1000)
    again, small, _ = kept(explorer)
    assert "<iframe" not in small and 'save("page.html")' in small and again.width == 960


def test_the_picture_shows_the_chosen_head_on_the_cells():
    """The brightest cell is the patch that the row reads most."""
    table = attention(grid=(3, 3), size=90)
    table["picture_0"][:] = 128
    row = table["attention"].sel(layer=1, head=0, query=12)
    patches = row.values[1:10]
    chosen = Selection("attention", 1, 0, 12)
    drawn = np.asarray(Image.open(BytesIO(still(table, chosen, ""))).convert("RGB"), float)
    side, left = 340, 20
    top = int(np.flatnonzero((drawn[:, left + 5] < 250).any(-1) & (drawn[:, 340] < 250).any(-1))[0])
    centres = [(top + side * (2 * r + 1) // 6, left + side * (2 * c + 1) // 6) for r, c in CELLS]
    green = [drawn[y, x, 1] for y, x in centres]
    assert int(np.argmax(green)) == int(np.argmax(patches))
    assert (np.diff(np.array(green)[np.argsort(patches)]) >= -2).all()  # of 255: rounding


def test_without_a_picture_the_grid_is_drawn_and_without_an_image_the_words():
    for table in (attention().drop_vars("picture_0"), attention(words=["<s>", *"abcdefgh" * 40])):
        picture, _, _ = kept(plots.explorer(table))
        assert picture.height > 200
    two = plots.explorer({"a": attention(), "b": attention(seed=1)}).select(run="difference")
    assert kept(two)[0].width == 960


def test_tiles_and_a_file_on_disk(tmp_path):
    attention().to_netcdf(tmp_path / "rows.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "rows.nc", engine="h5netcdf") as opened:
        assert plots.explorer(opened).selection.position == 12


def test_a_model_that_looks_ahead_says_how_far():
    table = attention()
    table["attention"] = table["attention"].copy()
    table["attention"][:, :, 1, 9] = 0.5  # the first patch sees the last
    assert described({"a": check(table)}, "")["sees"][1] == 10
