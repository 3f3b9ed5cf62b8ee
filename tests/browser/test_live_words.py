"""Words on the live page: what one reads, what each layer says there, what it must not read."""

import pytest

from browser.live_pages import after, drag, error, middle, over, painted, place, until, word
from vlmlens.interventions import KnockOut

slow = pytest.mark.slow


@slow
def test_a_word_that_is_clicked_has_its_lens_and_its_attention(page, shapes):
    assert "“:”" in page.locator("#lens-of").inner_text()
    page.wait_for_selector("#lens td")
    last = page.locator("#lens tr").nth(1).locator("td").first
    assert last.inner_text().startswith("left")
    told = page.locator("#heads-of").inner_text()
    word(page, "purple").click()
    painted(page)
    assert "“purple”" in page.locator("#lens-of").inner_text()
    assert "“purple”" in page.locator("#heads-of").inner_text() != told
    until(page, lambda: not last.inner_text().startswith("left"), "the lens of another word")
    assert page.locator("#lens tr").count() == 1 + shapes.cfg.n_layers


@slow
def test_an_arrow_from_a_word_to_a_shape_or_a_region_blocks_its_reading(page, explored):
    after(page, lambda: drag(page, middle(word(page, "purple")), over(page, 1, 1)))  # one patch
    (cut,) = explored.edits
    assert isinstance(cut, KnockOut)
    assert tuple(cut.where.keys) == (place(1, 1),)
    assert "“:”" in page.locator("#lens-of").inner_text()  # the patch was hit, not clicked
    drag(page, over(page, 4, 1), over(page, 5, 2))
    after(page, lambda: drag(page, middle(word(page, "orange")), over(page, 5, 1)))
    region = (place(4, 1), place(4, 2), place(5, 1), place(5, 2))
    assert tuple(explored.edits[1].where.keys) == region
    after(page, lambda: drag(page, middle(word(page, "left")), over(page, 2, 5)))  # the square
    assert {place(2, 5), place(2, 6)} <= set(explored.edits[2].where.keys)


@slow
def test_a_word_is_blocked_from_the_keyboard(page, explored):
    page.locator('.vx-token[tabindex="0"]').focus()
    page.keyboard.press("b")
    page.wait_for_selector("#error:visible")
    assert error(page).startswith("Choose a region")
    page.locator("#seen").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.locator('.vx-token[tabindex="0"]').focus()
    page.keyboard.press("ArrowLeft")
    after(page, lambda: page.keyboard.press("b"))
    (cut,) = explored.edits
    assert tuple(cut.where.keys) == (place(0, 0), place(0, 1), place(1, 0), place(1, 1))
    page.get_by_label("from layer").fill("1")
    page.get_by_label("to layer").fill("2")
    page.keyboard.press("Tab")
    after(page, lambda: page.locator("#region button", has_text="must not read").click())
    assert tuple(explored.edits[1].where.layers) == (1, 2)
