"""How a report is read: by eye in light and dark and on paper, by keys, and by a screen reader."""

import numpy as np
import pytest
import xarray as xr
from report.test_evaluated_figures import made
from report.test_side_by_side import answers, diagnosis

from browser.test_pages import DOT, results, table
from vlmlens.experiments import summarise
from vlmlens.report import Thumbnail, build, compare, side_by_side

#: What makes a page hard to read by rules that are not about good practice alone.
RULES = ("wcag2a", "wcag2aa", "wcag21aa", "best-practice")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A report with everything that one can have, and measurements in folded chapters."""
    rng = np.random.default_rng(0)
    found = results().assign_coords(sample=[f"sample {n}" for n in range(24)])
    grid = ("sample", "layer", "head")
    found["object_auroc"] = grid, 0.5 + 0.1 * rng.normal(size=(24, 8, 8))
    found["mdi"] = grid, np.exp(rng.normal(size=(24, 8, 8))), {"units": "ratio"}
    found["image_row"] = grid, 0.5 + 0.1 * rng.normal(size=(24, 8, 8))
    looked = xr.DataArray(rng.random((24, 8, 4, 4)), dims=("sample", "layer", "row", "column"))
    looked = looked.assign_coords(sample=found["sample"].values).to_dataset(name="attention")
    one = Thumbnail(f"data:image/png;base64,{DOT}", "a.png", part=(25.0, 0.0, 50.0, 100.0))
    shown = dict.fromkeys(found["sample"].values.tolist(), (one,))
    tables = {"summary": summarise(found[["object_auroc", "image_row"]]), "attended": looked}
    path = tmp_path_factory.mktemp("page") / "report.html"
    files = [path.parent / "tables" / "cells.csv"]
    return build(found, table(), path, shown, tables=tables, files=files)


def broken(page):
    """Rules of axe-core that the page breaks, each with an element that does."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options={"runOnly": list(RULES), "resultTypes": ["violations"]})
    told = [(each["id"], each["nodes"][0]["html"][:160]) for each in found.response["violations"]]
    assert found.response["passes"]  # it did look
    return told


@pytest.mark.slow
def test_axe_core_finds_what_is_wrong(opened, tmp_path):
    """The check itself: grey on white, and a picture without a name."""
    page = tmp_path / "bad.html"
    page.write_text("<html><body><p style='color:#bbb'>faint</p><img src=''></body></html>")
    assert {"color-contrast", "image-alt"} <= {rule for rule, _ in broken(opened(page))}


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(420, False), (1240, True), (2560, False)])
def test_a_report_can_be_read_by_everybody(opened, drawn, shot, page_file, width, dark):
    page = opened(page_file, width=width, dark=dark)
    figures = drawn(page)
    assert figures.count() == 12
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert broken(page) == []
    ground = page.locator(".main-svg").first.evaluate("e => e.style.background")
    assert ground == ("rgb(20, 25, 31)" if dark else "white")
    shot(page, f"report-whole-{width}-{'dark' if dark else 'light'}")


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_of_an_evaluation_can_be_read_by_everybody(opened, drawn, tmp_path, dark):
    page = opened(compare(made(("one", "two")), tmp_path / "page.html"), dark=dark)
    drawn(page)
    assert broken(page) == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(420, True), (1280, False)])
def test_diagnoses_side_by_side_can_be_read_by_everybody(
    opened, drawn, shot, tmp_path, width, dark
):
    pair = {
        name: diagnosis(name, answers(40, right, 1), np.linspace(0, 1, 40))
        for name, right in (("one", 0.9), ("a-model-with-a-rather-long-name/of-two-parts", 0.5))
    }
    page = opened(side_by_side(pair, tmp_path / "page.html"), width=width, dark=dark)
    assert drawn(page).count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert broken(page) == []
    shot(page, f"side-by-side-{width}-{'dark' if dark else 'light'}")


def test_panels_stand_below_one_another_on_a_narrow_page(opened, page_file):
    page = opened(page_file, width=420)
    page.locator("#figure-psi").scroll_into_view_if_needed()

    def places():
        page.locator("#figure-psi .main-svg").first.wait_for(state="attached")
        page.wait_for_function("document.querySelector('#figure-psi')._fullLayout._size")
        return page.evaluate(
            "() => { const l = document.querySelector('#figure-psi')._fullLayout;"
            " return ['', '2'].map(n => [l['xaxis' + n]._offset, l['yaxis' + n]._offset]); }"
        )

    (left, top), (second, below) = places()
    assert (second, below - top > 60) == (left, True)
    inner = "const s = document.querySelector('#psi .scroll'); return s.scrollWidth - s.clientWidth"
    assert page.evaluate(f"() => {{ {inner} }}") == 0
    assert page.evaluate("document.querySelector('#figure-psi').scrollHeight") == page.evaluate(
        "document.querySelector('#figure-psi').clientHeight"
    )
    page.set_viewport_size({"width": 1000, "height": 900})
    page.wait_for_function(
        "() => { const l = document.querySelector('#figure-psi')._fullLayout;"
        " return l.xaxis2._offset > l.xaxis._offset + 50; }"
    )
    assert places()[0][1] == places()[1][1]  # beside each other again


def test_figures_are_drawn_when_they_come_near(opened, page_file):
    page = opened(page_file)
    page.wait_for_selector("#figure-psi .main-svg")
    far = page.locator("#figure-norms .main-svg")
    assert far.count() == 0
    page.locator("#figure-norms").scroll_into_view_if_needed()
    far.first.wait_for(state="attached")
    folded = page.locator("#place .plotly-graph-div .main-svg")
    assert folded.count() == 0
    page.locator("#place summary").focus()
    page.keyboard.press("Enter")
    folded.first.wait_for(state="attached")
    assert page.locator("#place .plotly-graph-div").count() == 2


@pytest.mark.slow
def test_arrow_keys_tell_what_pointing_tells(opened, page_file):
    page = opened(page_file)
    page.locator("nav a", has_text="How do heads share attention").press("Enter")
    figure = page.locator("#figure-cmb")
    figure.locator(".main-svg").first.wait_for(state="attached")
    figure.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    heard = page.locator("#heard").text_content()
    assert heard.startswith("layer 0, head 1, mean ") and "95 % interval" in heard
    label = figure.locator(".hoverlayer .hovertext")
    label.filter(has_text="layer 0, head 1").wait_for(timeout=5000)  # plotly waits a little
    page.keyboard.press("ArrowLeft")
    assert page.locator("#heard").text_content().startswith("layer 0, head 0")
    with page.expect_download() as saved:
        page.locator("#figure-cmb ~ .save").press("Enter")
    assert saved.value.suggested_filename == "cmb.png"


@pytest.mark.slow
def test_on_paper_everything_is_there_and_light(opened, page_file, tmp_path):
    page = opened(page_file, dark=True)
    page.pdf(path=tmp_path / "report.pdf", print_background=True)  # Chromium tells the page
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    figures = page.locator(".plotly-graph-div")
    assert page.locator(".plotly-graph-div.drawn").count() == figures.count() == 12
    grounds = page.locator(".main-svg").evaluate_all("all => all.map(e => e.style.background)")
    assert {each for each in grounds if each} <= {"white", "rgba(0, 0, 0, 0)"}
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("main").bounding_box()["width"] == 700
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0
    assert page.locator(".main-svg").first.evaluate("e => e.style.background") == "rgb(20, 25, 31)"
