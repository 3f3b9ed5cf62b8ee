"""Pictures on the live page: moved, dropped, edited by region, patched from a second one."""

import numpy as np
import pytest
from PIL import Image

from browser.live_pages import (
    SCENE,
    TOKEN,
    after,
    answers,
    codes,
    drag,
    error,
    over,
    painted,
    press,
    pressed,
    said,
)
from vlmlens import Sample
from vlmlens import live as lives

slow = pytest.mark.slow


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
    page.locator(".layer").last.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    after(page, lambda: page.keyboard.press("Shift+Enter"))
    assert page.locator(".layer[aria-pressed=true]").count() == 3
    assert tuple(explored.edits[0].where.layers) == (1, 2, 3)
    press(page, "Try each layer")
    page.wait_for_selector(".rise", state="attached")
    assert page.locator(".rise").count() == 5
    drag(page, over(page, 2, 2), over(page, 3, 3))  # bars are of the region that was swept
    assert page.locator(".rise").count() == 0
    press(page, "Try each layer")
    page.wait_for_selector(".rise", state="attached")
    other = tmp_path / "other.png"
    SCENE.draw(224).save(other)
    after(page, lambda: page.get_by_label("second picture file").set_input_files(other))
    assert page.locator(".rise").count() == 0  # and of the picture
    pressed(page, "Take away")
    assert page.locator("#second img").count() == 0


@slow
def test_a_picture_of_any_size_has_its_patches_where_they_are(lived, shapes, tmp_path):

    wide = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 900, 3), np.uint8))
    with lives.explore(shapes, Sample("What is left?", wide), token=TOKEN) as view:
        page = lived(view.address)
        box = page.locator("#seen").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(3, rel=0.02)
        assert page.locator("#modes").is_hidden()  # nothing drawn, nothing to move
