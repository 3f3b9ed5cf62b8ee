"""A feature's dashboard: every region is a crop of its own picture, outlined in its middle."""

import base64
from io import BytesIO

import numpy as np
import pytest
from as_users import as_users
from PIL import Image

import vlmlens as vl
from vlmlens.datasets import shapes_2d
from vlmlens.errors import InputError

POINT = "blocks.1.mlp.hook_post"


@pytest.fixture(scope="module")
def found():
    samples = shapes_2d(8)
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        run = model.run(model.inputs(samples), save=POINT)
        regions = vl.probes.most_active(run, POINT, 7)
        words = vl.probes.most_active(run, POINT, 7, positions="user", count=5)
        writes = vl.probes.direction_words(model, model.blocks[1].mlp.W_out[7], 4)
    return samples, regions, words, writes


def picture_of(image):
    return Image.open(BytesIO(base64.b64decode(image.source.partition(",")[2]))).convert("RGB")


def test_crops_show_what_lies_in_the_regions(found):
    samples, regions, words, writes = found
    fig = vl.plots.feature(samples, regions, words, writes)
    assert len(fig.layout.images) == regions.sizes["rank"] > 3
    for at, image in enumerate(fig.layout.images):
        crop = np.asarray(picture_of(image), float)
        original = samples[int(regions.sample[at])].pictures()[0].convert("RGB")
        x = round(float(regions.left[at] + regions.right[at]) / 2)
        y = round(float(regions.top[at] + regions.bottom[at]) / 2)
        middle = np.asarray(original, float)[y - 2 : y + 2, x - 2 : x + 2].mean((0, 1))
        assert np.abs(crop[77:83, 77:83].mean((0, 1)) - middle).max() < 30
    outlines = [shape for shape in fig.layout.shapes if shape.line.width == 2]
    assert len(outlines) == len(fig.layout.images)
    for shape in outlines:
        assert (shape.x0 + shape.x1) / 2 == pytest.approx(80)
        assert shape.x1 - shape.x0 == pytest.approx(160 / 4)  # and three halves on each side
    histogram, said, written = fig.data
    assert sum(histogram.y) == int(regions.tokens.sum())
    assert list(said.x) == words.activation.values.tolist()
    assert list(written.x) == [*writes.raises.values, *writes.lowers.values[::-1]]


def test_slips_are_named(found):
    samples, regions, words, _ = found
    with as_users():
        with pytest.raises(InputError, match="pass those that were run"):
            vl.plots.feature(samples[:1], regions)
        with pytest.raises(InputError, match=r"pass those that were run|no box"):
            vl.plots.feature(samples, words)
