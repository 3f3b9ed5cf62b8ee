"""Edits hold while decoding with the cache: token by token and in one pass, the same logits."""

import pytest
import torch
from closeness import assert_apart, assert_close

import vlmlens as vl
from vlmlens import interventions as edits
from vlmlens.positions import Region, Role, Row


@pytest.fixture(scope="module")
def vlm(any_vlm):
    """Models of different kinds, in place of the two LLaVAs."""
    return any_vlm


VISION = vl.Where(positions="vision")
LATE = vl.Where(layers=-1)
EVERY = {
    "AblateRope": [edits.AblateRope(of="keys", where=VISION), edits.AblateRope()],
    "CompressVision": [
        edits.CompressVision(rows=1, columns=2, position_ids="reindexed"),
        edits.CompressVision(rows=2, columns=1, repeat=True),
    ],
    "DropTokens": [edits.DropTokens(where=vl.Where(positions=Role("system") | Row(1)))],
    "Edit": [edits.Edit("blocks.*.hook_mlp_out", by=torch.tanh)],
    "InjectAt": [edits.InjectAt(layer=1)],
    "KnockOut": [edits.KnockOut(where=vl.Where(layers=0, keys=Region(0)))],
    "MovePositions": [edits.MovePositions(to="constant", rest="follow")],
    "NormalizeVision": [edits.NormalizeVision(kind="match_distribution")],
    "PermuteVision": [
        edits.PermuteVision(design="within rows", seed=1),
        edits.PermuteVision(moves="position ids"),
        edits.PermuteVision(point="blocks.*.attn.hook_rot_k", design="mirror"),
        edits.PermuteVision(point="blocks.*.attn.hook_v", design="flip"),
    ],
    "RotateRope": [edits.RotateRope(where=VISION), edits.RotateRope(of="queries", delta=0.5)],
    "Scale": [
        edits.Scale("blocks.*.attn.hook_v", VISION, by=0.5),
        edits.Scale("blocks.*.hook_resid_mid", by=1.5),
    ],
    "AddNoise": [
        edits.AddNoise("hook_embed", VISION),
        edits.AddNoise("blocks.0.hook_resid_post", VISION),
    ],
    "ScaleAttention": [edits.ScaleAttention(where=vl.Where(keys="vision"), by=2.0)],
    "SetPattern": [
        edits.SetPattern(to="uniform", where=LATE),
        edits.SetPattern(to="self", where=LATE),
        edits.SetPattern(to="first", where=vl.Where(layers=1)),  # seen there: no window
    ],
    "Steer": [
        edits.Steer("blocks.0.attn.hook_k", VISION, vector=edits.Stored.of(torch.tensor(0.5)))
    ],
    "ZeroAblate": [edits.ZeroAblate("blocks.*.attn.hook_z", vl.Where(heads=1))],
}
#: These hold what a run of the prompt alone saved; their own tests say what they do.
HOLDING_RUNS = {"MeanAblate", "PatchFrom", "PatchSubspace", "ResampleAblate"}


def test_every_kind_is_here():
    assert set(EVERY) | HOLDING_RUNS == set(edits.INTERVENTIONS)


@pytest.mark.parametrize("edit", [edit for same in EVERY.values() for edit in same], ids=str)
def test_what_is_said_token_by_token_is_what_one_pass_says(vlm, inputs, edit):
    told = vlm.generate(inputs, [edit], max_new_tokens=3, stop=False)
    whole = vlm.run(inputs.appended(told.tokens), [edit])
    start = len(inputs.layouts[0]) - 1
    for number, step in enumerate(told.steps):
        assert_close(step.logits[:, -1], whole.logits[:, start + number])
    assert_apart(told.steps[0].logits[:, -1], vlm.run(inputs).logits[:, -1])
