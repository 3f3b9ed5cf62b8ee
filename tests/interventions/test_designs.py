"""Arrangements of a grid, worked out on paper; and what they do to an image's tokens."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from closeness import assert_apart
from conftest import QUESTIONS, picture
from hypothesis import given
from hypothesis import strategies as st

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions import DropTokens, MovePositions, PermuteVision
from vlmlens.interventions.designs import DESIGNS, SHUFFLES, arrangement, over_time
from vlmlens.interventions.vision import tiles
from vlmlens.positions import Column, Region

RANDOM = (*SHUFFLES, "rows", "columns", "blocks")


def arranged(design, rows=2, columns=3, seed=0, **options):
    """The grid 0, 1, 2, ... after the arrangement."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    order = arrangement(design, row, column, np.random.default_rng(seed), **options)
    return order.reshape(rows, columns).tolist()


def test_what_draws_nothing_is_what_it_says():
    assert arranged("mirror") == [[2, 1, 0], [5, 4, 3]]
    assert arranged("flip") == [[3, 4, 5], [0, 1, 2]]
    assert arranged("rotate 180") == [[5, 4, 3], [2, 1, 0]]
    assert arranged("transpose", 2, 2) == [[0, 2], [1, 3]]
    assert arranged("rotate 90", 2, 2) == [[2, 0], [3, 1]]  # clockwise: the left column goes up
    assert arranged("rotate 270", 2, 2) == [[1, 3], [0, 2]]


@given(st.sampled_from(DESIGNS), st.integers(1, 4), st.integers(2, 4), st.integers(0, 5))
def test_nothing_is_doubled_and_nothing_lost(design, rows, columns, seed):
    columns = rows if design in ("transpose", "rotate 90", "rotate 270") else columns
    block = (1, columns) if design == "blocks" else (2, 2)
    if design == "within columns" and rows == 1:
        return  # nothing to shuffle, which raises
    found = np.array(arranged(design, rows, columns, seed, block=block))
    assert sorted(found.flatten().tolist()) == list(range(rows * columns))
    own_row, own_column = np.divmod(found, columns)
    at_row, at_column = np.indices(found.shape)
    if design == "within rows":
        assert (own_row == at_row).all()
    if design == "within columns":
        assert (own_column == at_column).all()
    if design == "rows":
        assert (own_column == at_column).all()
        assert (own_row == own_row[:, :1]).all()
    if design == "columns":
        assert (own_row == at_row).all()
        assert (own_column == own_column[:1]).all()


def test_blocks_stay_whole():
    found = np.array(arranged("blocks", 4, 4, block=(2, 2)))
    whole = found.reshape(2, 2, 2, 2).swapaxes(1, 2).reshape(4, 4)
    assert sorted(whole[:, 0]) == [0, 2, 8, 10]
    assert (whole - whole[:, :1] == [0, 1, 4, 5]).all()
    assert whole[:, 0].tolist() != [0, 2, 8, 10]


@pytest.mark.parametrize("design", RANDOM)
def test_what_is_random_is_the_seeds(design):
    drawn = {str(arranged(design, 4, 4, seed)) for seed in range(8)}
    assert len(drawn) > 2
    assert arranged(design, 4, 4, 3) == arranged(design, 4, 4, 3)


@given(fraction=st.sampled_from([0.25, 0.5, 0.75, 1.0]), seed=st.integers(0, 9))
def test_a_fraction_is_that_many_at_most(fraction, seed):
    found = np.array(arranged("free", 4, 4, seed, fraction=fraction)).flatten()
    assert (found != np.arange(16)).sum() <= 16 * fraction
    assert sorted(found) == list(range(16))


def test_a_free_shuffle_is_the_generators_own_permutation():
    """Published numbers rest on these draws."""
    drawn = np.random.default_rng(5).permutation(12)
    assert np.array(arranged("free", 3, 4, 5)).flatten().tolist() == drawn.tolist()


def test_arrangements_that_do_not_fit():
    with pytest.raises(InputError, match="do not tile a grid of 3 x 3"):
        arranged("blocks", 3, 3)
    with pytest.raises(InputError, match="needs a square"):
        arranged("transpose", 2, 3)
    with pytest.raises(InputError, match="moves every token"):
        arranged("mirror", fraction=0.5)
    with pytest.raises(EmptySelectionError, match="nothing to shuffle"):
        arranged("within rows", 3, 1)
    with pytest.raises(InputError, match="these 3 tokens are none"):
        arrangement("rows", np.array([0, 0, 1]), np.array([0, 1, 0]), np.random.default_rng(0))
    with pytest.raises(InputError, match="there is: free, within rows"):
        PermuteVision(design="spiral")
    with pytest.raises(InputError, match="among="):
        PermuteVision(where=vl.Where(positions="vision"))
    with pytest.raises(InputError, match="a share above 0"):
        PermuteVision(fraction=0.0)


# In a model.


def orders(inputs, edit):
    return [
        edit.order(layout, 0, key) for layout, key in zip(inputs.layouts, inputs.keys, strict=True)
    ]


@given(st.sampled_from(["mirror", "flip", "transpose", "rotate 180"]))
def test_twice_is_nothing(vlm, inputs, design):
    edit = PermuteVision(design=design)
    assert torch.equal(vlm.run(inputs, [edit, edit]).logits, vlm.run(inputs).logits)
    assert_apart(vlm.run(inputs, [edit]).logits, vlm.run(inputs).logits)


@given(st.permutations(range(9)))
def test_a_permutation_of_some_tokens_and_its_inverse_are_nothing(vlm, inputs, order):
    among = Region(rows=(0, 1, 2), columns=(0, 1, 2))
    there = PermuteVision(permutation=tuple(order), among=among)
    back = PermuteVision(permutation=tuple(np.argsort(order).tolist()), among=among)
    assert torch.equal(vlm.run(inputs, [there, back]).logits, vlm.run(inputs).logits)


@pytest.mark.parametrize("design", ["free", "within rows", "mirror", "rows"])
def test_the_projector_and_the_sequence_are_two_views_of_one(vlm, inputs, design):
    late, early = (
        vlm.run(inputs, [PermuteVision(point=point, design=design, seed=2)]).logits
        for point in ("hook_embed", "projector.hook_out")
    )
    assert torch.equal(late, early)


def test_only_those_among_change_places(vlm, inputs):
    corner = Region(rows=(0, 1), columns=(0, 1))
    layout = inputs.layouts[0]
    here = layout.vision(0)
    inside = (layout.row[here] < 2) & (layout.column[here] < 2)
    for among, meant in ((corner, inside), (~corner, ~inside)):
        (order, other) = orders(inputs, PermuteVision(among=among, seed=1))
        moved = order != np.arange(len(order))
        assert moved.any()
        assert not moved[~meant].any()
        assert not np.array_equal(order, other)
    (mirrored, _) = orders(inputs, PermuteVision(design="mirror", among=corner))
    columns = int(layout.column[here].max()) + 1
    assert mirrored[:2].tolist() == [1, 0]
    assert mirrored[2:columns].tolist() == list(range(2, columns))
    with pytest.raises(InputError, match="tokens are none"):
        vlm.run(inputs, [PermuteVision(design="rows", among=~corner)])
    with pytest.raises(EmptySelectionError, match="nothing to shuffle"):
        vlm.run(inputs, [PermuteVision(among=Region(0, 0))])


def test_position_ids_may_move_in_place_of_content(vlm):
    """With all tokens alike in every way but their ids, only the ids are left to move."""
    inputs = vlm.inputs([picture()], [QUESTIONS[0]])
    edit = PermuteVision(moves="position ids", seed=2)
    (order,) = orders(inputs, edit)
    by_hand = MovePositions(to=tuple(int(n) for n in order))
    moved = vlm.run(inputs, [edit]).logits
    assert torch.equal(moved, vlm.run(inputs, [by_hand]).logits)
    assert_apart(moved, vlm.run(inputs).logits)
    assert_apart(moved, vlm.run(inputs, [PermuteVision(seed=2)]).logits)


def test_tiles_are_rearranged_each_in_itself(inputs):
    layout = inputs.layouts[0]
    here = layout.vision(0)
    assert [len(tile) for tile in tiles(layout, here)] == [len(here)]
    half = len(here) // 2
    tile = layout.tile.copy()
    tile[here[half:]] = 1
    cut = tiles(replace(layout, tile=tile), here)
    assert [own.tolist() for own in cut] == [
        list(range(half)),
        list(range(half, len(here))),
    ]


# Places without a token.


def holes(rows, columns, gone):
    """The cells of a grid that are there, and which are not, as ``arrangement`` takes them."""
    missing = np.zeros((rows, columns), dtype=bool)
    missing[gone] = True
    return (*np.nonzero(~missing), missing)


@pytest.mark.parametrize("design", [d for d in DESIGNS if d not in SHUFFLES])
@pytest.mark.parametrize(
    "gone",
    [np.s_[0], np.s_[3], np.s_[[0, 3]], np.s_[:, 0], np.s_[:, 3], np.s_[:, [1, 2]], np.s_[:3, :2]],
)
def test_a_move_around_holes_is_the_one_of_the_whole_grid_or_is_refused(design, gone):
    """By brute force: on the whole grid, no token may come from where there is none."""
    row, column, missing = holes(4, 4, gone)
    whole = np.array(arranged(design, 4, 4, seed=1))
    lost = missing.reshape(-1)
    fits = np.array_equal(lost[whole.reshape(-1)], lost)
    try:
        order = arrangement(design, row, column, np.random.default_rng(1), missing=missing)
    except InputError as error:
        assert not fits or design in RANDOM or len(row) != len(set(row)) * len(set(column))
        assert ("are left out: " in str(error)) == (len(row) == len(set(row)) * len(set(column)))
        return
    came = np.full(missing.shape, -1)
    came[row, column] = (row * 4 + column)[order]
    assert fits
    assert np.array_equal(came[~missing], whole[~missing])


def test_lines_that_are_whole_are_drawn_where_others_are_cut():
    row, column, missing = holes(3, 4, np.s_[:, 0])
    order = arrangement("rows", row, column, np.random.default_rng(0), missing=missing)
    assert (column[order] == column).all()
    assert sorted(order.tolist()) == list(range(9))
    row, column, missing = holes(3, 4, np.s_[:, [0, 3]])
    order = arrangement("mirror", row, column, np.random.default_rng(0), missing=missing)
    assert column[order].tolist() == [2, 1] * 3


@pytest.mark.parametrize(
    ("design", "gone", "moved"),
    [
        ("backward", [2], None),
        ("frames", [1], None),
        ("backward", [1], [2, 0]),
        ("backward", [0, 3], [2, 1]),
    ],
)
def test_frames_without_tokens_keep_their_time(design, gone, moved):
    frame = np.setdiff1d(np.arange(4 if 3 in gone else 3), gone)
    place, rng = np.zeros_like(frame), np.random.default_rng(0)
    lost = np.array(gone)
    if moved is None:
        with pytest.raises(InputError, match=f"needs frames whose tokens are left out: {gone[0]}"):
            over_time(design, frame, place, place, rng, lost)
        return
    assert frame[over_time(design, frame, place, place, rng, lost)].tolist() == moved


def test_dropped_columns_are_not_closed_up(vlm):
    """What is left of a picture is mirrored as it lies on the picture."""
    inputs = vlm.inputs([picture()], [QUESTIONS[0]])
    layout = inputs.layouts[0]
    last = layout.grid()[1] - 1

    def seen(columns, edit):
        drop = DropTokens(where=vl.Where(positions=Column(columns)))
        return vlm.run(inputs, [edit, drop], save="hook_embed").saved["hook_embed"][0]

    with pytest.raises(InputError, match=r"needs places .* are left out: column 0"):
        seen(0, PermuteVision(design="mirror"))
    both, clean = (
        seen((0, last), edit) for edit in (PermuteVision(design="mirror"), PermuteVision(seed=1))
    )
    whole = vlm.run(inputs, [PermuteVision(design="mirror")], save="hook_embed").saved
    left = layout.vision(0)[~np.isin(layout.column[layout.vision(0)], (0, last))]
    assert torch.equal(both[left], whole["hook_embed"][0][left])
    assert not torch.equal(clean[left], both[left])


@pytest.mark.parametrize(("design", "gone"), [("rows", np.s_[0]), ("columns", np.s_[:, 0])])
def test_lines_are_drawn_of_a_whole_grid_alone_whatever_the_seed(design, gone):
    """Some draws would leave the holes where they are; which ones must not depend on the seed."""
    row, column, missing = holes(3, 3, gone)
    for seed in range(8):
        with pytest.raises(InputError, match="are left out: "):
            arrangement(design, row, column, np.random.default_rng(seed), missing=missing)
