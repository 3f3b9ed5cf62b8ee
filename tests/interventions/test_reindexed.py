"""Position ids that are closed up are those that transformers gives to what is left."""

import numpy as np
import pytest
from conftest import EVERY, QUESTIONS, build, by_turns, picture

import vlmlens as vl
from vlmlens.interventions import CompressVision, DropTokens
from vlmlens.positions import Column, Row

SIZE = (96, 64)
#: Of a token, in pixels: processors make pictures larger and smaller.
SIDES = range(4, 33, 4)


def ids_of(inputs):
    """What each axis says of every token that is there."""
    (layout,) = inputs.layouts
    return inputs.tensors["position_ids"][..., 0, ~layout.mask("pad")].numpy()


def asked(vlm, rows, columns):
    """A question about a picture of so many rows and columns of tokens."""
    for side in SIDES:
        given = vlm.inputs([picture(0, (columns * side, rows * side))], [QUESTIONS[0]])
        if given.layouts[0].grid() == (rows, columns):
            return given
    pytest.skip(f"no picture of it has {rows} x {columns} tokens")


@pytest.fixture(scope="module", params=by_turns(EVERY, ["qwen2_5_vl", "glm4v"]))
def threefold(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as vlm:
        given = vlm.inputs([picture(0, SIZE)], [QUESTIONS[0]])
        if given.tensors["position_ids"].ndim < 3:
            pytest.skip("its position ids count tokens")
        yield vlm, given


def test_a_pooled_picture_is_numbered_as_one_of_its_grid(threefold):
    vlm, given = threefold
    rows, columns = given.layouts[0].grid()
    assert rows > 2 and columns > 3
    small = asked(vlm, 2, 3)
    pooled = CompressVision(rows=2, columns=3, position_ids="reindexed").prepare(given)
    np.testing.assert_array_equal(ids_of(pooled), ids_of(small))


@pytest.mark.parametrize("at", [0, 1, -1])
def test_a_picture_without_a_line_is_numbered_as_a_smaller_one(threefold, at):
    vlm, given = threefold
    rows, columns = given.layouts[0].grid()
    for line, grid in ((Row(at), (rows - 1, columns)), (Column(at), (rows, columns - 1))):
        drop = DropTokens(where=vl.Where(positions=line), position_ids="reindexed")
        smaller = asked(vlm, *grid)
        np.testing.assert_array_equal(ids_of(drop.prepare(given)), ids_of(smaller))
    none = DropTokens(where=vl.Where(positions="vision"), position_ids="reindexed").prepare(given)
    left = np.delete(ids_of(given), given.layouts[0].vision(0), -1)
    first = int(given.layouts[0].vision(0)[0])
    closed = ids_of(none)
    np.testing.assert_array_equal(closed[..., :first], left[..., :first])
    assert (np.diff(closed, axis=-1) == 1).all()
