"""TokenLayout: roles, grids and boxes of one sample."""

import numpy as np
import pytest

from vlmlens.errors import EmptySelectionError, InputError, UnknownRoleError
from vlmlens.layout import ROLES, TokenLayout
from vlmlens.roles import turns_of

# bos, system, template, 2 x 3 vision tokens of a picture of 30 x 20 pixels, user, template
WORDS = ("bos", "system", "template", *["vision"] * 6, "user", "user", "template")
CELLS = [(row, column) for row in range(2) for column in range(3)]


def make(order=range(6), box=None):
    """The layout above; ``order`` deals the image's cells to its positions."""
    image, row, column = (np.full(len(WORDS), -1) for _ in range(3))
    boxes = np.full((len(WORDS), 4), np.nan)
    for position, cell in zip(range(3, 9), order, strict=True):
        r, c = CELLS[cell]
        image[position], row[position], column[position] = 0, r, c
        boxes[position] = (10 * c, 10 * r, 10 * c + 10, 10 * r + 10) if box is None else box
    return TokenLayout(WORDS, tuple("bstvvvvvvuut"), image, row, column, boxes)


def test_turns_by_the_order_of_roles():
    """Without a conversation: the user speaks after the assistant; the template introduces."""
    said = {
        "b": "bos",
        "s": "system",
        "t": "template",
        "u": "user",
        "v": "vision",
        "a": "assistant",
    }
    for order, turns in {
        "bstvvutaatuuta": [-1, -1, *[0] * 7, *[1] * 5],
        "tuutuu": [0] * 6,
        "ut": [0, 0],
        "aau": [0, 0, 1],
        "bt": [-1, 0],
    }.items():
        assert turns_of([said[letter] for letter in order]).tolist() == turns, order
    padded = turns_of(["pad", "bos", "user"])
    assert padded.tolist() == [-1, -1, 0]


def test_masks_of_all_roles_are_a_partition():
    layout = make()
    masks = np.stack([layout.mask(role) for role in ROLES])
    assert (masks.sum(0) == 1).all()
    assert (layout.mask(*ROLES)).all()
    assert layout.mask("user").nonzero()[0].tolist() == [9, 10]
    assert layout.mask("bos", "user").sum() == 3
    assert not layout.mask("assistant").any()  # a role that exists, and that nobody plays


def test_patches_of_a_layout_that_says_no_more_are_of_one_tile():
    layout = make()
    assert layout.tile.tolist() == [0 if role == "vision" else -1 for role in WORDS]
    assert layout.kind == tuple("patch" if role == "vision" else "" for role in WORDS)


def test_positions_are_where_the_mask_is():
    layout = make()
    assert layout.positions("template").tolist() == [2, 11]
    assert layout.positions("vision", "bos").tolist() == [0, 3, 4, 5, 6, 7, 8]


def test_a_role_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UnknownRoleError, match="vision"):
        make().mask("visoin")
    with pytest.raises(UnknownRoleError):
        make().positions("bos", "image")
    with pytest.raises(UnknownRoleError, match="asistant"):
        make().extended(["!"], role="asistant")


def test_a_role_that_nobody_plays_is_an_empty_selection():
    with pytest.raises(EmptySelectionError, match="this input has: bos, system, template, user"):
        make().positions("assistant", "pad")


def test_a_grid_is_read_row_by_row_whatever_the_order_of_its_positions():
    layout = make()
    assert layout.images == 1
    assert layout.grid() == (2, 3)
    assert layout.vision(0).tolist() == [3, 4, 5, 6, 7, 8]
    backwards = make(order=[5, 4, 3, 2, 1, 0])
    assert backwards.grid() == (2, 3)
    assert backwards.vision(0).tolist() == [8, 7, 6, 5, 4, 3]


def test_an_image_is_read_tile_by_tile():
    """Two tiles of two rows: 0 1 / 2 3 before 4 5 / 6 7, whatever rows they share."""
    number = np.arange(8)
    tile, row, column = number // 4, number // 2 % 2, number % 2
    layout = TokenLayout(
        ("vision",) * 8, ("",) * 8, np.zeros(8, int), row, column, np.full((8, 4), np.nan), tile
    )
    assert layout.vision(0).tolist() == list(range(8))
    assert layout.vision(0, 1).tolist() == [4, 5, 6, 7]
    assert layout.tiles() == 2
    assert layout.padded(9, "left").vision(0, 1).tolist() == [5, 6, 7, 8]


def test_an_image_that_is_not_there():
    with pytest.raises(EmptySelectionError, match="holds 1"):
        make().grid(1)
    assert len(make().vision(1)) == 0


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        ((0.0, 0.0, 30.0, 20.0), [0, 1, 2, 3, 4, 5]),
        ((12.0, 3.0, 13.0, 4.0), [1]),
        ((9.0, 9.0, 11.0, 11.0), [0, 1, 3, 4]),  # the corner where four cells meet
        ((10.0, 10.0, 20.0, 20.0), [4]),  # an edge that is merely touched is no overlap
        ((25.0, 0.0, 99.0, 5.0), [2]),
        ((40.0, 0.0, 50.0, 5.0), []),
    ],
)
def test_a_box_of_the_picture_names_the_tokens_that_see_it(box, cells):
    assert make().within(box).tolist() == [3 + cell for cell in cells]


def test_boxes_that_nobody_knows_select_nothing_but_an_error():
    with pytest.raises(InputError, match="pass images"):
        make(box=np.nan).within((0.0, 0.0, 5.0, 5.0))


def test_what_is_appended_has_a_role_and_no_place():
    layout = make()
    longer = layout.extended(["left", "."])
    assert len(longer) == len(layout) + 2
    assert longer.roles == (*layout.roles, "assistant", "assistant")
    assert longer.tokens[-2:] == ("left", ".")
    assert longer.vision(0).tolist() == layout.vision(0).tolist()
    assert (longer.image[-2:] == -1).all()
    assert (longer.tile[-2:] == -1).all()
    assert longer.kind == (*layout.kind, "", "")
    assert np.isnan(longer.box[-2:]).all()
    assert len(layout.extended([])) == len(layout)


@pytest.mark.parametrize(("side", "shift"), [("left", 4), ("right", 0)])
def test_padding_moves_positions_and_changes_nothing_else(side, shift):
    layout = make()
    padded = layout.padded(len(layout) + 4, side)
    assert len(padded) == len(padded.tokens) == len(padded.box) == 16
    assert padded.mask("pad").sum() == 4
    for role in ("bos", "system", "template", "user", "vision"):
        assert (padded.positions(role) == layout.positions(role) + shift).all()
    assert (padded.vision(0) == layout.vision(0) + shift).all()
    assert padded.grid() == layout.grid()
    own = slice(shift, shift + len(layout))
    assert padded.tokens[own] == layout.tokens
    np.testing.assert_array_equal(padded.box[own], layout.box)
    assert np.isnan(padded.box[padded.mask("pad")]).all()
    assert (
        padded.within((12.0, 3.0, 13.0, 4.0)) == layout.within((12.0, 3.0, 13.0, 4.0)) + shift
    ).all()


def test_no_padding_is_the_same_layout():
    layout = make()
    assert layout.padded(len(layout), "left").roles == layout.roles


def test_it_prints_how_many_of_each():
    printed = repr(make())
    assert printed == "TokenLayout(12 positions: 1 bos, 1 system, 2 template, 2 user, 6 vision)"
