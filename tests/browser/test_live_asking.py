"""The live page as a whole: questions, undo and redo, copied code, hostile text."""

import pytest

from browser.live_pages import QUESTION, TOKEN, after, answers, codes, press, pressed, word
from vlmlens import live as lives

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
slow = pytest.mark.slow


@slow
def test_another_question_is_typed(page, shapes):
    page.locator("#question").fill("What color is the square?")
    after(page, lambda: page.keyboard.press("Enter"))
    assert answers(page) == ["orange"]
    assert word(page, "color").is_visible()


@slow
def test_edits_are_removed_undone_and_done_again(page):
    for name in ("Mirror", "Collapse"):
        pressed(page, name, "#region")
    first, second = codes(page)
    after(page, lambda: page.locator("#edits button").first.click())
    assert codes(page) == [second]
    after(page, lambda: page.keyboard.press("Control+z"))
    assert codes(page) == [first, second]
    after(page, lambda: page.keyboard.press("Control+z"))
    after(page, lambda: page.keyboard.press("Control+Shift+Z"))
    assert codes(page) == [first, second]
    page.locator("#question").fill("typed")
    page.keyboard.press("Control+z")
    assert page.locator("#question").input_value() == QUESTION  # its own typing alone
    assert codes(page) == [first, second]
    pressed(page, "Remove all")
    assert codes(page) == []
    assert answers(page) == ["left"]


@slow
def test_the_copied_code_prints_the_same_answers(page, capsys):
    page.locator("#ranking .vx-pick").first.click()
    pressed(page, "Keep only these")
    pressed(page, "Shuffle", "#region")
    press(page, "Copy as code", "header")
    page.wait_for_selector("#code:visible")
    python = page.evaluate("navigator.clipboard.readText()")
    assert python == page.locator("#code").text_content()
    exec(compile(python, "<copied>", "exec"), {})
    out = capsys.readouterr().out
    clean, edited = answers(page)
    assert f"clean {clean!r}" in out
    assert f"edited {edited!r}" in out


@slow
def test_without_a_sample_it_asks_for_a_side_and_the_model_knows_it(lived, shapes):
    with lives.explore(shapes, token=TOKEN) as view:
        page = lived(view.address)
        assert answers(page) == ["left"]
        assert page.locator("#question").input_value() == QUESTION


@slow
def test_text_from_people_is_shown_and_not_obeyed(page):
    page.locator("#question").fill(HOSTILE)
    after(page, lambda: page.keyboard.press("Enter"))
    assert page.locator("main img").count() == 0
    assert page.locator("body script").count() == 5  # the page's own files
    assert page.evaluate("document.querySelectorAll('[onerror],[onclick]').length") == 0
    words = "".join(page.locator(".vx-token").all_inner_texts())
    assert "<script>alert(1)" in words.replace("⏎", "").replace(" ", "")
