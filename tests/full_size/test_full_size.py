"""Every family at the size of a real checkpoint: wired and run on shapes, without any weight."""

import pytest
import torch

import vlmlens as vl
from vlmlens.families import FAMILIES
from vlmlens.interventions import KnockOut
from vlmlens.model.audit.checks import plain_logits
from vlmlens.planning import drawn, full_size, weighing
from vlmlens.points import BLOCK_POINTS, SINGLE_POINTS
from vlmlens.zoo.opening.weightless import weightless

TEXT = 24


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_runs_at_full_size(name):
    model = weightless(name, full_size(name), torch.bfloat16)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) > 5e8
    with vl.HookedVLM(model, name=name) as vlm, weighing(model, {}):
        every_point_is_known(vlm)
        inputs = drawn(vlm, TEXT)
        (layout,) = inputs.layouts
        assert layout.roles.count("vision") == len(layout) - TEXT >= 64
        layer = attending(vlm)
        one_pass(vlm, inputs, layer)
        for part in ("vision.blocks", "blocks"):
            ends_of_a_part(vlm, inputs, part)
        logits = (1, len(layout), vlm.config.get_text_config().vocab_size)
        assert plain_logits(vlm, inputs).shape == logits
        cut = KnockOut(where=vl.Where(layers=layer, queries="user", keys="vision"))
        assert vlm.run(inputs, cut).logits.shape == logits
        kept = vlm.prefill(inputs)
        stream = (1, len(layout), vlm.config.get_text_config().hidden_size)
        assert {x.shape for x in kept.stream} == {stream}
        assert len(kept.stream) == vlm.layers + 1
        assert kept.logits.shape == (1, logits[-1])


def attending(vlm):
    """The deepest layer with all points of attention."""
    kept = [name for name in vlm.hook_dict if name.endswith("attn.hook_attn_scores")]
    return max(int(name.split(".")[1]) for name in kept if name.startswith("blocks."))


def every_point_is_known(vlm):
    """Every point of every block is there, or says why it is not."""
    blocks = vlm.layers + vlm.depth("vision.blocks")
    known = set(vlm.hook_dict) | set(vlm.absent)
    for part, depth in (("vision.blocks", vlm.depth("vision.blocks")), ("blocks", vlm.layers)):
        wanted = {f"{part}.{at}.{p.name}" for at in range(depth) for p in BLOCK_POINTS}
        assert wanted <= known
    assert {point.name for point in SINGLE_POINTS} <= known
    assert len(vlm.hook_dict) > 15 * blocks


def one_pass(vlm, inputs, layer):
    """What a pass saves has the axes of its points, and every axis of a part one size."""
    text = vlm.config.get_text_config()
    length = len(inputs.layouts[0])
    sizes = axes_of(vlm, inputs, [f"blocks.{layer}.*", "hook_embed", "ln_final.hook_normalized"])
    expected = {
        "batch": {1},
        **{key: {length} for key in ("pos", "query", "key")},
        "head": {text.num_attention_heads},
        "d_model": {text.hidden_size},
    }
    assert {axis: sizes[axis] for axis in expected} == expected


def ends_of_a_part(vlm, inputs, part):
    """What an audit compares in the first and the last block of a part is of one shape."""
    for at in {0, vlm.depth(part) - 1}:
        block = f"{part}.{at}"
        assert axes_of(vlm, inputs, [f"{block}.*"]), block
        stream = {f"{block}.hook_{n}" for n in ("resid_pre", "attn_out", "mlp_out", "resid_post")}
        saved = vlm.run(inputs, save=sorted(stream & set(vlm.hook_dict))).saved
        assert len({tensor.shape for tensor in saved.values()}) == 1, block


def axes_of(vlm, inputs, patterns):
    """The sizes of every axis, over all points of these names; the points have these axes."""
    # What a norm divides by is read off what it does, which takes its weights.
    wanted = [n for pattern in patterns for n in vlm.matching(pattern)]
    saved = vlm.run(inputs, save=[n for n in wanted if not n.endswith("hook_scale")]).saved
    sizes: dict[str, set[int]] = {}
    for name, tensor in saved.items():
        axes = vlm.hook_dict[name].axes
        assert tensor.ndim == len(axes), name
        for axis, size in zip(axes, tensor.shape, strict=True):
            sizes.setdefault(axis, set()).add(size)
    return sizes
