"""What a newcomer writes by mistake works, or ends in one of our errors; never in silence."""

import numpy as np
import pytest
import torch
import xarray as xr
from as_users import as_users

from vlmlens import Save, Where
from vlmlens.errors import UnknownKeywordError, VLMLensError
from vlmlens.layout import TokenLayout
from vlmlens.positions import At, Box, Cell, Region, Role, Row, Text


@pytest.fixture(autouse=True)
def unchecked():
    with as_users():
        yield


def layout() -> TokenLayout:
    """Six tokens: bos, a 1 x 2 picture, three words."""
    roles = ("bos", "vision", "vision", "user", "user", "user")
    vision = np.array([role == "vision" for role in roles])
    column = np.where(vision, vision.cumsum() - 1, -1)
    zero = np.where(vision, 0, -1)
    return TokenLayout(roles, tuple("bvvuuu"), zero, zero, column, np.full((6, 4), np.nan))


#: Ways to write 1, and ways to write 1 and 3.
ONE = (1, np.int64(1), np.uint8(1), np.array(1), torch.tensor(1), xr.DataArray(1), (1,), {1}, [1])
TWO = (
    (1, 3),
    [3, 1],
    {3, 1},
    frozenset((1, 3)),
    range(1, 4, 2),
    slice(1, 4, 2),
    slice(np.int64(1), 4, 2),
    np.array([1, 3]),
    torch.tensor([1, 3]),
    xr.DataArray([1, 3]),
    (np.int64(1), torch.tensor(3)),
    {1: "a", 3: "b"}.keys(),
)
AXES, SHAPE = ("batch", "head", "query", "key"), (1, 6, 6, 6)


def meant(where: Where) -> list[int]:
    """Which of six a selection means, along the axis that it speaks of."""
    if where.layers is not None:
        return [layer for layer in range(6) if where.has_layer(layer, 6)]
    if where.steps is not None:
        return [step for step in range(6) if where.has_step(step)]
    if where.samples is not None:
        mask = where.mask(("batch", "pos"), (6, 6), [layout()] * 6)
    elif where.positions is not None:
        mask = where.mask(("batch", "pos"), (1, 6), [layout()])
    else:
        mask = where.mask(AXES, SHAPE, [layout()])
    return mask.flatten().nonzero()[:, 0].tolist()


FIELDS = ("layers", "heads", "samples", "positions", "queries", "keys", "steps")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("ways", "wanted"), [(ONE, [1]), (TWO, [1, 3])], ids=["one", "two"])
def test_numbers_are_numbers_however_they_are_held(field, ways, wanted):
    for way in ways:
        where = Where(**{field: way})
        assert meant(where) == wanted, way
        assert hash(where) == hash(Where(**{field: way}))
        assert where == Where(**{field: way})
        assert eval(repr(where), {"Where": Where, "slice": slice}) == where


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "wrong",
    [
        True,
        np.bool_(True),
        (0, True),
        np.array([True, False]),
        None.__class__,
        (None,),
        {"a": 1},
        float("nan"),
        "lst",
        b"1",
        slice("a", "b"),
        slice(0, 3, 0),
        object(),
        1j,
        torch.empty(2, device="meta"),
        lambda x: x,
    ],
    ids=lambda wrong: repr(wrong).partition(" at 0x")[0],
)
def test_what_names_no_place_is_refused_at_once(field, wrong):
    with pytest.raises(VLMLensError, match=rf"{field}|lst|no step|no numbers"):
        Where(**{field: wrong})


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("mask", [np.array([False, True]), torch.tensor([True, False]), [True]])
def test_a_mask_is_told_how_to_give_its_numbers(field, mask):
    with pytest.raises(VLMLensError, match=r"is a mask.*=np\.flatnonzero\(mask\)|no step"):
        Where(**{field: mask})


@pytest.mark.parametrize("field", FIELDS)
def test_all_is_everything(field):
    assert Where(**{field: "all"}) == Where() == Where(**{field: None})


@pytest.mark.parametrize("field", ["layers", "heads", "samples"])
def test_last_is_the_last(field):
    assert meant(Where(**{field: "last"})) == [5]
    assert meant(Where(**{field: (0, "last")})) == [0, 5]


@pytest.mark.parametrize("field", [field for field in FIELDS if field != "steps"])
@pytest.mark.parametrize("wrong", [6, -7, slice(0, 7), range(5, 8), (0, 6), -0.5, 1.5])
def test_what_is_out_of_range_is_named(field, wrong):
    name = {"positions": "position", "queries": "position", "keys": "position"}
    with pytest.raises(VLMLensError, match=f"no {name.get(field, field[:-1])} "):
        meant(Where(**{field: wrong}))


@pytest.mark.parametrize("wrong", [-1, 0.5, "prefil", slice(2, None), slice(-2, 3), range(-1, 3)])
def test_a_misspelt_step_is_refused(wrong):
    with pytest.raises(VLMLensError, match="step"):
        Where(steps=wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Row(True),
        lambda: Row(None),
        lambda: Region(rows="first"),
        lambda: Region(image=0.5),
        lambda: Cell(0, "a"),
        lambda: Cell(0.5, 0),
        lambda: Box("a", 0, 1, 1),
        lambda: Box(float("nan"), 0, 1, 1),
        lambda: At({}),
        lambda: Text(3),
        lambda: Role(3),
        lambda: Role("vision") & {},
        lambda: "vison" | Role("vision"),
        lambda: Save(3),
        lambda: Save("hook_embed", rows="visoin"),
        lambda: Save("hook_embed", reduce=3),
        lambda: Where(layer=1),
        lambda: Save("hook_embed", row=1),
        lambda: Region(row=1),
    ],
)
def test_selections_are_checked_when_they_are_made(make):
    with pytest.raises(VLMLensError):
        make()


def test_a_misspelt_keyword_is_met_with_the_nearest():
    with pytest.raises(UnknownKeywordError, match="layer'; did you mean layers"):
        Where(layer=1)
    with pytest.raises(TypeError):  # so that whoever catches Python's own still does
        Where(layer=1)


def test_an_edge_may_lie_as_far_as_the_picture_goes():
    assert Box(0, 0, float("inf"), np.float32(3)).bottom == 3
