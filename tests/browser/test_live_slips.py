"""What people do by mistake, or very fast: nothing is lost, cut or mixed up in silence."""

import pytest
from PIL import Image

from browser.live_pages import (
    after,
    answers,
    codes,
    error,
    painted,
    press,
    pressed,
    ready,
    until,
    word,
)

pytestmark = pytest.mark.slow

CHOICES = "Where is the purple shape?\nA. left\n\nB. right"


def module(page, name, script):
    """Something that the page's own module does, or knows."""
    address = f"import(document.baseURI + 'static/{name}.js')"
    return page.evaluate(f"{address}.then((own) => {{ {script} }})")


def asked(page):
    return module(page, "store", "return own.view.state.sample.question")


def test_a_tab_that_was_doubled_has_edits_of_its_own(page):
    pressed(page, "Mirror", "#region")
    with page.context.expect_page() as opened:
        page.evaluate("window.open(location.href)")  # which doubles what the tab remembers
    other = opened.value
    ready(other)
    assert codes(other) == codes(page)
    pressed(other, "Collapse", "#region")
    pressed(page, "Undo", "header")
    assert (len(codes(page)), len(codes(other))) == (0, 2)
    other.reload()
    ready(other)
    until(other, lambda: len(codes(other)) == 2, "the doubled tab's own edits")


def test_lines_of_a_question_are_asked_as_they_are(page):
    page.locator("#question").fill(CHOICES)
    after(page, lambda: page.locator("#question").press("Enter"))
    assert asked(page) == CHOICES
    pressed(page, "Ask")
    assert asked(page) == CHOICES
    page.locator("#question").press("Shift+Enter")
    assert page.locator("#question").input_value().count("\n") == 4
    page.locator("#question").fill("left " * 500)
    pressed(page, "Ask")
    assert len(asked(page)) == 2499
    page.locator("#question").fill("left " * 900)
    press(page, "Ask")
    page.wait_for_selector("#error:visible")
    assert "1 to 4000 letters" in error(page) and len(asked(page)) == 2499


def test_a_field_without_a_number_is_asked_for_one(page):
    for label, name in (("by", "Shift"), ("factor", "Times"), ("seed", "Shuffle")):
        for typed in ("", "1e400"):
            page.locator("#region").get_by_label(label, exact=True).fill(typed)
            press(page, name, "#region")
            page.wait_for_selector("#error:visible")
            assert f"Type a number for “{label}”" in error(page)
            press(page, "Dismiss", "body")
    page.locator("#region").get_by_label("factor", exact=True).fill("1e20")
    pressed(page, "Times", "#region")
    page.locator("#edits input").fill("")
    page.locator("#edits input").press("Tab")
    page.wait_for_selector("#error:visible")
    assert "by=1e+20" in codes(page)[0] and len(codes(page)) == 1


def test_an_edit_without_any_effect_says_so(page):
    page.locator("#region").get_by_label("factor", exact=True).fill("1")
    pressed(page, "Times", "#region")
    assert "the edits have no effect" in page.locator("#answers").inner_text()
    pressed(page, "Mirror", "#region")
    assert "the edits have no effect" not in page.locator("#answers").inner_text()


@pytest.mark.parametrize("size", [(20, 20_000), (20_000, 20)])
def test_a_strip_of_a_picture_can_be_pointed_at(page, tmp_path, size):
    Image.new("RGB", size, "red").save(tmp_path / "strip.png")
    after(page, lambda: page.locator("#file").set_input_files(tmp_path / "strip.png"))
    seen = page.locator("#seen").bounding_box()
    assert seen["width"] >= 160 and 80 <= seen["height"] <= 1000
    after(
        page,
        lambda: page.get_by_label("second picture file").set_input_files(tmp_path / "strip.png"),
    )
    other = page.locator(".second img").bounding_box()
    assert other["width"] == 112 and 12 <= other["height"] <= 240
    assert f"{size[0]} × {size[1]} pixels" in page.locator("#readout").inner_text()
    page.mouse.move(seen["x"] + seen["width"] / 2, seen["y"] + seen["height"] / 2)
    painted(page)
    page.locator("#seen").press("Shift+ArrowRight" if size[0] > size[1] else "Shift+ArrowDown")
    painted(page)
    assert page.locator("#region-count").inner_text() == "2 patches"


def test_what_the_page_asked_about_words_that_are_gone_is_no_error(page):
    late = "own.act.question('Is it red?'); return own.act.quietly('lens', {position: 80})"
    after(page, lambda: module(page, "actions", late))
    painted(page)
    assert error(page) == "" and answers(page)
    module(page, "actions", "return own.act.quietly('lens', {position: 8000})")
    painted(page)
    assert "8000" in error(page)  # what is wrong now is said


def test_heads_that_are_tried_behind_a_question_are_of_that_question(page):
    both = (
        "own.act.question('What color is the square?');"
        "document.querySelector('#heads-try button').click()"
    )
    after(page, lambda: module(page, "actions", both))
    page.wait_for_selector("[data-which=effect]:visible")
    known = "return own.isStale(own.view.effect)"
    assert module(page, "store", known) is False


def test_b_blocks_with_capitals_locked_too(page):
    page.locator("#seen").focus()
    page.locator("#seen").press("Shift+ArrowRight")
    painted(page)
    word(page, "purple").focus()
    after(page, lambda: page.keyboard.press("B"))
    assert codes(page)[0].startswith("KnockOut")
