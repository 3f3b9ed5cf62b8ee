"""Nothing in a pass waits for the device: edits and savings run where tensors hold no data.

On the meta device any ``.item()``, ``.cpu()`` or index that depends on data raises, and here any
copy to it that a GPU would be waited for. transformers' own checks of the mask and of the
placeholders are put aside, and so is the tower.
"""

import sys
from dataclasses import replace

import pytest
import torch
from conftest import KINDS, QUESTIONS, build, picture
from torch.overrides import TorchFunctionMode
from transformers import masking_utils

import vlmlens as vl
from vlmlens import interventions, probes
from vlmlens.cache import Save
from vlmlens.interventions import INTERVENTIONS, Intervention
from vlmlens.probes import cmb, embedding, linear, norms, residual, rope, rows, sinks
from vlmlens.tensors import onto

MADE = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)
IMAGE = vl.Where(positions="vision")


class Copies(TorchFunctionMode):
    """Refuses copies from here to the device, by code of ours, that would be waited for."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if torch.is_tensor(found) and found.is_meta and found.numel():
            moved = func is torch.Tensor.to and not args[0].is_meta
            if func in MADE or (moved and not kwargs.get("non_blocking")):
                home = sys._getframe(1).f_globals["__name__"]
                assert not home.startswith(("vlmlens", __name__)), f"{home} waits for a copy"
        return found


@pytest.fixture(scope="module", params=KINDS)
def on_meta(request):
    """A model without data, inputs without data, and what a run of them saved."""
    model, processor = build(request.param)
    with (
        vl.HookedVLM(model, processor, name=request.param) as vlm,
        pytest.MonkeyPatch.context() as m,
    ):
        _ = vlm.rope, vlm.vision_rope  # read off the model while it has data
        inputs = vlm.inputs([picture(0), picture(1)], [QUESTIONS[0]] * 2, system="Be brief.")
        encode = model.base_model.get_image_features
        pixels = {n: t for n, t in inputs.tensors.items() if n.startswith(("pixel", "image"))}
        with torch.no_grad():
            features = encode(**pixels, return_dict=True)
        made = features.pooler_output
        features.pooler_output = (
            made.to("meta") if torch.is_tensor(made) else [x.to("meta") for x in made]
        )
        m.setattr(model.base_model, "get_image_features", lambda *args, **kwargs: features)
        m.setattr(masking_utils, "_ignore_causal_mask_sdpa", lambda *args, **kwargs: False)
        home = sys.modules[type(model).__module__]
        m.setattr(home, "torch_compilable_check", lambda *args, **kwargs: None)
        m.setattr(vl.HookedVLM, "device", torch.device("meta"))
        model.to("meta")
        yield vlm, inputs.to("meta")


def kept(vlm, inputs, *points):
    return vlm.run(inputs, save=points).saved


def edits(vlm, inputs):
    """One value at least of every intervention in the table."""
    source = kept(vlm, inputs, "hook_embed", "blocks.*.hook_resid_pre")
    stream = "blocks.1.hook_resid_pre"
    wide = source[stream].shape[-1]
    given = {
        "AblateRope": [{}],
        "AddNoise": [{"point": "hook_embed", "where": IMAGE}, {"point": stream}],
        "CompressVision": [{"repeat": True}, {"rows": 2, "columns": 2}],
        "DropTokens": [{"where": vl.Where(positions=(1, 2))}],
        "Edit": [{"point": stream, "by": torch.tanh, "where": IMAGE}],
        "InjectAt": [{"layer": 1}],
        "KnockOut": [{"where": vl.Where(queries="user", keys="vision", layers=1, heads=0)}],
        "MeanAblate": [{"point": stream, "source": source, "where": IMAGE}],
        "MovePositions": [{"shift": 2}],
        "NormalizeVision": [{"kind": kind} for kind in ("paper", "match_mean", "match_each")],
        "PatchFrom": [{"point": stream, "source": source, "where": vl.Where(positions="last")}],
        "PatchSubspace": [{"point": stream, "source": source, "basis": torch.eye(wide)[:, :2]}],
        "PermuteVision": [{}, {"point": stream}, {"moves": "position ids"}],
        "ResampleAblate": [{"point": stream, "source": source, "where": IMAGE}],
        "RotateRope": [{"where": IMAGE}, {"of": "queries", "planes": (0.0, 0.5)}],
        "Scale": [{"point": "blocks.*.attn.hook_result", "where": vl.Where(heads=1)}],
        "ScaleAttention": [{"by": 2.0, "where": vl.Where(keys="vision")}],
        "SetPattern": [{"to": to} for to in ("uniform", "self", "first")],
        "Steer": [{"point": stream, "vector": torch.ones(wide), "where": IMAGE}],
        "ZeroAblate": [{"point": "blocks.0.hook_mlp_out", "where": vl.Where(samples=0)}],
    }
    assert given.keys() == INTERVENTIONS.keys()
    return [getattr(interventions, name)(**each) for name, many in given.items() for each in many]


@pytest.mark.slow
def test_edits_wait_for_nothing(on_meta):
    vlm, inputs = on_meta
    for edit in edits(vlm, inputs):
        if type(edit).prepare is not Intervention.prepare and not edit.points:
            continue  # changes inputs, before the pass
        with Copies():
            assert vlm.run(inputs, [edit]).logits.is_meta, str(edit)


def test_what_probes_keep_waits_for_nothing(on_meta):
    vlm, inputs = on_meta
    asked = [cmb, embedding, linear, norms, residual, rope, rows, sinks]
    for module in asked:
        with Copies():
            saved = vlm.run(inputs, save=module.NEEDS).saved
        assert all(x.is_meta for x in saved.values())
    with Copies():
        vlm.run(inputs, save=probes.looks_needs(inputs))
        vlm.run(inputs, save=Save("blocks.*.hook_resid_pre", rows="last"))


def test_a_hook_that_waits_is_found_out(on_meta):
    vlm, inputs = on_meta
    waits = interventions.Edit("hook_embed", by=lambda x: x * x.abs().max().item())
    with pytest.raises(RuntimeError, match="item"):
        vlm.run(inputs, [waits])
    chooses = interventions.Edit("hook_embed", by=lambda x: x[x > 0].mean() + x)
    with pytest.raises((RuntimeError, NotImplementedError)):
        vlm.run(inputs, [replace(chooses)])


@pytest.mark.parametrize(
    "copy", [lambda x: x.to("meta"), lambda x: torch.tensor([1.0], device="meta")]
)
def test_a_copy_that_waits_is_found_out(copy):
    with Copies(), pytest.raises(AssertionError, match="waits for a copy"):
        copy(torch.ones(2))
    with Copies():
        assert onto(torch.ones(2), "meta").is_meta
