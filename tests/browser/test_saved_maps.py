"""Saved sweeps and circuits in the live page: a cell that is clicked is the run that is shown."""

import numpy as np
import pytest

import vlmlens as vl
from browser.live_pages import after, answers, codes, painted, pressed, until
from vlmlens import live as lives
from vlmlens.experiments import Circuit, edges, path_edits, path_patch, sweep

PAIR = vl.datasets.counterfactual_pairs(1, kind="swap")[0]
LAST = vl.Where(positions="last")
pytestmark = pytest.mark.slow


def said(model, edits=()):
    inputs = model.inputs(PAIR.corrupted)
    return model.generate(inputs, list(edits), max_new_tokens=8).texts[0].strip()


def click(page, row, column, shape):
    """Click a cell; row 0 is the lowest."""
    grid = page.locator("#saved-grid")
    grid.scroll_into_view_if_needed()
    cell, left = (float(grid.get_attribute(f"data-{name}")) for name in ("cell", "left"))
    x = left + (column + 0.5) * cell
    y = (shape[0] - row - 0.5) * cell
    after(page, lambda: grid.click(position={"x": x, "y": y}))


@pytest.mark.parametrize("dark", [False, True])
def test_a_cell_of_a_sweep_that_is_clicked_is_run(lived, shapes, tmp_path, shot, dark):
    table = sweep(shapes, PAIR.clean, PAIR.corrupted, over="role", folder=tmp_path, progress=False)
    roles = table["role"].values.tolist()
    at = (0, roles.index("vision"))
    with lives.explore(shapes, sweep=tmp_path) as view:
        page = lived(view.address, dark=dark)
        until(page, lambda: page.locator("#saved-grid[data-cell]").is_visible(), "the map")
        painted(page)
        assert answers(page) == [said(shapes)]
        click(page, *at, table.shape[1:])
        source = shapes.run(shapes.inputs(PAIR.clean), save="blocks.0.hook_resid_pre").saved
        patch = vl.interventions.PatchFrom(
            "blocks.0.hook_resid_pre", vl.Where(positions="vision"), source=source
        )
        assert answers(page) == [said(shapes), said(shapes, [patch])]
        assert answers(page)[0] != answers(page)[1]
        assert "as in the table" in page.locator("#saved-ran").inner_text()
        assert codes(page)[0].startswith("PatchFrom(point='blocks.0.hook_resid_pre'")
        shot(page, f"live-saved-sweep-{'dark' if dark else 'light'}")
        page.set_viewport_size({"width": 420, "height": 900})
        painted(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        shot(page, f"live-saved-sweep-420-{'dark' if dark else 'light'}")
        pressed(page, "Take the cell back")
        assert answers(page) == [said(shapes)]


def test_a_cell_is_chosen_by_keys_and_the_map_stays_when_the_question_goes(lived, shapes):
    table = sweep(
        shapes, PAIR.clean, PAIR.corrupted, "blocks.*.attn.hook_z", over="head", where=LAST,
        normalized=False, progress=False,
    )  # fmt: skip
    with lives.explore(shapes, sweep=table) as view:
        page = lived(view.address)
        until(page, lambda: page.locator("#saved-grid[data-cell]").is_visible(), "the map")
        page.locator("#saved-grid").focus()
        for key in ("ArrowRight", "ArrowUp", "ArrowRight"):
            page.keyboard.press(key)
        painted(page)
        assert page.locator("#saved-readout").inner_text().startswith("layer 1, head 1: ")
        after(page, lambda: page.keyboard.press("Enter"))
        assert "heads=1" in codes(page)[0] and "blocks.1" in codes(page)[0]
        page.locator("#question").fill("What color is the square?")
        after(page, lambda: page.keyboard.press("Enter"))
        assert codes(page) == []
        assert "the map is of the question" in page.locator("#dropped").inner_text()
        pressed(page, "Back to the map's question and picture")
        assert answers(page) == [said(shapes)]


def test_an_edge_of_a_circuit_that_is_clicked_is_run(lived, shapes, shot):
    found = edges(shapes, [PAIR], steps=0, normalized=False, progress=False)
    circuit = Circuit.top(found, 30)
    with lives.explore(shapes, PAIR.corrupted, second=PAIR.clean, circuit=circuit) as view:
        page = lived(view.address)
        until(page, lambda: page.locator("#saved-grid[data-cell]").is_visible(), "the map")
        rows, columns = (list(dict.fromkeys(e[side] for e in circuit.edges)) for side in (0, 1))
        saved = view._server.host.asking.saved
        at = np.argwhere(saved.there)[-1].tolist()
        click(page, *at, saved.there.shape)
        ends = saved.rows[at[0]], saved.columns[at[1]]
        assert ends in circuit and {ends[0]} <= set(rows) and {ends[1]} <= set(columns)
        edits = path_edits(shapes, PAIR.clean, PAIR.corrupted, *ends)
        assert answers(page) == [said(shapes), said(shapes, edits)]
        assert f"{ends[0]} → {ends[1]}" in page.locator("#saved-ran").inner_text()
        shot(page, "live-saved-circuit")


def test_a_node_is_run_with_all_its_edges_by_mouse_and_by_keys(lived, shapes, shot):
    circuit = Circuit(
        [("image", "M0"), ("image", "L1H2.v"), ("L1H2", "M2"), ("L1H2", "logits"), ("M0", "logits")]
    )
    assert circuit.edges[0][0] == "image"
    with lives.explore(shapes, PAIR.corrupted, second=PAIR.clean, circuit=circuit) as view:
        page = lived(view.address)
        until(page, lambda: page.locator("#saved-grid[data-cell]").is_visible(), "the map")
        saved = view._server.host.asking.saved
        assert saved.rows[0] == "image" and saved.there[:, 0].all()
        click(page, 0, 0, saved.there.shape)
        edits = path_edits(shapes, PAIR.clean, PAIR.corrupted, "image", ("M0", "L1H2.v"))
        assert answers(page) == [said(shapes), said(shapes, edits)]
        score = path_patch(
            shapes, PAIR.clean, PAIR.corrupted, ["image"], [("M0", "L1H2.v")],
            normalized=False, progress=False,
        )  # fmt: skip
        told = page.locator("#saved-ran").inner_text()
        assert told.startswith("patch all edges out of image (2): ")
        number = float(told.partition("): ")[2].split()[0].replace("−", "-"))
        assert number == pytest.approx(score.item(), abs=6e-4)  # three decimals are shown
        assert "'image', ('M0', 'L1H2.v')" in codes(page)[0]
        shot(page, "live-saved-node")
        page.locator("#saved-grid").focus()
        at = saved.rows.index("L1H2")
        for _ in range(at):
            page.keyboard.press("ArrowUp")
        after(page, lambda: page.keyboard.press("Enter"))
        assert page.locator("#saved-ran").inner_text().startswith("patch all edges out of L1H2 (2)")
        assert "'L1H2', ('M2', 'logits')" in codes(page)[0]
