"""What a second stranger stumbled over on the live page: each with what is now there instead."""

import pytest

from browser.live_pages import (
    after,
    answers,
    codes,
    painted,
    press,
    pressed,
    until,
)
from browser.test_live_trial import STORE, TOOK, text, tried

pytestmark = pytest.mark.slow
MIRROR = "Try each, in the mirror image too"
#: Tells the page that this answer was not heard to its end.
BEGUN = (
    STORE + ".then(({ view, change }) => { const { state } = view;"
    " change({ state: { ...state, edited: { ...state.edited, answer: '%s…' } } }); })"
)


def values(page):
    return page.locator("#ranking .vx-value").all_inner_texts()


def mirrored(page):
    tried(page)
    before = values(page)
    press(page, MIRROR)
    until(page, lambda: values(page) != before, "means over both pictures")
    painted(page)


def knocked_out(page, head="L1 H3"):
    page.locator("#ranking .vx-pick", has_text=head).first.click()
    pressed(page, "Knock out")


def test_the_map_of_two_pictures_says_so_and_shows_both_changes(page):
    mirrored(page)
    assert page.locator("#heads-try [aria-pressed=true]").all_inner_texts() == [MIRROR]
    assert text(page, "#many").startswith("This map is of one question and two pictures.")
    assert text(page, "#ranking-title") == "Mean change without the head, and the answer here"
    for at, mean in enumerate(values(page)):
        line = page.locator("#ranking .vx-pick").nth(at).locator(".then").last.inner_text()
        here, there = (float(each.split()[-1].replace("−", "-")) for each in line.split(","))
        assert float(mean.replace("−", "-")) == pytest.approx((here + there) / 2, abs=0.01)
    press(page, "Try each head")
    until(page, lambda: text(page, "#heads-of").startswith("In this picture"), "one picture")
    assert text(page, "#many").startswith("This map is of one question and one picture.")


def test_computing_again_makes_the_map_that_is_out_of_date(page):
    mirrored(page)
    before = values(page)
    page.locator("#ranking .vx-pick").first.click()
    painted(page)
    page.evaluate(TOOK % 9)
    pressed(page, "Another scene")
    until(page, lambda: "Press “Compute again”" in text(page, "#heads-of"), "what to do")
    assert "Without" not in text(page, "#heads-readout")
    press(page, "Compute again")
    until(page, lambda: page.locator("#ranking .then").count() == 16, "both changes of each")
    assert text(page, "#heads-of").startswith("Mean over this picture and its mirror image")
    assert values(page) != before


def test_heads_are_tried_beside_the_edits(page):
    beside = page.get_by_role("button", name="Try each, beside the edits", exact=True)
    assert beside.is_disabled()
    tried(page)
    alone = values(page)
    knocked_out(page)
    assert "without the edits" in text(page, "#heads-of")
    beside.click()
    until(page, lambda: values(page) not in ([], alone), "values beside the edits")
    assert "with the edits" in text(page, "#heads-of")
    page.evaluate(TOOK % 9)
    after(page, lambda: page.keyboard.press("Control+z"))
    until(page, lambda: "nothing is edited now" in text(page, "#heads-of"), "that it is old")
    assert page.locator("#heads-try button").last.is_disabled()


def test_other_heads_are_a_control_and_undo_brings_these_back(page):
    tried(page)
    for head in ("L1 H3", "L2 H1"):
        page.locator("#ranking .vx-pick", has_text=head).first.click()
    pressed(page, "Knock out")
    own, said = codes(page), answers(page)
    after(page, lambda: page.get_by_role("button", name="other heads in place of").click())
    label = page.locator("#edits .label").inner_text()
    named = [part.split() for part in label.removeprefix("knock out ").split(", ")]
    assert [layer for layer, _ in named] == ["L1", "L2"]
    assert ["L1", "H3"] not in named and ["L2", "H1"] not in named
    assert codes(page) != own
    after(page, lambda: page.keyboard.press("Control+z"))
    assert codes(page) == own and answers(page) == said


@pytest.mark.parametrize("size", [(420, 900), (720, 450)])
def test_the_edited_answer_is_in_view_on_a_narrow_page(page, size):
    page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
    painted(page)
    tried(page)
    knocked_out(page)
    until(page, lambda: page.locator("#brief.needed").is_visible(), "the answers at the foot")
    box = page.locator("#brief").bounding_box()
    assert box["y"] + box["height"] == size[1] and box["width"] == size[0]
    assert page.locator("#brief b").count() == 2
    now = page.evaluate(f"{STORE}.then(({{ view }}) => view.state.edited.answer)")
    page.locator("#ranking .vx-pick", has_text="L1 H3").first.click()
    painted(page)
    assert f"with all edits the answer is “{now}”" in text(page, "#heads-readout")


def test_what_has_the_focus_is_not_under_the_bar(page):
    tried(page)
    page.locator("#heads-tools button:enabled").last.focus()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    for _ in range(14):
        page.keyboard.press("Shift+Tab")
        painted(page)
        top = page.evaluate("document.activeElement.getBoundingClientRect().top")
        bar = page.locator("header.bar").bounding_box()
        assert top >= bar["y"] + bar["height"] or page.evaluate(
            "document.activeElement.closest('header.bar') !== null"
        )


def test_an_answer_heard_to_its_end_is_the_bars_too(page):
    tried(page)
    knocked_out(page, "L0 H0")
    said = answers(page)[1]
    page.evaluate(BEGUN % said[:2])
    painted(page)
    assert page.locator("#brief [data-run=edited]").inner_text() == f"{said[:2]}…"
    assert "Only the first token" in page.locator("[data-run=edited] .more").inner_text()
    press(page, "To its end")
    until(page, lambda: page.locator(".said").nth(1).inner_text() == said, "the whole answer")
    brief = page.locator("#brief [data-run=edited]")
    assert brief.text_content() == said and "changed" in brief.get_attribute("class")
    assert page.get_by_role("button", name="To its end").count() == 0


def test_an_answer_that_stays_the_same_is_not_marked_as_changed(page):
    tried(page)
    knocked_out(page, "L2 H1")
    said = page.evaluate(f"{STORE}.then(({{ view }}) => [view.state.clean, view.state.edited])")
    changed = said[0]["answer"] != said[1]["answer"]
    marked = page.locator("#brief [data-run=edited]").get_attribute("class")
    assert ("changed" in (marked or "").split()) == changed
    assert not changed  # one of the two heads alone does not turn it
    button = page.locator("#copy")
    wide = button.bounding_box()["width"]
    button.click()
    until(page, lambda: button.inner_text() == "Copied", "a word that it is copied")
    assert button.bounding_box()["width"] == pytest.approx(wide, abs=1)
