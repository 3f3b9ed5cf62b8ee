"""A session of a minute and a half, done in the browser: the moving picture of README.

``make session`` keeps it. Nothing is drawn by hand but the captions and the pointer.
"""

import io
import os
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from browser.live_pages import after, answers, drag, middle, over, painted, pressed, word

WIDE, HIGH, SHOWN, BAR = 1160, 830, 900, 54
#: Seconds that a still is shown, colours that it has, and bytes of all of it at most.
HELD, COLOURS, MOST = 4.5, 128, 3_000_000
#: The pointer, in pixels from its tip.
POINTER = ((0, 0), (0, 19), (5, 14), (9, 22), (12, 21), (9, 13), (15, 13))


class Film:
    """Stills of a page, each with a caption."""

    def __init__(self, page):
        self.page, self.stills = page, []

    def still(self, caption, at=None):
        """What the page shows now, with the pointer where the mouse is."""
        painted(self.page)
        self.page.wait_for_timeout(300)
        seen = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        if at is not None:
            tip = [(at[0] + x, at[1] + y) for x, y in POINTER]
            ImageDraw.Draw(seen).polygon(tip, "white", "black", 2)
        high = round(SHOWN * HIGH / WIDE)
        made = Image.new("RGB", (SHOWN, high + BAR), "#14191f")
        made.paste(seen.resize((SHOWN, high), Image.Resampling.LANCZOS), (0, BAR))
        font = ImageFont.load_default(22)
        ImageDraw.Draw(made).text((18, BAR / 2), caption, "white", font, anchor="lm")
        self.stills.append(made)

    def click(self, caption, what, answered=False):
        """Point at something, and click it; perhaps wait for another state."""
        painted(self.page)  # what a step before changes is drawn anew
        what.scroll_into_view_if_needed()
        at = middle(what)
        self.page.mouse.move(*at)
        self.still(caption, at)
        if answered:
            after(self.page, what.click)
        else:
            what.click()

    def answer(self, caption):
        """The top of the page, and what it says there."""
        self.page.evaluate("scrollTo(0, 0)")
        clean, *edited = answers(self.page)
        way = "stays" if edited == [clean] else "becomes"
        self.still(f"{caption}: {f' {way} '.join([clean, *edited])}")

    def save(self, path):
        """One GIF that goes round."""
        first, *others = (s.quantize(COLOURS, dither=Image.Dither.NONE) for s in self.stills)
        held = int(1000 * HELD)
        first.save(path, save_all=True, append_images=others, duration=held, loop=0)


def play(page, film):
    """The session."""

    def button(name, within="body"):
        return page.locator(within).get_by_role("button", name=name, exact=True)

    film.answer("The page opens with a question and a drawn scene. The model answers")
    page.locator("#question").fill("What color is the square?")
    film.still("Ask something else …", middle(page.locator("#question")))
    after(page, lambda: page.keyboard.press("Enter"))
    film.answer("… and it is answered")
    pressed(page, "Undo", "header")
    film.click("Back. Which heads carry left and right? Try each one", button("Try each head"))
    page.wait_for_selector("[data-which=effect]:visible")
    page.evaluate("scrollTo(0, 0)")
    film.still("Each cell: what the answer loses without that head alone")
    picks = page.locator("#ranking .vx-pick")
    picks.nth(0).click()
    film.click("Choose the strongest heads …", picks.nth(1))
    film.click("… and knock them out", button("Knock out"), answered=True)
    film.answer("Clean and edited answer, side by side")
    pressed(page, "Remove all")
    page.locator("[data-which=clean]").click()
    over(page, 4.7, 1.5)  # which brings the picture into view
    page.mouse.move(*middle(word(page, "purple")))
    page.mouse.down()
    end = over(page, 4.7, 1.5)
    page.mouse.move(*end, steps=8)
    film.still("Draw an arrow from a word to a shape: the word no longer reads it", end)
    after(page, page.mouse.up)
    film.answer("Without “purple” reading the triangle")
    pressed(page, "Remove all")
    drag(page, over(page, 1, 0), over(page, 6, 7))
    film.still("Choose a region of the picture …", over(page, 6, 7))
    film.click("… and shuffle its tokens", button("Shuffle", "#region"), answered=True)
    film.answer("The same tokens in another order")
    pressed(page, "Remove all")
    button("Choose none", "section:has(#region-count)").click()
    film.click("Patch from a second picture: the mirror image", button("Mirror image"), True)
    film.click("Try each layer …", button("Try each layer"))
    page.wait_for_selector(".rise")
    film.still("… bars: how far the answer moves when that layer is the other picture's")
    film.click("Patch one of them", page.locator(".layer").first, answered=True)
    film.answer("With the other picture's patches from the start")
    film.click("All of it as Python that runs by itself …", button("Copy as code"))
    page.wait_for_selector("#code:visible")
    page.locator("#code").scroll_into_view_if_needed()
    film.still("… to go on from in a notebook")


@pytest.mark.slow
def test_a_session_from_question_to_code_is_played(lived, explored, tmp_path):
    page = lived(explored.address, width=WIDE, height=HIGH)
    film = Film(page)
    play(page, film)
    path = Path(os.environ.get("VLMLENS_SESSION", tmp_path / "explore.gif"))
    film.save(path)
    with Image.open(path) as moving:
        assert moving.n_frames == len(film.stills) > 15
    assert HELD * len(film.stills) <= 120 and path.stat().st_size < MOST
