"""Where each vision token looks: paint what a token's box holds, and see which token changes."""

import numpy as np
import pytest
import torch
from conftest import EVERY, build, by_turns
from PIL import Image, ImageDraw

import vlmlens as vl
from vlmlens.errors import EmptySelectionError
from vlmlens.families.deepseek_vl import padded
from vlmlens.interventions import ZeroAblate
from vlmlens.layout import KINDS, View

#: Square, wide, tall, and none that fits anything.
SIZES = [(160, 160), (360, 160), (150, 400), (211, 130)]

#: Families whose processors cut off what does not fit, or leave over less than a patch.
CROPPING = ("llava", "vipllava", "video_llava")

#: With the tower's attention silenced, a token holds nothing but its own patches.
ALONE = ZeroAblate(point="vision.blocks.*.attn.hook_z")


@pytest.fixture(scope="module", params=by_turns(EVERY))
def vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


def embedded(vlm, pictures):
    given = vlm.inputs([pictures], ["What?"])
    run = vlm.run(given, [ALONE], save="hook_embed")
    return given.layouts[0], run.saved["hook_embed"][0]


def grey(size):
    return Image.new("RGB", size, (90, 90, 90))


def painted(size, box):
    """A picture that is grey but for the middle of a box."""
    left, top, right, bottom = box
    width, height = (right - left) / 4, (bottom - top) / 4
    image = grey(size)
    corner = (left + width, top + height, right - width - 1, bottom - height - 1)
    ImageDraw.Draw(image).rectangle([round(x) for x in corner], fill=(255, 255, 255))
    return image


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_token_sees_what_its_box_holds(vlm, size):
    layout, before = embedded(vlm, [grey(size)])
    middle = np.stack([layout.box[:, [0, 2]].mean(1), layout.box[:, [1, 3]].mean(1)], 1)
    rng = np.random.default_rng(0)
    for tile in range(layout.tiles()):
        tokens = layout.vision(0, tile)
        area = np.prod(layout.box[tokens, 2:] - layout.box[tokens, :2], axis=1)
        whole = tokens[area > 0.75 * area.max()]  # not those that see little but padding
        for token in rng.choice(whole, min(3, len(whole)), replace=False):
            _, after = embedded(vlm, [painted(size, layout.box[token])])
            change = (after - before).norm(dim=-1).numpy()
            assert tokens[change[tokens].argmax()] == token
            strong = tokens[change[tokens] > 0.5 * change[token]]
            reach = np.abs(middle[strong] - middle[token]) / (
                layout.box[token, 2:] - layout.box[token, :2]
            )
            assert reach.max() < 1.6, "far tokens changed, too"
            for other in range(layout.tiles()):  # on other tiles it is where the boxes overlap
                here = layout.vision(0, other)
                best = here[change[here].argmax()]
                if change[best] > 0.2 * change[token]:
                    box, mine = layout.box[best], layout.box[token]
                    assert (box[:2] < mine[2:] + 1).all() and (box[2:] > mine[:2] - 1).all()


def test_newlines_and_words_hold_nothing_of_the_image(vlm):
    layout, before = embedded(vlm, [grey((360, 160))])
    _, after = embedded(vlm, [painted((360, 160), (0, 0, 360, 160))])
    changed = (after - before).norm(dim=-1).numpy() > 1e-4
    kinds = np.array(layout.kind)
    assert set(kinds) <= set(KINDS)
    assert changed[np.isin(kinds, ("patch", "thumbnail"))].any()
    assert not changed[np.isin(kinds, ("", "newline", "separator"))].any()
    for kind, role in (("newline", "vision"), ("patch", "vision"), ("separator", "template")):
        assert all(r == role for r, k in zip(layout.roles, kinds, strict=True) if k == kind)
    assert (np.isfinite(layout.box).all(1) == np.isin(kinds, ("patch", "thumbnail"))).all()


def test_what_stands_between_patches_is_told_from_other_words(vlm):
    layout, _ = embedded(vlm, [grey((360, 160))])
    places = layout.positions("vision")
    assert "" not in layout.kind[places[0] : places[-1] + 1]
    for role in ("bos", "user"):
        assert {layout.kind[at] for at in layout.positions(role)} == {""}


def test_the_tiles_cover_the_image_once(vlm):
    """Every pixel lies in one patch of the tiles, and in one of the thumbnail; crops cut off."""
    size = (360, 160)
    layout, _ = embedded(vlm, [grey(size)])
    cropping = vlm.config.model_type in CROPPING
    for kind in ("patch", "thumbnail"):
        boxes = layout.box[[k == kind for k in layout.kind]]
        if not len(boxes):
            continue
        count = np.zeros(size[::-1], dtype=int)
        for left, top, right, bottom in np.round(boxes).astype(int):
            count[top:bottom, left:right] += 1
        assert count.max() == 1
        assert cropping or count.min() == 1


def test_each_image_has_its_own_tiles(vlm):
    layout, _ = embedded(vlm, [grey((160, 160)), grey((360, 160))])
    assert layout.images == 2
    for image in (0, 1):
        sizes = [np.prod(layout.grid(image, tile)) for tile in range(layout.tiles(image))]
        assert sum(sizes) == len(layout.vision(image))
    with pytest.raises(EmptySelectionError, match="no tile 9 of image 1"):
        layout.grid(1, 9)
    assert (layout.box[layout.vision(0), 2] <= 160).all()
    if vlm.config.model_type not in CROPPING:
        assert layout.box[layout.vision(1), 2].max() == pytest.approx(360)


def test_a_views_boxes_by_hand():
    view = View(1, 2, (-10.0, 0.0, 30.0, 20.0), newlines="each")
    assert view.size == 3
    assert view.boxes((25, 20)).tolist() == [[0, 0, 10, 20], [10, 0, 25, 20]]
    assert np.isnan(view.boxes(None)).all()
    assert torch.tensor(View(2, 2).boxes((4, 4))).isnan().all()


def test_a_thin_image_is_fitted_no_thinner_than_the_least_by_hand():
    """100 x 4 pixels become 32 x 8 (not 32 x 1) in a square of 32, with 12 rows on each side."""
    assert padded((100, 4), 32, 8) == (0.0, -6.0, 100.0, 10.0)
    assert padded((4, 100), 32, 8) == (-6.0, 0.0, 10.0, 100.0)
