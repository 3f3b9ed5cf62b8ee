"""What a stranger stumbled over on the live page: each with what is now there instead."""

import pytest
from PIL import Image

from browser.live_pages import (
    QUESTION,
    SCENE,
    after,
    answers,
    codes,
    drag,
    error,
    middle,
    over,
    painted,
    press,
    pressed,
    said,
    sample,
    until,
    word,
)
from vlmlens.datasets.shapes import Drawn
from vlmlens.interventions import ZeroAblate
from vlmlens.sample import Sample
from vlmlens.select import Where

pytestmark = pytest.mark.slow
STORE = "import(document.baseURI + 'static/store.js')"
#: Tells the page how long its map of effects took.
TOOK = STORE + ".then(({ view }) => { view.effect.seconds = %s })"


def tried(page, name="Try each head"):
    press(page, name)
    page.wait_for_selector("[data-which=effect]:visible")
    until(page, lambda: page.locator("#ranking .then").count() == 8, "a list of effects")
    painted(page)


def text(page, selector):
    return page.locator(selector).inner_text()


def scrolled(page):
    return page.evaluate("scrollY")


def test_the_effect_says_its_picture_and_each_answer_without_a_head(page, shapes):
    tried(page)
    assert text(page, "#heads-of").startswith("In this picture: logit of “left” − logit of “right”")
    top = page.locator("#ranking .vx-pick").first
    layer, head = (int(part[1:]) for part in top.locator(".vx-name").inner_text().split())
    cut = ZeroAblate(f"blocks.{layer}.attn.hook_z", Where(heads=head))
    answer = said(shapes, [cut])
    assert not answer.startswith(("left", "right"))
    then = top.locator(".then")
    assert then.inner_text() == f"→ {answer} (neither left nor right)"
    assert "neither" in then.get_attribute("class")
    assert page.locator(".then:not(.neither)").count() > 0
    top.click()
    painted(page)
    told = text(page, "#heads-readout")
    assert "the logit difference falls by 6.096, from 6.069 to −0.027" in told
    assert f"the answer is “{answer}”" in told


def test_the_mirror_image_is_averaged_in_and_code_for_many_pictures_is_copied(page):
    tried(page)
    one = text(page, "#ranking .vx-value >> nth=0")
    press(page, "Try each, in the mirror image too")
    until(page, lambda: text(page, "#ranking .vx-value >> nth=0") != one, "the mean of both")
    assert text(page, "#heads-of").startswith("Mean over this picture and its mirror image")
    press(page, "Copy code for many pictures")
    page.wait_for_selector("#code:visible")
    python = page.evaluate("navigator.clipboard.readText()")
    assert "vl.experiments.sweep(" in python and "mean_map(" in python
    compile(python, "<copied>", "exec")


def test_layers_have_numbers_a_scale_and_the_second_answer(page):
    pressed(page, "Mirror image")
    press(page, "Try each layer")
    page.wait_for_selector(".rise", state="attached")
    shares = [
        float(each.replace("−", "-")) for each in page.locator(".layer .share").all_inner_texts()
    ]
    assert len(shares) == 5 and shares[0] == 1  # before layer 0: all that the picture tells
    heights = page.locator(".rise").evaluate_all(
        "all => all.map((one) => one.clientHeight / one.parentElement.clientHeight)"
    )
    for share, height in zip(shares, heights, strict=True):
        assert height == pytest.approx(min(1, max(0, share)), abs=0.03)
    assert text(page, ".second img + .hint") == "Its own answer: right"
    assert "patched before layer 0 (“right”)" in text(page, "#second-body")
    pressed(page, "patch before layer 0: 1.00 of the way to the second picture, answer “right”")
    assert answers(page)[1] == "right"
    assert "hook_resid_pre" in codes(page)[0]
    pressed(page, "Take away")
    scene = [dict(vars(shape)) for shape in SCENE.shapes]
    page.evaluate(
        "(scene) => import(document.baseURI + 'static/actions.js')"
        ".then(({ act }) => act.secondScene(scene))",
        scene,
    )
    until(page, lambda: page.locator("#second img").count(), "a second picture")
    press(page, "Try each layer")
    page.wait_for_selector(".rise", state="attached")
    assert "no way from one to the other" in text(page, "#second-body")
    assert "At no single layer" in text(page, "#second-body")


def test_help_opens_where_it_is_asked_for(page):
    page.mouse.wheel(0, 600)
    until(page, lambda: scrolled(page) > 0, "a page that is scrolled")
    page.locator("#ranking .vx-pick").first.click()
    press(page, "how to use this", "header")
    box = page.locator("#help-box").bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 900
    assert page.evaluate("document.activeElement.id") == "help-close"
    page.keyboard.press("Escape")
    assert page.locator("#help-box").is_hidden()
    assert page.evaluate("document.activeElement.id") == "help"
    assert page.locator("#ranking [aria-pressed=true]").count() == 1  # what was chosen stays so


def test_the_answers_stay_in_view(page):
    assert not page.locator("#brief").is_visible()
    page.locator("#ranking .vx-pick").first.click()
    pressed(page, "Knock out")
    page.mouse.wheel(0, 700)
    until(page, lambda: page.locator("#brief").is_visible(), "the answers in the bar")
    shown = page.locator("#brief b").all_inner_texts()
    assert shown == answers(page)
    box = page.locator("#brief").bounding_box()
    assert 0 <= box["y"] < 50


def test_the_map_of_effects_follows_the_picture_or_says_that_it_is_old(page):
    tried(page)
    before = page.locator("#ranking .vx-value").all_inner_texts()
    page.evaluate(TOOK % 0.1)
    press(page, "Move a shape")
    after(page, lambda: drag(page, over(page, 4.7, 1.5), over(page, 4.7, 6.6)))
    until(page, lambda: page.locator("#ranking .then").count() == 8, "effects in this picture")
    until(page, lambda: page.locator("#ranking .vx-value").all_inner_texts() != before, "others")
    assert page.locator("[data-which=effect][aria-pressed=true]").is_visible()
    page.evaluate(TOOK % 9)
    after(page, lambda: page.keyboard.press("Control+z"))
    until(page, lambda: text(page, "#heads-of").startswith("Out of date"), "a word of warning")
    assert page.locator("#ranking .vx-pick").count() == 0
    press(page, "Compute again")
    until(page, lambda: page.locator("#ranking .vx-value").all_inner_texts() == before, "the first")
    page.reload()
    page.wait_for_selector("body[data-ready=true]")
    until(page, lambda: page.locator("#ranking .vx-value").all_inner_texts() == before, "again")
    assert text(page, "#heads-of").startswith("In this picture")


@pytest.mark.parametrize("way", ["click", "Escape", "button"])
def test_there_is_a_way_back_to_the_mean_of_all_heads(page, way):
    mean = "Mean of all heads: “:” gives the picture"
    until(page, lambda: text(page, "#readout").startswith(mean), "the mean of all heads")
    pick = page.locator("#ranking .vx-pick").first
    pick.click()
    until(page, lambda: not text(page, "#readout").startswith("Mean"), "one head")
    if way == "click":
        pick.click()
    elif way == "Escape":
        page.keyboard.press("Escape")
    else:
        press(page, "Mean of all heads")
    until(page, lambda: text(page, "#readout").startswith("Mean of all heads"), "all heads")
    assert page.locator("#ranking [aria-pressed=true]").count() == 0
    assert not page.locator("#mean").is_visible()


def test_edits_leave_a_trace(page):
    page.evaluate("scrollTo(0, 120)")
    page.wait_for_timeout(100)
    end, start = over(page, 2, 5), middle(word(page, "orange"))  # the first of which may scroll
    after(page, lambda: drag(page, start, end))
    label = page.locator("#edits .label").first.inner_text()
    assert (
        label == "“orange” does not read the patches in rows 1 to 3, columns 4 to 6 in all layers"
    )
    plain = page.locator("#seen").screenshot()
    page.locator("#edits li").first.hover()
    until(page, lambda: page.locator("#arrow.drawn").count() == 1, "the arrow of the edit")
    painted(page)
    assert page.locator("#seen").screenshot() != plain  # and what it hits is outlined
    page.locator("#edits-title").hover()
    until(page, lambda: page.locator("#arrow.drawn").count() == 0, "no arrow")
    before = page.locator("#grid").screenshot()
    cell = page.locator("#ranking .vx-pick").first.get_attribute("data-cell")
    page.locator("#ranking .vx-pick").first.click()
    pressed(page, "Knock out")
    page.keyboard.press("Escape")
    page.locator("#edits-title").hover()
    painted(page)
    assert "out" in page.locator(f"[data-cell='{cell}']").get_attribute("class").split()
    assert page.locator("#grid").screenshot() != before


def test_another_scene_asks_the_same_of_the_same_shapes(page, shapes):
    places = f"{STORE}.then(({{ view }}) => view.state.sample.scene)"
    before = page.evaluate(places)
    pressed(page, "Another scene")
    now = page.evaluate(places)
    assert [(s["shape"], s["color"]) for s in now] == [(s["shape"], s["color"]) for s in before]
    assert [s["x"] for s in now] != [s["x"] for s in before]
    square, triangle = now
    assert answers(page) == ["left" if triangle["x"] < square["x"] else "right"]
    assert page.locator("#question").input_value() == QUESTION


def test_nothing_moves_when_something_takes_long_or_fails(page):
    before = page.locator("#form").bounding_box()
    page.locator("#question").fill("   ")
    press(page, "Ask")
    page.wait_for_selector("#error:visible")
    assert error(page) == "Type a question about the picture first, then press Ask."
    assert page.evaluate("document.activeElement.id") == "question"
    page.evaluate("document.getElementById('work').hidden = false")
    assert page.locator("#form").bounding_box() == before


def test_the_first_tab_leads_to_the_panels(page):
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.hash") == "#question"
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "grid"
    plain = page.locator("#grid").screenshot()
    page.keyboard.press("ArrowUp")
    painted(page)
    assert page.locator("#grid").screenshot() != plain
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # chosen, and let go: the cursor stays where it is
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    painted(page)
    assert "Chosen: L0 H1." in text(page, "#heads-readout")


def test_on_a_narrow_page_the_answers_come_first_and_the_lens_fits(lived, explored):
    page = lived(explored.address, width=420)
    page.wait_for_selector("#lens td")
    top = lambda selector: page.locator(selector).bounding_box()["y"]  # noqa: E731
    assert top("#answers-card") < top("#picture")
    wide = page.locator("#lens").evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert wide[0] <= wide[1]
    for row in page.locator("#region .tool").all():
        edges = row.locator("button").evaluate_all("all => all.map((b) => b.offsetLeft)")
        assert edges[0] == page.locator("#region .tool button").first.evaluate("b => b.offsetLeft")


def test_the_picture_is_seen_under_little_attention(page, tmp_path):
    until(page, lambda: page.locator("#readout").inner_text().startswith("Mean"), "attention")
    shot = tmp_path / "seen.png"
    page.locator("#seen").screenshot(path=shot)
    seen = Image.open(shot).convert("RGB")
    at = [round(side * 0.30) for side in seen.size]  # plain ground that is hardly read
    plain = Sample(QUESTION, (Drawn(SCENE),)).pictures()[0].getpixel((67, 67))
    near = [abs(a - b) for a, b in zip(seen.getpixel(tuple(at)), plain, strict=True)]
    assert max(near) < 16
    assert page.locator("#heads-scale").inner_text().endswith("its largest weight on the picture")


def test_a_shape_is_seen_where_it_is_dragged(page, tmp_path):
    press(page, "Move a shape")
    painted(page)
    page.mouse.move(*over(page, 4.7, 1.5))
    page.mouse.down()
    page.mouse.move(*over(page, 6, 6.3), steps=4)
    painted(page)
    shot = tmp_path / "dragged.png"
    page.locator("#seen").screenshot(path=shot)
    page.mouse.up()
    seen = Image.open(shot).convert("RGB")
    purple = SCENE.shapes[1].color == "purple" and sample().pictures()[0].getpixel((56, 146))
    cell = seen.size[0] / 8
    there = seen.getpixel((round(6.85 * cell), round(6.55 * cell)))
    assert max(abs(a - b) for a, b in zip(there, purple, strict=True)) < 24
    left = seen.getpixel((round(1.75 * cell), round(5.25 * cell)))
    assert min(left) > 200  # plain ground where it was
