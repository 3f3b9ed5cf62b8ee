"""Where: layers, heads and positions, on layouts made by hand."""

import numpy as np
import pytest
import torch

from vlmlens.errors import EmptySelectionError, UnknownRoleError
from vlmlens.layout import TokenLayout
from vlmlens.select import Where, chosen

ROLES = {"b": "bos", "t": "template", "v": "vision", "u": "user", "a": "assistant", ".": "pad"}


def layout(letters: str) -> TokenLayout:
    """A layout from one letter a position; ``.`` is padding."""
    roles = tuple(ROLES[letter] for letter in letters)
    vision = np.array([role == "vision" for role in roles])
    column = np.where(vision, vision.cumsum() - 1, -1)
    zero = np.where(vision, 0, -1)
    return TokenLayout(roles, tuple(letters), zero, zero, column, np.full((len(roles), 4), np.nan))


SHORT, LONG = layout("..bvvut"), layout("bvvuuut")
STREAM, HEADS = ("batch", "pos", "d_model"), ("batch", "pos", "kv_head", "d_head")
PATTERN = ("batch", "head", "query", "key")


def picked(mask):
    return [row.nonzero()[:, 0].tolist() for row in mask.flatten(1)]


@pytest.mark.parametrize(
    ("wanted", "short", "long"),
    [
        ("vision", [3, 4], [1, 2]),
        ("user", [5], [3, 4, 5]),
        (("bos", "user"), [2, 5], [0, 3, 4, 5]),
        ("last", [6], [6]),
        (0, [2], [0]),  # padding does not count
        (1, [3], [1]),
        (-1, [6], [6]),
        (-2, [5], [5]),
        ((0, "last", "vision"), [2, 3, 4, 6], [0, 1, 2, 6]),
        (-5, [2], [2]),
    ],
)
def test_positions_are_each_samples_own(wanted, short, long):
    mask = Where(positions=wanted).mask(STREAM, (2, 7, 8), [SHORT, LONG])
    assert mask.shape == (2, 7, 1)
    assert picked(mask) == [short, long]


def test_last_is_the_last_of_its_own_under_either_padding():
    assert chosen(layout("bvvut.."), "last").nonzero()[0].tolist() == [4]
    assert chosen(layout("bvvut.."), -1).nonzero()[0].tolist() == [4]
    assert chosen(layout("bvvut.."), 2).nonzero()[0].tolist() == [2]
    assert chosen(SHORT, 2).nonzero()[0].tolist() == [4]


def test_everywhere_is_no_mask_at_all():
    assert Where().mask(STREAM, (2, 7, 8), [SHORT, LONG]) is None
    assert Where(layers=3).mask(STREAM, (2, 7, 8), [SHORT, LONG]) is None


def test_heads():
    mask = Where(heads=(0, -1)).mask(PATTERN, (2, 4, 7, 7), [SHORT, LONG])
    assert mask.shape == (1, 4, 1, 1)
    assert mask.flatten().tolist() == [True, False, False, True]
    grouped = Where(heads=1).mask(HEADS, (2, 7, 2, 8), [SHORT, LONG])
    assert grouped.shape == (1, 1, 2, 1)
    assert grouped.flatten().tolist() == [False, True]


def test_heads_queries_and_keys_are_all_meant_at_once():
    where = Where(heads=2, queries="user", keys="vision")
    mask = where.mask(PATTERN, (2, 4, 7, 7), [SHORT, LONG]).expand(2, 4, 7, 7)
    assert mask.sum() == 1 * 2 + 3 * 2
    for row, own in enumerate((SHORT, LONG)):
        for head in range(4):
            expected = np.outer(own.mask("user"), own.mask("vision")) & (head == 2)
            assert (mask[row, head].numpy() == expected).all()


def test_while_decoding_the_newest_positions_are_the_last_ones():
    grown = [own.extended(["a"]) for own in (SHORT, LONG)]
    # one query, the newest; all keys
    mask = Where(queries="last", keys="vision").mask(PATTERN, (2, 4, 1, 8), grown)
    assert mask.shape == (2, 1, 1, 8)
    assert picked(mask) == [[3, 4], [1, 2]]
    assert Where(positions="assistant").mask(STREAM, (2, 1, 8), grown).all()
    assert not Where(positions="vision").mask(STREAM, (2, 1, 8), grown).any()
    # a sliding window that remembers the last five keys
    window = Where(keys="vision").mask(PATTERN, (2, 4, 1, 5), grown)
    assert picked(window) == [[0, 1], []]


def test_layers():
    where = Where(layers=(0, -1))
    assert [where.has_layer(layer, 3) for layer in range(3)] == [True, False, True]
    assert Where(layers=range(1, 3)).has_layer(2, 3)
    assert Where().has_layer(7, 3)
    assert where.has_layer(None, 3)  # hook_embed belongs to no block


@pytest.mark.parametrize("layers", [3, -4, (0, 3), ()])
def test_a_layer_that_is_not_there(layers):
    with pytest.raises(EmptySelectionError, match="layer"):
        Where(layers=layers).has_layer(0, 3)


@pytest.mark.parametrize(
    ("where", "axes", "message"),
    [
        (Where(heads=4), PATTERN, "no head 4: there are 4"),
        (Where(heads=2), HEADS, "no kv_head 2: there are 2"),
        (Where(heads=()), PATTERN, "no head is selected"),
        (Where(heads=0), STREAM, "axes batch pos d_model"),
        (Where(keys="vision"), STREAM, "along 'key'"),
        (Where(positions="vision"), PATTERN, "along 'pos'"),
        (Where(positions="vision"), ("image", "pos", "d_model"), "inside the vision tower"),
        (Where(positions="assistant"), STREAM, "this input has: bos, template, user, vision"),
        (Where(positions=("vision", "assistant")), STREAM, "this input has"),
        (Where(positions=()), STREAM, "no position is selected"),
        (Where(positions=5), STREAM, "no position 5: there are 5"),  # the shorter sample has 5
        (Where(keys=-6), PATTERN, "no position -6"),
    ],
)
def test_what_would_touch_nothing_raises(where, axes, message):
    sizes = {"batch": 2, "image": 2, "pos": 7, "head": 4, "kv_head": 2, "query": 7, "key": 7}
    shape = [sizes.get(axis, 8) for axis in axes]
    with pytest.raises(EmptySelectionError, match=message):
        where.mask(axes, shape, [SHORT, LONG])


def test_a_role_that_no_sample_but_one_plays():
    with pytest.raises(EmptySelectionError, match="vision"):
        Where(positions="vision").mask(STREAM, (2, 7, 8), [LONG, layout("btuuutt")])


def test_a_word_that_is_no_role_is_met_with_the_words_that_are():
    with pytest.raises(UnknownRoleError, match="vision"):
        Where(positions="vison").mask(STREAM, (2, 7, 8), [SHORT, LONG])
    with pytest.raises(UnknownRoleError, match="did you mean last"):
        Where(positions="lst").mask(STREAM, (2, 7, 8), [SHORT, LONG])


def test_selections_are_values():
    assert Where(layers=(0, 1), keys="vision") == Where(layers=(0, 1), keys="vision")
    assert hash(Where(heads=2)) == hash(Where(heads=2))
    assert Where(heads=2) != Where(heads=1)
    assert torch.equal(
        Where(keys="user").mask(PATTERN, (2, 4, 7, 7), [SHORT, LONG]),
        Where(keys=("user",)).mask(PATTERN, (2, 4, 7, 7), [SHORT, LONG]),
    )


def test_neurons_and_patches_are_entries_of_their_own_axes():
    hidden, tower = ("batch", "pos", "d_mlp"), ("image", "pos", "d_model")
    mask = Where(neurons=(0, -1)).mask(hidden, (2, 7, 5), [SHORT, LONG])
    assert mask.tolist() == [[[True, False, False, False, True]]]
    both = Where(neurons=1, positions="vision").mask(hidden, (2, 7, 5), [SHORT, LONG])
    assert (
        both.any(-1).tolist()
        == Where(positions="vision").mask(hidden, (2, 7, 5), [SHORT, LONG])[..., 0].tolist()
    )
    assert both.sum(-1).max() == 1
    assert Where(patches=2).mask(tower, (3, 4, 8), [SHORT, LONG])[0, :, 0].tolist() == [0, 0, 1, 0]
    packed = Where(patches=range(2)).mask(("patch", "d_model"), (4, 8), [SHORT, LONG])
    assert packed[:, 0].tolist() == [True, True, False, False]
    projected = Where(patches=-1).mask(("image", "patch", "d_model"), (2, 3, 8), [SHORT, LONG])
    assert projected[0, :, 0].tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("where", "axes", "message"),
    [
        (Where(neurons=5), ("batch", "pos", "d_mlp"), "no neuron 5: there are 5"),
        (Where(neurons=0), STREAM, "along 'neuron'"),
        (Where(patches=0), STREAM, "along 'patch'"),
        (Where(patches=9), ("image", "pos", "d_model"), "no patch 9"),
    ],
)
def test_neurons_and_patches_that_are_not_there(where, axes, message):
    with pytest.raises(EmptySelectionError, match=message):
        where.mask(axes, (2, 7, 5), [SHORT, LONG])
