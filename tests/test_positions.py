"""Selections of positions, on layouts made by hand: the algebra, and what is impossible."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlmlens import positions
from vlmlens.errors import EmptySelectionError, InputError, UnknownRoleError
from vlmlens.layout import TokenLayout
from vlmlens.positions import (
    At,
    Box,
    Cell,
    Column,
    Region,
    Role,
    Row,
    Text,
    as_selection,
    chosen,
    indices,
)
from vlmlens.select import Where, as_steps

WORDS = [
    "",
    "<s>",
    "",
    "",
    "",
    "",
    "",
    "",
    "Is",
    " the",
    " red",
    " square",
    " left",
    " of",
    "?",
    ":",
]


def sample(pad: int = 1) -> TokenLayout:
    """Padding, a start token, an image of 2 x 3 tokens of 10 pixels each, a question, a tag."""
    roles = ("pad",) * pad + ("bos",) + ("vision",) * 6 + ("user",) * 7 + ("template",)
    size = len(roles)
    image, row, column = (np.full(size, -1) for _ in range(3))
    box = np.full((size, 4), np.nan)
    here = np.arange(6) + pad + 1
    image[here] = 0
    row[here], column[here] = np.divmod(np.arange(6), 3)
    box[here] = np.stack([column[here], row[here], column[here] + 1, row[here] + 1], 1) * 10.0
    return TokenLayout(roles, tuple(["<pad>"] * (pad - 1) + WORDS), image, row, column, box)


LAYOUT = sample()


def at(wanted):
    return chosen(LAYOUT, wanted).nonzero()[0].tolist()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Row(0), [2, 3, 4]),
        (Row(-1), [5, 6, 7]),
        (Column(1), [3, 6]),
        (Column((0, 2)), [2, 4, 5, 7]),
        (Column(range(1, 3)), [3, 4, 6, 7]),
        (Column((0.0, 0.5)), [2, 3, 5, 6]),
        (Cell(1, 2), [7]),
        (Region(rows=1, columns=(0, 1)), [5, 6]),
        (Region(), [2, 3, 4, 5, 6, 7]),
        (Region(image=0), [2, 3, 4, 5, 6, 7]),
        (Box(0, 0, 10, 10), [2]),
        (Box(5, 5, 15, 15), [2, 3, 5, 6]),
        (Box(20, 0, np.inf, np.inf), [4, 7]),  # as far as the picture goes
        (At(0), [1]),  # padding does not count
        (At(range(2)), [1, 2]),
        (At((-1, 0)), [1, 15]),
        (0.0, [1]),
        ((0.0, 0.1), [1, 2]),
        (Text("red"), [10]),
        (Text("red square"), [10, 11]),
        (Text("redsquare left"), [10, 11, 12]),
        (Role("last"), [15]),
        (Role("vision") & ~Row(0), [5, 6, 7]),
        (Row(0) | "last", [2, 3, 4, 15]),
        ("bos" | Row(1) & Column(0), [1, 5]),
        (~Role("user") & ~Role("vision"), [1, 15]),
        (~Role("system"), list(range(1, 16))),  # nobody plays it: everything but padding
        (("user", Row(0)), [2, 3, 4, *range(8, 15)]),
        (("user", Row(0)) & ~Text("red"), [2, 3, 4, 8, 9, 11, 12, 13, 14]),
    ],
    ids=repr,
)
def test_positions_that_are_meant(wanted, expected):
    assert at(wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Row(2), "no row 2: there are 2"),
        (Column(-4), "no column -4: there are 3"),
        (Cell(0, 3), "no column 3: there are 3"),
        (Region(rows=()), "no row is selected"),
        (Region(image=1), "no image 1: there are 1"),
        (Box(40, 0, 50, 10), r"they see pixels 0\.\.30 across and 0\.\.20 down"),
        (At(15), "no position 15: there are 15"),
        (At(2.0), "fractions lie between"),
        (Text("blue"), "no tokens spell 'blue'; there is: <s> Is the red square left of"),
        (Text("squ"), "no tokens spell"),  # a part of a token
        (Role("assistant"), "this input has: bos, template, user, vision"),
        (Role("vision") & Role("user"), r"Role\('vision'\) & Role\('user'\) means no position"),
        (Role("user") | Role("answer"), "no position plays the role assistant"),
        (~Region() & Region(), "means no position here"),
        (~Row(7), "no row 7"),
    ],
    ids=repr,
)
def test_positions_that_are_impossible(wanted, message):
    with pytest.raises(EmptySelectionError, match=message):
        at(wanted)


def test_without_an_image_there_are_no_cells():
    text = sample().__class__(
        ("bos", "user"), ("", ""), *(np.full(2, -1) for _ in range(3)), np.full((2, 4), np.nan)
    )
    with pytest.raises(EmptySelectionError, match="holds no image; this input has: bos, user"):
        chosen(text, Row(0))
    with pytest.raises(EmptySelectionError, match="without the tokens' text"):
        chosen(text, Text("red"))


def test_a_word_that_is_no_role_is_refused_at_once():
    with pytest.raises(UnknownRoleError, match="vision"):
        Role("visoin")
    with pytest.raises(InputError, match="roles, indices or selections"):
        as_selection(None)


def test_one_image_of_two():
    first, second = sample(), sample()
    both = TokenLayout(
        first.roles + second.roles,
        first.tokens + second.tokens,
        np.concatenate([first.image, np.where(second.image >= 0, 1, -1)]),
        np.concatenate([first.row, second.row]),
        np.concatenate([first.column, second.column]),
        np.concatenate([first.box, second.box]),
    )
    assert chosen(both, Cell(0, 0)).nonzero()[0].tolist() == [2, 18]
    assert chosen(both, Cell(0, 0, image=1)).nonzero()[0].tolist() == [18]
    assert chosen(both, Box(0, 0, 5, 5, image=-1)).nonzero()[0].tolist() == [18]


ATOMS = st.sampled_from(
    [Role("vision"), Role("user"), Row(0), Column((0, 1)), At((0, -1)), Text("red"), Role("last")]
)
# Trees of operators, built in the tests: type checks draw random numbers, strategies must not.
TREES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from("|&"), inner, inner), st.tuples(st.just("~"), inner)
    ),
    max_leaves=5,
)


def built(tree):
    if not isinstance(tree, tuple):
        return tree
    operator, *parts = tree
    first, *rest = map(built, parts)
    return ~first if operator == "~" else first | rest[0] if operator == "|" else first & rest[0]


OWN = np.array([role != "pad" for role in LAYOUT.roles])


def mask(selection):
    """Its mask, or none where a part means nothing, which raises."""
    try:
        return selection.mask(LAYOUT)
    except EmptySelectionError:
        return None


@pytest.mark.slow
@settings(max_examples=100)
@given(a=TREES, b=TREES)
def test_the_algebra_of_sets(a, b):
    a, b = built(a), built(b)
    one, other = mask(a), mask(b)
    if one is None or other is None or not (one.any() and other.any()):
        return
    assert ((a | b).mask(LAYOUT) == (one | other)).all()
    assert ((a & b).mask(LAYOUT) == (one & other)).all()
    assert ((~a).mask(LAYOUT) == (OWN & ~one)).all()
    assert ((~~a).mask(LAYOUT) == one).all()
    assert not one[~OWN].any()


@pytest.mark.parametrize(
    "selection",
    [Region(image=1), Region(columns=(0, 1)), Cell(1, 2, image=0), Box(0, 0, 5, 5.5, image=-1)],
    ids=repr,
)
def test_what_is_printed_is_all_that_it_is(selection):
    assert eval(repr(selection), vars(positions)) == selection


@settings(max_examples=100)
@given(TREES)
def test_they_print_as_they_are_written(tree):
    selection = built(tree)
    again = eval(repr(selection), vars(positions))
    assert repr(again) == repr(selection)
    assert hash(again) is not None
    found, expected = mask(again), mask(selection)
    assert (found is None and expected is None) or (found == expected).all()


@pytest.mark.parametrize(
    ("wanted", "size", "expected"),
    [
        (0.5, 4, [2]),
        (0.5, 5, [2]),
        (0.3, 5, [1]),
        (0.9, 4, [3]),
        (0.7, 4, [2]),
        (1.0, 4, [3]),
        ((0.0, 1.0), 3, [0, 1, 2]),
        ((0.25, 0.75), 8, [2, 3, 4, 5]),
        ((0.5, 1.0), 5, [3, 4]),
        ((0, 0.5, -1), 5, [0, 2, 4]),
        ([1, 2], 3, [1, 2]),
        (range(0, 6, 2), 6, [0, 2, 4]),
    ],
)
def test_numbers_ranges_and_fractions_of_an_axis(wanted, size, expected):
    assert indices(wanted, size, "layer") == expected


# Where.


def test_samples_and_steps():
    layouts = [sample(), sample()]
    axes, shape = ("batch", "pos", "d_model"), (2, 16, 4)
    where = Where(samples=1, positions=Row(0))
    found = where.mask(axes, shape, layouts)
    assert found[0].sum() == 0
    assert found[1].flatten().nonzero().flatten().tolist() == [2, 3, 4]
    with pytest.raises(EmptySelectionError, match="no sample 2: there are 2"):
        Where(samples=2).mask(axes, shape, layouts)
    steps = {
        None: [0, 1, 2],
        "prefill": [0],
        "decode": [1, 2],
        2: [2],
        (0, 2): [0, 2],
        ("prefill", 1): [0, 1],
        range(1, 3): [1, 2],
    }
    for asked, expected in steps.items():
        assert [s for s in range(3) if Where(steps=asked).has_step(s)] == expected
    for wrong in ("encode", -1, ()):
        with pytest.raises(EmptySelectionError, match="step"):
            Where(steps=wrong).has_step(0)
    assert as_steps(slice(1, 6, 2)) == range(1, 6, 2)  # typed in, annotations or not
    for unknown in (slice(1, None), slice(0, -1), slice(-2, 3), slice(3, 0, -1)):
        with pytest.raises(InputError, match="say both ends"):  # of how many, nobody knows
            as_steps(unknown)
    for wrong in (slice(0, 2.5), slice("a", 3), slice(0, True), slice(0, 3, 0)):
        with pytest.raises(InputError, match="a slice"):
            as_steps(wrong)


def test_a_sample_that_is_not_meant_need_not_have_what_is():
    blind = TokenLayout(
        ("user",) * 16, ("",) * 16, *(np.full(16, -1) for _ in range(3)), np.full((16, 4), np.nan)
    )
    axes, shape = ("batch", "pos", "d_model"), (2, 16, 4)
    assert Where(samples=0, positions="vision").mask(axes, shape, [sample(), blind]).sum() == 6
    with pytest.raises(EmptySelectionError, match="vision"):
        Where(positions="vision").mask(axes, shape, [sample(), blind])


def test_patches_are_the_images_tokens():
    layouts = [sample(), sample()]
    axes, shape = ("image", "patch", "d_model"), (2, 6, 4)
    found = Where(positions=Row(1), samples=0).mask(axes, shape, layouts)
    assert found[..., 0].tolist() == [[False] * 3 + [True] * 3, [False] * 6]
    with pytest.raises(EmptySelectionError, match="3 x 6 patches"):
        Where(positions="vision").mask(axes, (3, 6, 4), layouts)
    with pytest.raises(EmptySelectionError, match="3 pictures are here for 2 images"):
        Where(samples=0).mask(axes, (3, 6, 4), layouts)
    with pytest.raises(EmptySelectionError, match="means no vision token"):
        Where(positions="user").mask(axes, shape, layouts)
    tower = Where(samples=1).mask(("image", "pos", "d_model"), (2, 7, 4), layouts)
    assert torch.equal(tower.flatten(), torch.tensor([False, True]))
