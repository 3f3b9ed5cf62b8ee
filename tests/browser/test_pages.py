"""The report and exported figures in a browser: they draw, complain of nothing, and ask nothing."""

import numpy as np
import pytest
import xarray as xr
from report.test_evaluated_figures import made

from vlmlens import plots
from vlmlens.report import Thumbnail, build, compare

#: A picture of one pixel.
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"

HOSTILE = "</script><script>document.title='obeyed'</script><img src=x onerror=alert(2)>"


def results():
    rng = np.random.default_rng(0)
    grid = ("sample", "layer", "head")

    def draw(*shape):
        return rng.normal(size=shape)

    correct = (rng.random((24, 4)) < [0.9, 0.6, 0.6, 0.6]).astype(float)
    return xr.Dataset(
        {
            "cmb": (grid, 0.7 + 0.1 * draw(24, 8, 8), {"units": "fraction"}),
            "cmb_uniform": ("sample", np.full(24, 0.9)),
            "alpha_v": (grid, 0.3 + 0.05 * draw(24, 8, 8)),
            "delta_g_v": (grid, 0.01 * draw(24, 8, 8)),
            "delta_alpha_v": (grid, 0.001 * draw(24, 8, 8)),
            "hidden_norm": (("sample", "depth", "role"), np.exp(draw(24, 9, 3))),
            "correct": (("sample", "permutation"), correct),
            "answer": (("sample", "permutation"), np.where(correct == 1, "red", HOSTILE)),
            "mine": (grid, draw(24, 8, 8), {"long_name": HOSTILE, "source": HOSTILE}),
            "ours": (("sample", "intervention", "layer"), draw(24, 2, 8), {"units": "nats"}),
        },
        coords={
            "intervention": ["intact", HOSTILE],
            "role": ["system", "user", "vision"],
            "permutation": ["original", "seed 0", "seed 1", "seed 2"],
            "category": ("sample", ["color", HOSTILE] * 12),
            "question": ("sample", [f"What is at {HOSTILE}?"] * 24),
            "gold": ("sample", ["red"] * 24),
        },
        attrs={"model": "a model", "command": f"vlmlens diagnose {HOSTILE}", "data": HOSTILE},
    )


def table():
    middle = {"accuracy": [90.0, 80.0], "accuracy_permuted": [60.0, 70.0], "psi": [33.0, 12.5]}
    found = {name: ("category", x, {"units": "percent"}) for name, x in middle.items()}
    for name, x in middle.items():
        found |= {f"{name}_low": ("category", np.subtract(x, 8), {"units": "percent"})}
        found |= {f"{name}_high": ("category", np.add(x, 8), {"units": "percent"})}
    return xr.Dataset(found, coords={"category": ["overall", HOSTILE]})


@pytest.mark.slow
@pytest.mark.parametrize("width", [420, 1240])
def test_a_report_draws_every_figure_and_obeys_no_data(opened, drawn, shot, tmp_path, width):
    page = opened(build(results(), table(), tmp_path / "report.html"), width=width)
    assert drawn(page).count() == 9
    assert page.title() != "obeyed"
    assert page.locator("body img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shot(page, f"report-{width}")


@pytest.mark.slow
def test_answers_are_chosen_by_what_became_of_them_and_by_category(opened, shot, tmp_path):
    found = results()
    correct = found["correct"].values.copy()
    correct[2, 0] = 0
    found["correct"] = ("sample", "permutation"), correct
    one = Thumbnail(f"data:image/png;base64,{DOT}", part=(25.0, 0.0, 50.0, 100.0))
    shown = {str(n): (one,) for n in range(24)}
    page = opened(build(found, table(), tmp_path / "report.html", shown), width=1240)
    cards, bar = page.locator("#samples .card"), page.locator("#samples .choose")
    turned = (correct[:, 0] == 1) & (correct[:, 1:] == 0).any(1)
    assert cards.count() == 24 == page.locator("#samples .part").count()

    def visible():
        return page.locator("#samples .card:visible").count()

    assert visible() == 24
    bar.get_by_role("button", name="right, but wrong when shuffled").click()
    assert visible() == turned.sum()
    bar.get_by_role("combobox").select_option("color")
    assert visible() == turned[::2].sum()
    bar.get_by_role("button", name="wrong in order").press("Enter")  # by the keyboard
    assert visible() == (correct[::2, 0] == 0).sum()
    assert bar.locator("[aria-pressed=true]").text_content().startswith("wrong in order")
    bar.get_by_role("button", name="all 24").click()
    bar.get_by_role("combobox").select_option(HOSTILE)
    assert visible() == 12
    shot(page, "answers")


def test_pointing_at_a_figure_tells_its_interval(opened, tmp_path):
    values = xr.DataArray(
        np.random.default_rng(0).normal(size=(9, 2, 2)), dims=("sample", "layer", "head")
    )
    page = opened(plots.export(plots.heads(values), tmp_path / "heads.html"))
    page.wait_for_selector(".main-svg")
    box = page.locator(".plotly-graph-div .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.move(box["x"] + box["width"] / 4 + 3, box["y"] + box["height"] / 4 + 3)
    page.wait_for_selector(".hoverlayer .hovertext")
    text = page.locator(".hoverlayer .hovertext").first.text_content()
    assert text.startswith("layer 1, head 0mean ")
    assert "95 % interval" in text
    assert "n = 9" in text


@pytest.mark.slow
def test_a_picture_can_be_written(browser, tmp_path):
    pytest.importorskip("kaleido")
    fig = plots.dose(xr.DataArray([1.0, 0.5], dims="dose", coords={"dose": [0, 1]}))
    for ending, start in ((".png", b"\x89PNG"), (".svg", b"<svg"), (".pdf", b"%PDF")):
        path = plots.export(fig, tmp_path / f"a{ending}", scale=1)
        assert path.read_bytes().startswith(start)


@pytest.mark.parametrize("width", [420, 1280])
def test_the_page_of_an_evaluation_draws_and_fits(opened, drawn, shot, tmp_path, width):
    page = opened(compare(made((HOSTILE, "two")), tmp_path / "page.html"), width=width)
    figures = drawn(page)
    assert figures.count() == 3
    for at in range(figures.count()):
        assert figures.nth(at).bounding_box()["width"] <= width
    assert page.title().startswith("</script>")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shot(page, f"evaluation-{width}")
