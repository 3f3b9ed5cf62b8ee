"""What a probe says of a place it says of that token: grids not square, two images a sample."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from hand import attending, layout, run_saving

import vlmlens as vl
from vlmlens import probes
from vlmlens.probes.attribution import patch_map

#: Two images: two rows of three, and three rows of two; 10 x 10 pixels a patch.
LETTERS, GRIDS = "bvvvvvvtvvvvvvu", ((2, 3), (3, 2))
FIRST, SECOND = np.arange(1, 7), np.arange(8, 14)
PLACES = [
    (image, row, column)
    for image, (rows, columns) in enumerate(GRIDS)
    for row in range(rows)
    for column in range(columns)
]


def two_images() -> vl.TokenLayout:
    whole = layout(LETTERS)
    image, row, column = (np.full(len(LETTERS), -1) for _ in range(3))
    box = np.full((len(LETTERS), 4), np.nan)
    for number, (here, (_, columns)) in enumerate(zip((FIRST, SECOND), GRIDS, strict=True)):
        image[here] = number
        row[here], column[here] = np.divmod(np.arange(6), columns)
        corner = np.stack([column[here], row[here]], 1)
        box[here] = np.concatenate([corner, corner + 1], 1) * 10.0
    return vl.TokenLayout(whole.roles, whole.tokens, image, row, column, box)


def position(image: int, row: int, column: int) -> int:
    return int((FIRST, SECOND)[image][row * GRIDS[image][1] + column])


def with_layout(run: vl.Run) -> vl.Run:
    return replace(run, inputs=replace(run.inputs, layouts=(two_images(),)))


def pointing(image: int, row: int, column: int) -> vl.Run:
    """All attention on one patch."""
    weights = np.zeros(len(LETTERS))
    weights[position(image, row, column)] = 1.0
    return with_layout(attending([LETTERS], [[weights.tolist()]]))


@pytest.mark.parametrize(("image", "row", "column"), PLACES)
def test_attention_at_one_patch(image, row, column):
    run = pointing(image, row, column)
    rows, columns = GRIDS[image]
    expected = np.zeros((rows, columns))
    expected[row, column] = 1.0
    np.testing.assert_array_equal(probes.image_attention(run, image=image).squeeze(), expected)
    assert float(probes.image_attention(run, image=1 - image).sum()) == 0.0
    atlas = probes.head_atlas(run, image=image)
    assert atlas["row"].item() == pytest.approx((row + 0.5) / rows)
    assert atlas["column"].item() == pytest.approx((column + 0.5) / columns)
    own = (10 * column, 10 * row, 10 * column + 10, 10 * row + 10)
    found = probes.object_overlap(run, [[own]], image=image)
    assert [found[name].item() for name in ("mass", "hit", "area")] == [1.0, 1.0, 1 / 6]


@pytest.mark.parametrize(("image", "row", "column"), PLACES)
def test_likeness_to_one_patch(image, row, column):
    states = torch.eye(len(LETTERS))[None]
    run = with_layout(run_saving([LETTERS], {}))
    run = replace(run, saved=vl.ActivationCache({"hook_embed": states}, {}))
    found = probes.similarity_map(run, (row, column), image=image)[0]
    expected = np.zeros(GRIDS[image])
    expected[row, column] = 1.0
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("image", [0, 1])
def test_values_by_position_are_laid_where_the_tokens_are(image):
    run = with_layout(run_saving([LETTERS], {}))
    values = xr.DataArray(np.arange(len(LETTERS), dtype=float)[None], dims=("sample", "pos"))
    expected = (FIRST, SECOND)[image].reshape(GRIDS[image])
    np.testing.assert_array_equal(patch_map(values, run.inputs, image)[0], expected)
    lens = values.expand_dims(layer=[0]).transpose("sample", "layer", "pos")
    np.testing.assert_array_equal(probes.on_image(lens, run, image=image)[0, 0], expected)


def test_names_of_boxes_are_those_of_their_own_image():
    found = probes.labels_in_boxes(two_images(), {"low": (0, 10, 30, 30)}, image=0)
    assert found == [""] * 3 + ["low"] * 3 + [""] * 6
    found = probes.labels_in_boxes(two_images(), {"right": (10, 0, 30, 30)}, image=1)
    assert found == [""] * 6 + ["", "right"] * 3


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 1)])
def test_patches_look_along_rows_and_columns_of_their_own_image(right, down):
    """Every patch looks at its neighbour; those at the edge, and of no neighbour, at nothing."""
    own = two_images()
    rows = torch.zeros(1, 1, 12, len(LETTERS))
    vision = [*FIRST, *SECOND]
    steps = []
    for query, (image, row, column) in enumerate(PLACES):
        if (image, row + down, column + right) in PLACES:
            rows[0, 0, query, position(image, row + down, column + right)] = 1.0
            steps.append((right, down))
        else:  # at the other image, which is no place on its own
            rows[0, 0, query, vision[query - 6]] = 1.0
    need = probes.looks_needs(vl.Inputs({}, (own,)))
    run = with_layout(run_saving([LETTERS], {"attn.hook_pattern": [need.reduce.by(rows, (own,))]}))
    found = probes.patch_looks(run)
    assert found["right"].item() == pytest.approx(right)
    assert found["down"].item() == pytest.approx(down)
    assert found["share"].item() == pytest.approx(len(steps) / 12)


@pytest.mark.parametrize("answer", ["b", "ab", "aab", "ba"])
def test_an_answer_is_recited_where_every_token_is_the_likeliest(answer):
    """The answer's tokens are ids 3; the logits before each say 3, or (for ``b``) 4 is likelier."""
    word = "bvu" + "a" * len(answer)
    run = run_saving([word], {})
    ids = torch.full((1, len(word)), 3)
    logits = torch.full((1, len(word), 6), -1.0)
    for at, letter in enumerate(answer):
        logits[0, 2 + at, 3 if letter == "a" else 4] = 2.0
        logits[0, 2 + at, 5] = -9.0
    run = replace(run, logits=logits, inputs=replace(run.inputs, tensors={"input_ids": ids}))
    assert probes.answer_recited(run).item() == float("b" not in answer)
    said = torch.where(logits.argmax(-1) == 4, 4, 3).roll(1, dims=1)
    run = replace(run, inputs=replace(run.inputs, tensors={"input_ids": said}))
    assert probes.answer_recited(run).item() == 1.0
