"""Heads on the live page: what is clicked is run, and what is listed was measured."""

import threading

import numpy as np
import pytest

from browser.live_pages import (
    after,
    answers,
    codes,
    painted,
    press,
    pressed,
    said,
    sample,
    until,
    word,
)
from vlmlens import Save
from vlmlens.interventions import ZeroAblate
from vlmlens.live.actions import ACTIONS
from vlmlens.select import Where

slow = pytest.mark.slow


def test_a_head_that_is_clicked_and_knocked_out_is_out(page, shapes):
    assert answers(page) == [said(shapes)]
    page.locator("#ranking .vx-pick").first.click()
    name = page.locator("#ranking [aria-pressed=true] .vx-name").inner_text()
    layer, head = (int(part[1:]) for part in name.split())
    pressed(page, "Knock out")
    cut = ZeroAblate("blocks.*.attn.hook_z", Where(layers=(layer,), heads=(head,)))
    assert answers(page) == [said(shapes), said(shapes, [cut])]
    assert f"layers=({layer},), heads=({head},)" in codes(page)[0]


@slow
def test_the_map_of_heads_is_that_of_the_run(page, shapes):
    words = [node.inner_text() for node in page.locator(".vx-token").all()]
    inputs = shapes.inputs(sample())
    at = [token.strip() for token in inputs.layouts[0].tokens].index("left")
    assert "left" in words
    word(page, "left").click()
    save = Save("blocks.*.attn.hook_pattern", rows=(at,))
    rows = shapes.run(inputs, save=save).saved.stack(save)[:, 0, :, 0]
    vision = inputs.layouts[0].mask("vision")
    sums = rows[..., vision].sum(-1).numpy().ravel()
    best = int(np.argmax(sums))
    first = page.locator("#ranking .vx-pick").first
    until(page, lambda: int(first.get_attribute("data-cell")) == best, "the list of that word")
    assert float(first.locator(".vx-value").inner_text()) == pytest.approx(sums[best], abs=6e-4)


@slow
@pytest.mark.parametrize(
    ("button", "part"),
    [
        ("Knock out", "ZeroAblate("),
        ("Replace by mean", "MeanAblate("),
        ("Keep only these", "ZeroAblate("),
        ("Scale by", "Scale("),
    ],
)
def test_heads_are_chosen_with_the_mouse_and_the_keys(page, button, part):
    page.locator("#grid").click(position={"x": 45, "y": 20})  # the last layer's first head
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    painted(page)
    assert "L3 H0, L3 H1" in page.locator("#heads-readout").inner_text()
    pressed(page, button)
    assert part in codes(page)[0]
    if button == "Scale by":
        factor = page.locator("#edits input")
        factor.fill("0.25")
        after(page, lambda: factor.press("Enter"))
        assert "0.25" in codes(page)[0]


@slow
def test_which_heads_carry_left_and_right_is_found_with_the_mouse_alone(page, shapes, shot):
    press(page, "Try each head")
    page.wait_for_selector("[data-which=effect]:visible")
    painted(page)
    values = [node.inner_text() for node in page.locator("#ranking .vx-value").all()]
    sizes = [abs(float(value.replace("−", "-"))) for value in values]
    assert sizes == sorted(sizes, reverse=True)
    name = page.locator("#ranking .vx-name").first.inner_text()
    layer, head = (int(part[1:]) for part in name.split())
    inputs = shapes.inputs(sample())
    cut = ZeroAblate("blocks.*.attn.hook_z", Where(layers=(layer,), heads=(head,)))
    logits = [shapes.run(inputs, e, logits="last").logits[0, -1] for e in ([], [cut])]
    a, b = logits[0].topk(2).indices.tolist()
    change = float((logits[1][a] - logits[1][b]) - (logits[0][a] - logits[0][b]))
    shown = float(values[0].replace("−", "-"))
    assert shown == pytest.approx(change, abs=6e-4)
    for at in range(3):
        page.locator("#ranking .vx-pick").nth(at).click()
    pressed(page, "Knock out")
    assert len(answers(page)) == 2
    shot(page, "live-heads")


@slow
def test_the_list_stands_still_until_all_layers_are_there(page, shapes, monkeypatch):
    names, listed = "#ranking .vx-name", "#ranking[aria-busy=false]"
    page.wait_for_selector(listed)
    before, most = page.locator(names).all_inner_texts(), page.locator("#ranking").inner_text()
    here, answer = threading.Event(), ACTIONS["maps"]

    def held(session, message, *rest):
        if message["layer"] + message["count"] == shapes.layers:
            here.wait(20)
        return answer(session, message, *rest)

    monkeypatch.setitem(ACTIONS, "maps", held)
    word(page, "left").click()
    page.wait_for_selector("#ranking[aria-busy=true]")
    assert page.locator("#ranking").inner_text() == most
    page.locator("#ranking .vx-pick").nth(1).click()
    painted(page)
    assert page.locator("#ranking [aria-pressed=true] .vx-name").all_inner_texts() == [before[1]]
    assert page.locator("#ranking").inner_text() == most
    here.set()
    page.wait_for_selector(listed)
    assert page.locator("#ranking").inner_text() != most
