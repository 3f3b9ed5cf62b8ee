"""The live page, by mouse and by keys, against the real server: what is clicked is what is run."""

import numpy as np
import pytest
from PIL import Image

from browser.live_pages import (
    QUESTION,
    SCENE,
    TOKEN,
    after,
    answers,
    codes,
    drag,
    error,
    middle,
    over,
    painted,
    place,
    press,
    pressed,
    sample,
    until,
    word,
)
from vlmlens import Sample, Save
from vlmlens import live as lives
from vlmlens.interventions import KnockOut, ZeroAblate
from vlmlens.select import Where

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
slow = pytest.mark.slow


@pytest.fixture
def page(lived, explored):
    return lived(explored.address)


def said(model, edits=()):
    return model.generate(model.inputs(sample()), list(edits), max_new_tokens=12).texts[0].strip()


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
def test_another_question_is_typed(page, shapes):
    page.locator("#question").fill("What color is the square?")
    after(page, lambda: page.keyboard.press("Enter"))
    assert answers(page) == ["orange"]
    assert word(page, "color").is_visible()


@slow
def test_a_shape_is_dragged_to_the_other_side_and_back_by_keys(page):
    assert answers(page) == ["left"]
    press(page, "Move a shape")
    after(page, lambda: drag(page, over(page, 4.7, 1.5), over(page, 5.7, 6.6)))
    assert answers(page) == ["right"]
    page.get_by_role("button", name="purple triangle").focus()

    def keys():
        for _ in range(11):
            page.keyboard.press("ArrowLeft")

    after(page, keys)
    assert answers(page) == ["left"]


@slow
def test_a_picture_is_dropped_and_chosen_and_what_is_none_is_refused(lived, page, tmp_path):
    lived.excused.append("status of 400")  # Chromium's own word about the upload that is refused
    pressed(page, "Mirror", "#region")
    other = tmp_path / "other.png"
    SCENE.mirror().draw(224).save(other)
    after(page, lambda: page.locator("#file").set_input_files(other))
    assert answers(page)[0] == "right"
    given = page.evaluate_handle(
        """async (address) => {
          const canvas = document.createElement("canvas");
          canvas.width = canvas.height = 64;
          const data = new DataTransfer();
          const blob = await new Promise((done) => canvas.toBlob(done));
          data.items.add(new File([blob], "black.png", { type: "image/png" }));
          return data;
        }""",
        "",
    )
    before = page.locator("#seen").screenshot()
    after(page, lambda: page.dispatch_event("#picture", "drop", {"dataTransfer": given}))
    page.wait_for_timeout(200)
    assert page.locator("#seen").screenshot() != before
    other.write_bytes(b"no picture at all")
    page.locator("#file").set_input_files(other)
    page.wait_for_selector("#error:visible")
    assert "picture" in error(page)
    assert "\n" not in error(page)
    assert len(codes(page)) == 1  # nothing is lost


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
def test_the_map_of_heads_is_that_of_the_run(page, shapes):
    words = [node.inner_text() for node in page.locator(".vx-token").all()]
    inputs = shapes.inputs(sample())
    at = [token.strip() for token in inputs.layouts[0].tokens].index("left")
    assert "left" in words
    word(page, "left").click()
    page.wait_for_timeout(400)
    save = Save("blocks.*.attn.hook_pattern", rows=(at,))
    rows = shapes.run(inputs, save=save).saved.stack(save)[:, 0, :, 0]
    vision = inputs.layouts[0].mask("vision")
    sums = rows[..., vision].sum(-1).numpy().ravel()
    best = int(np.argmax(sums))
    first = page.locator("#ranking .vx-pick").first
    assert int(first.get_attribute("data-cell")) == best
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


@slow
def test_a_region_of_the_picture_is_edited_in_every_way(page, explored):
    drag(page, over(page, 2, 2), over(page, 3, 4))
    assert page.locator("#region-count").inner_text() == "6 patches"
    for at, name in enumerate(
        ("Mirror", "Shuffle", "Move", "Collapse", "Shift", "Mean of the text", "Times"), start=1
    ):
        pressed(page, name, "#region")
        assert not error(page), name
        assert len(codes(page)) == at
    press(page, "Choose none", "section:has(#region-count)")
    painted(page)
    assert page.locator("#region-count").inner_text() == "none: the whole picture"


@slow
def test_layers_are_patched_from_a_second_picture_one_after_the_other(
    page, shapes, explored, tmp_path
):
    pressed(page, "Mirror image")
    assert page.locator("#second img").is_visible()
    for layer in (0, 3):  # the same edit, moved
        pressed(page, f"patch layer {layer}")
        (patch,) = explored.edits
        assert tuple(patch.where.layers) == (layer,)
        assert answers(page)[1] == said(shapes, explored.edits)
    page.locator(".layer").nth(3).focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    after(page, lambda: page.keyboard.press("Shift+Enter"))
    assert page.locator(".layer[aria-pressed=true]").count() == 3
    assert tuple(explored.edits[0].where.layers) == (1, 2, 3)
    press(page, "Try each layer")
    page.wait_for_selector(".rise")
    assert page.locator(".rise").count() == 4
    drag(page, over(page, 2, 2), over(page, 3, 3))  # bars are of the region that was swept
    assert page.locator(".rise").count() == 0
    press(page, "Try each layer")
    page.wait_for_selector(".rise")
    other = tmp_path / "other.png"
    SCENE.draw(224).save(other)
    after(page, lambda: page.get_by_label("second picture file").set_input_files(other))
    assert page.locator(".rise").count() == 0  # and of the picture
    pressed(page, "Take away")
    assert page.locator("#second img").count() == 0


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


@slow
def test_a_picture_of_any_size_has_its_patches_where_they_are(lived, shapes, tmp_path):

    wide = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 900, 3), np.uint8))
    with lives.explore(shapes, Sample("What is left?", wide), token=TOKEN) as view:
        page = lived(view.address)
        box = page.locator("#seen").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(3, rel=0.02)
        assert page.locator("#modes").is_hidden()  # nothing drawn, nothing to move
