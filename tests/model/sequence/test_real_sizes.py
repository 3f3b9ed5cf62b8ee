"""At the sizes of published checkpoints: as many tokens as the model makes, each where it looks.

In a model that is made linear a token is the mean brightness of the pixels that it sees. So on a
ramp it says where the middle of these is; and of a white rectangle, how much of it is white.
"""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from conftest import TINY, build, by_turns
from PIL import Image
from real_sizes import REAL, linear

import vlmlens as vl
from vlmlens.families.llava_next import Tile, unpadded
from vlmlens.zoo.tiny import made

#: Photographs and screens, upright and flat; squares; slivers; smaller than a patch.
SIZES = [
    (800, 600),
    (1024, 768),
    (333, 1000),
    (1000, 333),
    (384, 1000),
    (500, 1500),
    (640, 480),
    (700, 700),
    (3, 4000),
    (17, 23),
]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


class Seen(Exception):
    """Ends a pass where the language model begins."""


def brightness(vlm, pictures):
    """One sample's layout, and the mean of every embedding that enters the language model."""
    given = vlm.inputs([pictures], ["What?"])
    kept = []

    def keep(module, args, named):
        kept.append((args[0] if args else named["hidden_states"])[0].mean(-1))
        raise Seen

    first = vlm.hf_model.get_submodule(f"{vlm.family.lm_layers}.0")
    handle = first.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.no_grad(), pytest.raises(Seen):
            pixels = given.tensors["pixel_values"].float()  # Llama 4's processor makes bfloat16
            vlm.hf_model(**dict(given.tensors) | {"pixel_values": pixels}, use_cache=False)
    finally:
        handle.remove()
    return given.layouts[0], kept[0].numpy()


def ramp(size):
    """Brighter to the right and to the bottom, as fine as dithering makes it."""
    width, height = size
    across, down = (np.arange(n) + 0.5 for n in size)
    bright = 255 * (across / width / 2 + down[:, None] / height / 2)
    noise = np.random.default_rng(0).random((height, width))
    return Image.fromarray(np.floor(bright + noise).astype(np.uint8)).convert("RGB")


def scale_of(vlm):
    """A linear model's token of a black picture and of a white one."""
    ends = []
    for color in (BLACK, WHITE):
        layout, found = brightness(vlm, [Image.new("RGB", (64, 64), color)])
        tokens = found[layout.vision(0)]
        assert np.ptp(tokens) < 1e-5, "tokens of one color differ: the model is not linear"
        ends.append(tokens[0])
    return ends


def uncut(boxes):
    """Which boxes are not cut off at the edges of the picture."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return (sides > 0.98 * sides.max(0)).all(1)


#: Of every way to cut a picture one: a fixed grid, canvases of tiles, tiles on a square, packed
#: patches, one large square. The others by turns.
WAYS = (
    "LLaVA-1.5, CLIP 336/14",
    "LLaVA-NeXT, CLIP 336/14",
    "SmolVLM 500M, 512/16, scale 4",
    "Qwen2.5-VL, 14 x 2",
    "Gemma 3, SigLIP 896/14",
)


@pytest.fixture(scope="module", params=by_turns(REAL, WAYS))
def real(request):
    family, tiny = REAL[request.param]
    with vl.HookedVLM(*made(tiny, family)) as vlm:
        linear(vlm.hf_model, vlm.family)
        yield vlm, scale_of(vlm)


#: Families whose processors refuse slivers.
LIMITED = (
    "qwen",
    "glm",
    "paddle",
    "video_llama",
    "ernie",
    "exaone",
    "cosmos",
    "cohere_compass",
    "hyperclovax",
)


def sizes_for(vlm):
    sizes = list(SIZES)
    if getattr(vlm.processor.image_processor, "do_center_crop", False):
        sizes.remove((3, 4000))  # 336 x 448,000 pixels on the way
    if vlm.config.model_type == "mistral3":
        sizes.remove((17, 23))  # one token, with which transformers' own forward fails
    if vlm.config.model_type == "lighton_ocr":
        sizes.remove((3, 4000))  # one patch wide: none is merged, and torch refuses it
    if vlm.config.model_type.startswith(LIMITED):
        sizes.remove((3, 4000))  # refused by their processors
    if vlm.config.model_type in ("deepseek_vl", "deepseek_vl_hybrid", "janus"):
        sizes.remove((3, 4000))  # narrower than a patch: every token holds padding, too
    return sizes


def looks_where_it_says(vlm, ends, pictures, cell=0.05):
    """Every token's place on ramps, against the middle of its box, but for a part of a cell."""
    black, white = ends
    if vlm.config.model_type == "deepseek_vl_hybrid":
        cell = 0.1  # it is padded before it is made small, which blurs the padding into its edges
    layout, found = brightness(vlm, [ramp(size) for size in pictures])
    places = (found - black) / (white - black)
    for image, size in enumerate(pictures):
        biggest = np.ptp(layout.box[layout.vision(image)].reshape(-1, 2, 2), axis=1).max(0)
        for tile in range(layout.tiles(image)):
            tokens = layout.vision(image, tile)
            boxes = layout.box[tokens]
            sides = (boxes[:, 2:] - boxes[:, :2]).max(0)
            if (sides < 0.3 * biggest).any():
                continue  # a tile of a canvas that holds little but padding
            middle = ((boxes[:, :2] + boxes[:, 2:]) / 2 / size).mean(1)
            off = np.abs(places[tokens] - middle)[uncut(boxes)]
            # Or a pixel of the picture: a ramp over few pixels has steps.
            allowed = max(cell * (sides / size).mean(), 0.6 / min(size))
            assert off.max() < allowed, (size, tile, off.max() / (sides / size).mean())


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_token_looks_where_its_box_lies(real, size):
    vlm, ends = real
    if size in sizes_for(vlm):
        looks_where_it_says(vlm, ends, [size])


@pytest.mark.slow
def test_two_pictures_in_one_sample(real):
    looks_where_it_says(*real, [(640, 480), (333, 1000)])


def test_a_token_holds_as_much_of_a_rectangle_as_its_box(real):
    vlm, (black, white) = real
    size, place = (900, 500), (210, 130, 555, 410)
    picture = Image.new("RGB", size, BLACK)
    picture.paste(WHITE, place)
    layout, found = brightness(vlm, [picture])
    shares = (found - black) / (white - black)
    for tile in range(layout.tiles(0)):
        tokens = layout.vision(0, tile)
        boxes = layout.box[tokens]
        over = np.minimum(boxes[:, 2:], place[2:]) - np.maximum(boxes[:, :2], place[:2])
        sides = boxes[:, 2:] - boxes[:, :2]
        if (sides.max(0) < 0.3 * np.ptp(layout.box[layout.vision(0), ::2], axis=1).max()).any():
            continue
        want = over.clip(0).prod(1) / np.maximum(sides.prod(1), 1e-9)
        off = np.abs(shares[tokens] - want)[uncut(boxes)]
        inside = ((want == 0) | (want == 1))[uncut(boxes)]
        # Along its edges resizing blurs, and what is pooled by interpolation meets its neighbours.
        assert off.max() < 0.3
        assert off[inside].max(initial=0) < 0.25
        assert off.mean() < 0.02


#: Families whose real processors need torchvision, and these at the same settings.
TORCHVISION = {
    "Llama 4, 336/14": ("Llama4ImageProcessor", {"max_patches": 16}),
    "LFM2-VL, SigLIP 2 16 x 2": ("Lfm2VlImageProcessor", {}),
    "Command A Vision, SigLIP 512/16": ("Cohere2VisionImageProcessor", {}),
}


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
@pytest.mark.parametrize("name", list(TORCHVISION))
def test_with_the_processors_that_need_torchvision(name):
    import transformers

    family, tiny = REAL[name]
    model, processor = made(tiny, family)
    kind, settings = TORCHVISION[name]
    processor.image_processor = getattr(transformers, kind)(**settings)
    with vl.HookedVLM(model, processor) as vlm:
        linear(vlm.hf_model, vlm.family)
        ends = scale_of(vlm)
        for size in SIZES:
            looks_where_it_says(vlm, ends, [size], cell=0.1)  # Llama 4's pixels are in bfloat16


# Where the tables above cannot lead: by hand.


def test_the_gap_between_tiles_by_hand():
    """Two tiles of 10 pixels with patches of 4: two patches a tile, and 2 pixels unseen."""
    view = unpadded((20, 10), (10, 20), Tile(10, 4))
    assert (view.rows, view.columns) == (2, 4)
    assert view.across == ((0, 4), (4, 8), (10, 14), (14, 18))
    assert view.down == ((0, 4), (4, 8))
    fewer = unpadded((20, 10), (10, 20), Tile(10, 4), most=2)  # half as many rows and columns
    assert fewer.across == ((0, 8), (10, 18))
    assert fewer.down == ((0, 8),)


@pytest.mark.parametrize("name", ["llava_next", "llava_onevision"])
def test_a_sliver_has_no_patches_on_its_tiles(name):
    with vl.HookedVLM(*build(name)) as vlm:
        layout = vlm.inputs([Image.new("RGB", (3, 4000))], ["a"]).layouts[0]
    for tile in range(layout.tiles()):
        assert np.prod(layout.grid(0, tile)) == len(layout.vision(0, tile)) > 0


# Idefics3 and SmolVLM, whose tiles are not among the tensors.


@pytest.mark.parametrize("name", [n for n in TINY if n in ("idefics3", "smolvlm")])
@pytest.mark.parametrize("splits", [True, False])
@pytest.mark.parametrize("resizes", [True, False])
@pytest.mark.parametrize("size", [(60, 30), (32, 32), (20, 90), (32, 3)], ids=str)
def test_tiles_whatever_the_processor_does(name, splits, resizes, size):
    model, processor = build(name)
    processor.image_processor.do_image_splitting = splits
    processor.image_processor.do_resize = resizes
    with vl.HookedVLM(model, processor) as vlm:
        layout = vlm.inputs([Image.new("RGB", size)], ["What?"]).layouts[0]
        vlm.run(vlm.inputs([Image.new("RGB", size)], ["What?"]), logits="last")
    last = layout.tiles() - 1
    assert layout.tiles() == 1 or splits
    copy = layout.box[layout.vision(0, last)]
    assert (*copy[:, :2].min(0), *copy[:, 2:].max(0)) == (0, 0, *size)
    assert layout.grid(0, last) == (2, 2)
    assert (layout.kind[layout.vision(0, last)[0]] == "thumbnail") == (last > 0)
