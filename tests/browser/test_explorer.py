"""The explorer, driven as a reader would: numbers on the page are those of the arrays."""

import json
import re

import numpy as np
import pytest
from plots.made import attention

from vlmlens import plots

ROOT = "#explorer[data-ready]"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def page_of(opened, tmp_path):
    def show(explorer, **options):
        page = opened(explorer.save(tmp_path / "x.html"), **options)
        page.wait_for_selector(ROOT)
        return page

    return show


def painted(page):
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def selected(page):
    painted(page)
    return json.loads(page.locator("#explorer").get_attribute("data-selection"))


def readout(page):
    painted(page)
    return page.locator(".vx-readout").inner_text()


def last_number(text):
    return float(re.findall(r"[−\d.]+\d", text)[-1].replace("−", "-"))


def over_patch(page, row, column, grid=3):
    """The middle of one patch, in the page's pixels."""
    box = page.locator(".vx-panel canvas").bounding_box()
    return (
        box["x"] + (column + 0.5) * box["width"] / grid,
        box["y"] + (row + 0.5) * box["height"] / grid,
    )


@pytest.mark.slow
def test_it_opens_where_the_answer_begins_and_says_how_much_of_the_image_is_read(page_of):
    table = attention()
    page = page_of(plots.explorer(table))
    assert selected(page) == {
        "run": "attention", "layer": None, "head": None, "position": 12, "area": [],
    }  # fmt: skip
    share = table["attention"].sel(query=12).isel(key=table["image"].values >= 0).sum("key")
    assert last_number(readout(page)) == pytest.approx(float(share.mean()), abs=6e-4)


def test_pointing_at_a_word_tells_what_it_reads(page_of, shot):
    table = attention()
    page = page_of(plots.explorer(table))
    page.keyboard.press("Escape")
    page.locator(".vx-token", has_text="left").hover()
    assert "“left” reads the image" in readout(page)
    share = table["attention"].sel(query=10).isel(key=table["image"].values >= 0).sum("key")
    assert last_number(readout(page)) == pytest.approx(float(share.mean()), abs=6e-4)
    shot(page, "explorer-word")


def test_a_text_alone_is_read_too(page_of):
    """Bare weights and tokens: what the last word reads of the others, but for the first."""
    drawn = np.tril(np.random.default_rng(0).random((2, 4, 12, 12)))
    drawn /= drawn.sum(-1, keepdims=True)
    page = page_of(plots.explorer(drawn, ["<s>", *(f" word{number}" for number in range(11))]))
    assert "“word10” reads other words than the first" in readout(page)
    assert last_number(readout(page)) == pytest.approx(
        drawn[:, :, -1, 1:-1].sum(-1).mean(), abs=2e-3
    )


def test_pointing_at_a_patch_tells_who_reads_it(page_of, shot):
    table = attention()
    page = page_of(plots.explorer(table))
    page.keyboard.press("Escape")
    page.mouse.move(*over_patch(page, 1, 2))
    assert "Patch (row 1, column 2) is read by" in readout(page)
    key = 1 + 1 * 3 + 2
    mean = table["attention"].sel(key=key, query=[10, 11, 12]).mean()
    assert last_number(readout(page)) == pytest.approx(float(mean), abs=6e-4)
    shot(page, "explorer-patch")


def test_locked_it_stays_and_pointing_reads_off_pairs(page_of):
    table = attention()
    page = page_of(plots.explorer(table).select(layer=1, head=0))
    page.locator(".vx-token", has_text="left").click()
    assert selected(page)["position"] == 10
    page.mouse.move(*over_patch(page, 0, 1))
    assert "“left” reads patch (row 0, column 1)" in readout(page)
    pair = table["attention"].sel(layer=1, head=0, query=10, key=2)
    assert last_number(readout(page)) == pytest.approx(float(pair), abs=0.011)
    page.locator(".vx-token", has_text="left").click()
    assert selected(page)["position"] is None


def test_dragging_over_an_object_ranks_the_heads_that_look_there(page_of, shot):
    table = attention()
    page = page_of(plots.explorer(table))
    page.mouse.move(*over_patch(page, 0, 0))
    page.mouse.down()
    page.mouse.move(*over_patch(page, 1, 1), steps=4)
    page.mouse.up()
    area = [1, 2, 4, 5]
    assert selected(page)["area"] == area
    looks = table["attention"].sel(query=12, key=area).sum("key")
    order = np.argsort(looks.values.ravel())[::-1]
    first = page.locator(".vx-pick").first
    assert int(first.get_attribute("data-head")) == order[0]
    assert last_number(first.inner_text()) == pytest.approx(float(looks.max()), abs=6e-4)
    first.click()
    assert (selected(page)["layer"], selected(page)["head"]) == divmod(int(order[0]), 2)
    readout(page)
    shot(page, "explorer-area")


def test_two_runs_and_their_difference(page_of, shot):
    runs = {"clean": attention(seed=0), "patched": attention(seed=1)}
    page = page_of(plots.explorer(runs))
    values = {}
    for name in ("clean", "patched", "patched − clean"):
        page.get_by_role("button", name=name, exact=True).click()
        values[name] = last_number(readout(page))
    change = values["patched"] - values["clean"]
    assert values["patched − clean"] == pytest.approx(change, abs=2e-3)
    assert selected(page)["run"] == "difference"
    shot(page, "explorer-difference")


def test_everything_can_be_done_from_the_keyboard(page_of):
    page = page_of(plots.explorer(attention()))
    page.locator('.vx-token[tabindex="0"]').focus()
    page.keyboard.press("Enter")  # lets go of the word that is locked at first
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert selected(page)["position"] == 11
    page.locator(".vx-panel canvas").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    assert selected(page)["area"] == [1, 2, 4, 5]
    page.keyboard.press(" ")
    assert selected(page)["area"] == [1, 2, 4]
    page.locator(".vx-map").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert (selected(page)["layer"], selected(page)["head"]) == (1, 0)
    page.keyboard.press("m")
    assert selected(page)["head"] is None
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert (selected(page)["position"], selected(page)["area"]) == (None, [])


def test_rows_that_were_left_out_are_not_made_up(page_of):
    page = page_of(plots.explorer(attention().sel(query=[12])))
    page.keyboard.press("Escape")
    page.locator(".vx-token", has_text="left").hover()
    assert "“left” is read by the words that can" in readout(page)
    assert "1 of 13 rows are here" in page.locator(".vx-note").inner_text()


def test_text_from_data_is_shown_and_not_obeyed(page_of):
    table = attention(words=("<s>", HOSTILE, "?", ":"))
    table.attrs |= {"question": HOSTILE, "answer": HOSTILE}
    page = page_of(plots.explorer({HOSTILE: table, "b": table}))
    assert page.locator(".vx-title").inner_text() == HOSTILE
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 3  # the page's own: description, weights, code


def test_hundreds_of_patches_and_a_thousand_heads_paint_within_a_tenth_of_a_second(page_of):
    words = ("<s>", *(f"word{i}" for i in range(62)), ":")
    small = attention(2, 2, (24, 24), words, size=480)
    rows = small["query"].values[-4:]
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(640, 0.1), (32, 32, 4)).astype(np.float32)
    table = small.drop_vars(["attention", "layer", "head"]).sel(query=rows)
    table = table.assign_coords(layer=np.arange(32), head=np.arange(32))
    table["attention"] = (("layer", "head", "query", "key"), weights)
    page = page_of(plots.explorer(table))
    page.keyboard.press("Escape")
    times = []
    for at in range(8):
        page.mouse.move(*over_patch(page, 3, at, grid=24))
        readout(page)
        times.append(float(page.locator("#explorer").get_attribute("data-latency")))
        page.locator(".vx-token").nth(60 + at % 4).hover()
        readout(page)
        times.append(float(page.locator("#explorer").get_attribute("data-latency")))
    assert np.median(times) < 100, times


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [420, 1240])
def test_nothing_is_wider_than_the_page(page_of, shot, dark, width):
    words = ("<s>", "USER", ":", "What", "color", "is", "left", "?", "ASSISTANT", ":")
    page = page_of(plots.explorer(attention(4, 4, (8, 8), words)), dark=dark, width=width)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    shot(page, f"explorer-{'dark' if dark else 'light'}-{width}")


def test_several_images_tiles_and_a_thumbnail_have_panels_of_their_own(page_of, shot):
    page = page_of(plots.explorer(tiled()))
    captions = page.locator(".vx-panel figcaption").all_inner_texts()
    assert captions == ["image 0", "image 0, thumbnail", "image 1"]
    sizes = [box.bounding_box() for box in page.locator(".vx-panel canvas").all()]
    assert sizes[0]["width"] / sizes[0]["height"] == pytest.approx(2, rel=0.02)
    page.keyboard.press("Escape")
    page.mouse.move(sizes[0]["x"] + 0.9 * sizes[0]["width"], sizes[0]["y"] + 5)
    assert "Patch (image 0, tile 1, row 0, column 1)" in readout(page)
    page.mouse.move(sizes[2]["x"] + 5, sizes[2]["y"] + 5)
    assert "Patch (image 1, tile 0, row 0, column 0)" in readout(page)
    shot(page, "explorer-tiles")


def tiled():
    """Image 0 is two tiles of 2 x 2 side by side and a thumbnail of 2 x 2; image 1 is 2 x 2."""
    cells = [(0, 0, "patch", x, y) for y in range(2) for x in range(2)]
    cells += [(0, 1, "patch", x, y) for y in range(2) for x in range(2)]
    cells += [(0, 2, "thumbnail", x, y) for y in range(2) for x in range(2)]
    cells += [(1, 0, "patch", x, y) for y in range(2) for x in range(2)]
    box = []
    for image, tile, kind, x, y in cells:
        wide = {"thumbnail": 60, "patch": 30}[kind] if image == 0 else 20
        left, tall = 60 * (tile == 1) + wide * x, 30 if image == 0 else 20
        box.append([left, tall * y, left + wide, tall * (y + 1)])
    table = attention(grid=(4, 4), words=("<s>", "left", ":"))
    numbers = {
        "image": [c[0] for c in cells],
        "tile": [c[1] for c in cells],
        "column": [c[3] for c in cells],
        "row": [c[4] for c in cells],
    }
    along = {name: ("key", [-1, *each, -1, -1]) for name, each in numbers.items()}
    blank = [np.nan] * 4
    edges = np.array([blank, *box, blank, blank])
    names = ("left", "top", "right", "bottom")
    along |= {name: ("key", edges[:, at]) for at, name in enumerate(names)}
    along["kind"] = ("key", ["", *[c[2] for c in cells], "", ""])
    table = table.assign_coords(along).drop_vars("picture_0")
    rng = np.random.default_rng(3)
    table["picture_0"] = (("y_0", "x_0", "rgb"), rng.integers(0, 255, (60, 120, 3), np.uint8))
    table["picture_1"] = (("y_1", "x_1", "rgb"), rng.integers(0, 255, (40, 40, 3), np.uint8))
    return table
