"""Resuming is a shortcut and nothing else: the same numbers as whole passes."""

import pytest
import torch
from conftest import EVERY, QUESTIONS, picture

import vlmlens as vl
from vlmlens.interventions import KnockOut, PermuteVision, Scale, ZeroAblate
from vlmlens.zoo.tiny import build


@pytest.fixture(scope="module", params=EVERY)
def every_vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


def cells(model):
    last = model.layers - 1
    made = [
        [Scale(point=f"blocks.{layer}.hook_resid_pre", by=0.5, where=vl.Where(positions="last"))]
        for layer in range(model.layers)
    ]
    for layer in {0, last}:
        for role in ("user", "vision"):
            where = vl.Where(positions=role)
            made.append([Scale(point=f"blocks.{layer}.hook_mlp_out", by=3.0, where=where)])
    made += [
        [ZeroAblate(point="ln_final.hook_normalized", where=vl.Where(positions=-2))],
        [PermuteVision(seed=3)],
        [Scale(point="hook_embed", by=2.0, where=vl.Where(positions="user")),
         Scale(point=f"blocks.{last}.hook_resid_pre", by=0.5, where=vl.Where(positions="last"))],
        [Scale(point="projector.hook_out", by=2.0)],
        [],
    ]
    return made


def test_resuming_equals_whole_passes(every_vlm):
    inputs = every_vlm.inputs([picture(0)], [QUESTIONS[0]])
    kept = every_vlm.prefill(inputs)
    edits = cells(every_vlm)
    found = every_vlm.resume(kept, edits, positions=(-2, -1))
    for number, cell in enumerate(edits):
        whole = every_vlm.run(inputs, cell).logits[0, -2:]
        torch.testing.assert_close(found.logits[number], whole, atol=1e-5, rtol=1e-5, msg=lambda m: f"{cell} {found.cones[number]}: {m}")


def test_a_prefill_after_another_equals_a_whole_one(every_vlm):
    first, second = (every_vlm.inputs([picture(0)], [q]) for q in QUESTIONS)
    alone = every_vlm.prefill(second)
    after = every_vlm.prefill(second, after=every_vlm.prefill(first))
    print(every_vlm.name, after.shared, every_vlm.inputs([picture(0)], [QUESTIONS[1]]).layouts[0].mask("vision").nonzero()[0][-1])
    torch.testing.assert_close(after.logits, alone.logits, atol=1e-5, rtol=1e-5)
    edits = cells(every_vlm)
    a, b = (every_vlm.resume(p, edits, positions=(-2, -1)) for p in (alone, after))
    torch.testing.assert_close(a.logits, b.logits, atol=1e-5, rtol=1e-5)
    print(a.whole, set(a.cones))
