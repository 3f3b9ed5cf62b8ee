"""What an intervention is made of is checked when it is made; slips end in our errors."""

from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch
from as_users import as_users

from vlmlens.cache import ActivationCache
from vlmlens.errors import InputError, UnknownKeywordError, VLMLensError
from vlmlens.interventions import (
    INTERVENTIONS,
    CompressVision,
    DropTokens,
    Edit,
    InjectAt,
    Intervention,
    MeanAblate,
    MovePositions,
    NormalizeVision,
    PatchFrom,
    PermuteVision,
    ResampleAblate,
    RotateRope,
    Scale,
    ScaleAttention,
    SetPattern,
    Steer,
    ZeroAblate,
    as_edits,
)
from vlmlens.select import Where


@pytest.fixture(autouse=True)
def unchecked():
    with as_users():
        yield


NEEDS = {DropTokens: {"where": Where(positions="vision")}}
NO_NUMBER = ("2", None, float("nan"), float("inf"), True, [1.0], {}, object(), 1j, torch.ones(2))
#: Values that no field of this annotation takes.
WRONG = {
    int: (*NO_NUMBER, 1.5, np.float32(1.5)),
    float: NO_NUMBER,
    int | float: NO_NUMBER,
    bool: (1, "yes", None, 0.0),
    str: (3, None, b"free", ["free"], torch.ones(1)),
    Where: ({"layers": 1}, "last", None, Where, 3, (0, 1)),
    ActivationCache | None: ({}, "run", 3, object()),
}


@pytest.mark.parametrize("kind", INTERVENTIONS.values(), ids=INTERVENTIONS)
def test_every_field_is_checked_by_what_it_is(kind):
    tried = 0
    for item in fields(kind):
        for wrong in WRONG.get(item.type, ()):
            if wrong is item.default:
                continue
            with pytest.raises(InputError, match=f"{item.name}="):
                kind(**(NEEDS.get(kind, {}) | {item.name: wrong}))
            tried += 1
    assert tried > 10


@pytest.mark.parametrize("kind", INTERVENTIONS.values(), ids=INTERVENTIONS)
def test_a_keyword_that_nobody_reads_is_refused(kind):
    with pytest.raises(UnknownKeywordError, match="wher'; did you mean where"):
        kind(wher=Where())
    with pytest.raises(UnknownKeywordError, match=r"say where=Where\(layers=...\)"):
        kind(layers=3)


@pytest.mark.parametrize(
    ("made", "plain"),
    [
        (lambda: Scale("hook_embed", by=np.float64(0.5)), Scale("hook_embed", by=0.5)),
        (lambda: Scale("hook_embed", by=torch.tensor(2)), Scale("hook_embed", by=2)),
        (lambda: PermuteVision(seed=np.int64(3)), PermuteVision(seed=3)),
        (
            lambda: PermuteVision(permutation=np.array([1, 0])),
            PermuteVision(permutation=(1, 0)),
        ),
        (lambda: PermuteVision(block=[1, 2]), PermuteVision(block=(1, 2))),
        (lambda: MovePositions(to=torch.tensor([0, 2])), MovePositions(to=(0, 2))),
        (lambda: MovePositions(shift=np.float32(1.5)), MovePositions(shift=1.5)),
        (
            lambda: Steer("hook_embed", vector=np.ones(3, dtype=np.float32)),
            Steer("hook_embed", vector=torch.ones(3)),
        ),
        (lambda: RotateRope(planes=np.array([0, 1])), RotateRope(planes=(0, 1))),
        (lambda: InjectAt(positions=np.array([1, 2])), InjectAt(positions=(1, 2))),
        (lambda: MeanAblate("hook_embed", over={1, 2}), MeanAblate("hook_embed", over=(1, 2))),
    ],
)
def test_numpys_and_torchs_numbers_are_numbers(made, plain):
    assert made() == plain
    assert str(made()) == str(plain)
    assert hash(made()) == hash(plain)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PermuteVision(seed=-1),
        lambda: ResampleAblate(seed=-1),
        lambda: PermuteVision(block=2),
        lambda: PermuteVision(block=(2,)),
        lambda: PermuteVision(block=(2, 0)),
        lambda: PermuteVision(permutation=(63.5, 0)),
        lambda: PermuteVision(permutation="reverse"),
        lambda: PermuteVision(design=["free"]),
        lambda: PermuteVision(among={}),
        lambda: PermuteVision(fraction=0),
        lambda: RotateRope(delta=2**25),
        lambda: RotateRope(planes="fast"),
        lambda: RotateRope(of=None),
        lambda: MovePositions(to="vision"),
        lambda: MovePositions(to=("a", 1)),
        lambda: MovePositions(to=(np.nan, 1)),
        lambda: MovePositions(rest=None),
        lambda: NormalizeVision(eps=-1),
        lambda: Steer("hook_embed", vector="up"),
        lambda: Steer("hook_embed", vector={"a": 1}),
        lambda: Steer("hook_embed", vector=torch.ones(3, dtype=torch.complex64)),
        lambda: Steer("hook_embed", vector=torch.ones(3, device="meta")),
        lambda: Steer("hook_embed", vector=torch.ones(3).to_sparse()),
        lambda: SetPattern(to=torch.eye(3).to_sparse()),
        lambda: SetPattern(to="unifrom"),
        lambda: SetPattern(to=None),
        lambda: Edit("hook_embed", by=3),
        lambda: PatchFrom("hook_embed", source={"hook_embed": torch.ones(1)}),
        lambda: InjectAt(layer=0),
        lambda: CompressVision(position_ids="keep"),
        lambda: ScaleAttention(by=np.array([1.0, 2.0])),
        lambda: ZeroAblate(point=["hook_embed", "blocks.0.hook_resid_post"]),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(make):
    with pytest.raises(VLMLensError):
        make()


@pytest.mark.parametrize(
    "wrong",
    [None, ZeroAblate, "ZeroAblate", 3, {"a": Scale()}, [Scale(), "x"], [Scale], [[Scale()]]],
)
def test_what_is_no_intervention_is_refused(wrong):
    with pytest.raises(InputError, match="is no intervention"):
        as_edits(wrong)


def test_one_intervention_is_a_list_of_one():
    assert as_edits(Scale()) == (Scale(),) == as_edits([Scale()]) == as_edits(x for x in [Scale()])


@dataclass(frozen=True)
class Clip(Intervention):
    """A user's own, whose default is no finite number."""

    low: float = -float("inf")
    layers_between: int = 1

    def edit(self, x, site):
        return x.clamp(min=self.low)


def test_ones_own_are_checked_as_well():
    assert Clip().low == -float("inf")
    assert Clip(low=np.float64(1)).low == 1.0
    with pytest.raises(InputError, match=r"layers_between=1\.5: a whole"):
        Clip(layers_between=1.5)
