"""Labels, equality, hashes and traces; one's own."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor

import vlmlens as vl
from vlmlens import interventions as edits
from vlmlens.errors import InputError
from vlmlens.identity import value
from vlmlens.interventions import INTERVENTIONS, Intervention, Stored, label
from vlmlens.positions import Region, Role, Row


def cache():
    return vl.ActivationCache({"hook_embed": torch.ones(1, 2, 3)}, {})


def doubled(x: Tensor, by: float = 2.0) -> Tensor:
    return x * by


def one_of_each():
    vision = vl.Where(positions="vision")
    made = (
        edits.AblateRope(of="keys", where=vision),
        edits.AddNoise(point="hook_embed", by=2.0),
        edits.CompressVision(rows=2, columns=2),
        edits.DropTokens(where=vl.Where(positions=Row(0))),
        edits.Edit(point="hook_embed", by=partial(doubled, by=3.0)),
        edits.InjectAt(layer=2),
        edits.KnockOut(where=vl.Where(layers=(0, 1), queries="user", keys="vision")),
        edits.MeanAblate(point="hook_embed", source=cache()),
        edits.MovePositions(to="constant"),
        edits.NormalizeVision(kind="paper"),
        edits.PatchFrom(point="hook_embed", source=cache()),
        edits.PatchSubspace(point="hook_embed", source=cache(), basis=torch.eye(3)[:, :2]),
        edits.PermuteVision(seed=3, among=~Region(rows=(0, 1))),
        edits.ResampleAblate(point="hook_embed", source=cache(), seed=1),
        edits.RotateRope(delta=0.5, planes=(0.0, 0.25)),
        edits.Scale(point="hook_embed", where=vl.Where(positions="vision"), by=0.5),
        edits.ScaleAttention(where=vl.Where(keys="vision", steps="decode"), by=2.0),
        edits.SetPattern(to="uniform", where=vl.Where(layers=0.5)),
        edits.Steer(point="hook_embed", vector=torch.ones(3)),
        edits.ZeroAblate(point="blocks.*.hook_mlp_out", where=vl.Where(layers=2)),
    )
    return {type(edit).__name__: edit for edit in made}


SAVED = "ActivationCache(1 points, f7c88486)"
LABELS = {
    "AblateRope": "AblateRope(positions='vision', of='keys')",
    "CompressVision": "CompressVision(rows=2, columns=2)",
    "DropTokens": "DropTokens(positions=Row(0))",
    "AddNoise": "AddNoise(point='hook_embed', by=2.0)",
    "Edit": "Edit(point='hook_embed', by=doubled(by=3.0))",
    "InjectAt": "InjectAt(layer=2)",
    "KnockOut": "KnockOut(layers=(0, 1), queries='user', keys='vision')",
    "MeanAblate": f"MeanAblate(point='hook_embed', source={SAVED})",
    "MovePositions": "MovePositions(to='constant')",
    "NormalizeVision": "NormalizeVision(kind='paper')",
    "PatchFrom": f"PatchFrom(point='hook_embed', source={SAVED})",
    "PatchSubspace": (
        f"PatchSubspace(point='hook_embed', source={SAVED}, basis=Stored(3x2, 1360ae57))"
    ),
    "PermuteVision": "PermuteVision(seed=3, among=~Region(rows=(0, 1)))",
    "ResampleAblate": f"ResampleAblate(point='hook_embed', source={SAVED}, seed=1)",
    "RotateRope": "RotateRope(planes=(0.0, 0.25), delta=0.5)",
    "Scale": "Scale(point='hook_embed', positions='vision', by=0.5)",
    "ScaleAttention": "ScaleAttention(keys='vision', steps='decode', by=2.0)",
    "SetPattern": "SetPattern(layers=0.5)",
    "Steer": "Steer(point='hook_embed', vector=Stored(3, 192df049))",
    "ZeroAblate": "ZeroAblate(point='blocks.*.hook_mlp_out', layers=2)",
}
HOLDING_RUNS = ("MeanAblate", "PatchFrom", "PatchSubspace", "ResampleAblate")


def test_labels_say_what_differs_from_the_defaults():
    assert {name: str(edit) for name, edit in one_of_each().items()} == LABELS
    assert str(edits.PermuteVision()) == "PermuteVision()"
    assert set(LABELS) == set(INTERVENTIONS)


def test_a_list_is_labelled_in_its_order():
    made = one_of_each()
    both = [made["RotateRope"], made["InjectAt"]]
    assert label(both) == f"{LABELS['RotateRope']} + {LABELS['InjectAt']}"
    assert label(both[::-1]) != label(both)
    assert label([]) == "original"


def test_they_are_values():
    made = one_of_each()
    assert len({hash(edit) for edit in made.values()}) == len(made)
    for name, edit in one_of_each().items():
        assert edit != edits.Scale(point="nothing like it")
        if name not in (*HOLDING_RUNS, "Edit"):  # a run is equal to itself alone, so is a partial
            assert edit == made[name]
            assert hash(edit) == hash(made[name])
    patch = made["PatchFrom"]
    assert patch == edits.PatchFrom(point="hook_embed", source=patch.source)
    assert patch != one_of_each()["PatchFrom"]


def test_their_traces_are_the_same_in_every_process():
    made, again = one_of_each(), one_of_each()
    traces = [value(edit) for edit in made.values()]
    assert traces == [value(edit) for edit in again.values()]
    assert len(set(traces)) == len(traces)
    assert not any("0x" in text for text in traces)


def test_stored_tensors_are_known_by_what_they_hold():
    x = torch.arange(6.0).reshape(2, 3)
    assert Stored(x) == Stored(x.clone())
    assert Stored(x) != Stored(x.reshape(3, 2))
    assert Stored(x) != Stored(x.double())
    assert Stored(x) != Stored(x + 1e-6)
    assert repr(Stored(x, "leftness")).startswith("Stored('leftness', ")
    assert repr(Stored(x)).startswith("Stored(2x3, ")


def test_selections_print_as_they_are_written():
    where = vl.Where(layers=(0.25, 0.75), positions=Role("vision") & ~Row(0), samples=[0, 1])
    assert repr(where) == (
        "Where(layers=(0.25, 0.75), positions=Role('vision') & ~Row(0), samples=(0, 1))"
    )
    assert eval(repr(where), vars(vl.positions) | {"Where": vl.Where}) == where


@dataclass(frozen=True, eq=False)
class Push(Intervention):
    """What a researcher writes in an afternoon."""

    point: str = "blocks.*.hook_resid_post"
    vector: Tensor | None = None

    def edit(self, x, site):
        assert site.layer == 0
        return x + self.vector


def test_ones_own_intervention_needs_nothing_else(vlm, inputs):
    name = "blocks.0.hook_resid_post"
    vector = torch.linspace(-1, 1, vlm.config.get_text_config().hidden_size)
    push = Push(where=vl.Where(layers=0, positions="last"), vector=vector)
    before = vlm.run(inputs, save=name).saved[name]
    after = vlm.run(inputs, [push], save=name).saved[name]
    assert torch.equal(after[:, -1], before[:, -1] + vector)
    assert torch.equal(after[:, :-1], before[:, :-1])


def test_any_function_is_an_edit(vlm, inputs):
    doubling = edits.Edit(point="hook_embed", by=doubled)
    scaling = edits.Scale(point="hook_embed", by=2.0)
    assert torch.equal(vlm.run(inputs, [doubling]).logits, vlm.run(inputs, [scaling]).logits)
    with pytest.raises(InputError, match="shape, dtype and device stay"):
        vlm.run(inputs, [edits.Edit(point="hook_embed", by=torch.sum)])


def test_an_intervention_that_does_not_say_how_or_where(vlm, inputs):
    with pytest.raises(NotImplementedError, match="must say how it edits"):
        vlm.run(inputs, [Intervention(point="hook_embed")])
    with pytest.raises(InputError, match="has no point"):
        vlm.run(inputs, [edits.Scale(by=2.0)])
