"""How much of a picture a model is shown, and where its maps lie on it: laws of every family."""

import logging

import numpy as np
import pytest
import torch
from conftest import build, picture
from PIL import Image

import vlmlens as vl
from vlmlens import plots, probes
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.layout import EDGES
from vlmlens.probes.attention_maps import NEEDS

#: Wide, high, nearly square, and smaller than a tile.
SIZES = ((160, 60), (60, 160), (97, 64), (33, 40))


def covered(layout, size, fine=4):
    """Which points of a picture lie in a patch's box, at so many points a pixel each way."""
    seen = np.zeros((size[1] * fine, size[0] * fine), bool)
    for box in layout.box[layout.vision(0)]:
        left, top, right, bottom = np.round(box * fine).astype(int)
        seen[top:bottom, left:right] = True
    return seen


@pytest.mark.parametrize("size", SIZES)
def test_the_share_seen_is_that_of_the_patches_boxes(every_vlm, size):
    given = every_vlm.inputs([picture(0, size)], ["What?"])
    layout = given.layouts[0]
    assert layout.seen() == pytest.approx(covered(layout, size).mean(), abs=0.03)
    crops = every_vlm.config.model_type in ("llava", "vipllava", "video_llava")
    crops = crops and every_vlm.processor.image_processor.do_center_crop
    # 32 pixels hold three patches of ten: a strip on two sides is left over.
    least = (30 / 32) ** 2 if every_vlm.name == "llava/siglip-qwen2" else 0.99
    whole = min(size) / max(size) if crops else 1.0
    if every_vlm.name == "lighton_ocr":  # patches are merged two by two, and an odd one is dropped
        least = np.prod([n // 8 * 8 / n for n in given.tensors["image_sizes"][0].tolist()])
    assert least * whole - 0.03 <= layout.seen() <= whole + 0.03


@pytest.mark.parametrize("size", SIZES)
def test_what_is_not_seen_changes_nothing(every_vlm, size):
    """Paint over all that no box covers, but for what interpolation reaches across an edge."""
    before = picture(0, size)
    inputs = every_vlm.inputs([before], ["What?"])
    hidden = ~covered(inputs.layouts[0], size, fine=1)
    reach = int(np.ceil(3 * max(size) / 32)) + 1
    for axis in (0, 1):
        for step in range(1, reach):
            hidden &= ~np.roll(~hidden, step, axis) & ~np.roll(~hidden, -step, axis)
    if not hidden.any():
        return
    pixels = np.array(before)
    pixels[hidden] = 255 - pixels[hidden]
    after = every_vlm.inputs([Image.fromarray(pixels)], ["What?"])
    assert torch.equal(inputs.tensors["pixel_values"], after.tensors["pixel_values"])


def test_a_centre_crop_hides_something_at_all(vlm):
    """So that the law above is about more than nothing."""
    if vlm.processor.image_processor.do_center_crop:
        layout = vlm.inputs([picture(0, (640, 240))], ["What?"]).layouts[0]
        assert layout.seen() == pytest.approx(240 / 640, rel=0.01)  # 640 becomes 85 pixels of 32
        assert layout.padded(len(layout) + 3, "left").seen() == layout.seen()
        assert layout.extended(["x"]).seen() == layout.seen()


def test_the_share_seen_needs_a_picture_and_its_size(vlm):
    text = vlm.inputs(vl.Sample("What?")).layouts[0]
    with pytest.raises(EmptySelectionError, match="no image 0"):
        text.seen()
    given = vlm.inputs([picture(0)], ["What?"]).tensors
    raw = vlm.inputs_from(given["input_ids"], pixel_values=given["pixel_values"])
    with pytest.raises(InputError, match="size is unknown"):
        raw.layouts[0].seen()
    shares = probes.share_seen(vlm.run(raw))
    assert np.isnan(shares.values).all()


def test_a_samples_share_is_over_all_its_pictures():
    with vl.HookedVLM(*build("llava")) as vlm:
        wide, square = picture(0, (90, 30)), picture(1, (30, 30))
        run = vlm.run(vlm.inputs([[wide, square], [square, square]], ["What?", "What?"]))
    shares = probes.share_seen(run)
    assert shares.dims == ("sample",)
    np.testing.assert_allclose(shares, [(900 + 900) / (2700 + 900), 1.0])


def test_a_crop_is_told_once_a_model(caplog):
    with vl.HookedVLM(*build("llava"), name="my model") as vlm:
        with caplog.at_level(logging.WARNING, logger="vlmlens"):
            vlm.inputs([picture(0, (40, 40)), picture(0, (41, 40))], ["What?", "What?"])
            assert not caplog.records
            for _ in range(2):
                vlm.inputs([picture(0, (80, 60)), picture(0, (90, 60))], ["What?", "What?"])
        (told,) = caplog.records
        assert "my model is shown 67 % of a picture of 90 x 60 pixels" in told.getMessage()


def test_maps_know_where_they_lie_on_their_pictures(every_vlm):
    """Every grid that a probe lays values on carries the boxes of its own sample."""
    sizes = ((96, 48), (40, 64))
    inputs = every_vlm.inputs([picture(n, size) for n, size in enumerate(sizes)], ["What?"] * 2)
    lens = probes.lens_needs(every_vlm, best=1)
    run = every_vlm.run(inputs, save=[*NEEDS, "blocks.0.hook_resid_pre", lens])
    log_prob = probes.logit_lens(run, lens, every_vlm.processor.tokenizer)["log_prob"]
    maps = {
        "attention": probes.image_attention(run)[:, -1, 0],
        "similarity": probes.similarity_map(run, (0, 0), point="blocks.0.hook_resid_pre"),
        "lens": probes.on_image(log_prob, run).isel(rank=0, layer=0),
    }
    for name, values in maps.items():
        for sample, (layout, size) in enumerate(zip(inputs.layouts, sizes, strict=True)):
            rows, columns = layout.grid()
            own = values[sample, :rows, :columns]
            boxes = layout.box[layout.vision(0, 0)].reshape(rows, columns, 4)
            for at, edge in enumerate(EDGES):
                np.testing.assert_array_equal(own[edge], boxes[..., at], err_msg=name)
            # The whole map, with room for a larger picture's, lies on this one's part of it.
            (heat,) = plots.overlay(picture(sample, size), values[sample]).data
            np.testing.assert_allclose(heat.x, [*boxes[0, :, 0], boxes[0, -1, 2]])
            np.testing.assert_allclose(heat.y, [*boxes[:, 0, 1], boxes[-1, 0, 3]])
            other = picture(sample, sizes[1 - sample])
            with pytest.raises(InputError, match=f"a picture of {size[0]} x {size[1]}"):
                plots.overlay(other, values[sample])
