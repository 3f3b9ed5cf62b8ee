"""What nobody reads is not computed: rows of logits, and blocks above the last that is watched."""

from functools import partial

import pytest
import torch
from conftest import QUESTIONS, picture

import vlmlens as vl
from vlmlens.cache import Save
from vlmlens.errors import InputError, UnreachedPointError
from vlmlens.interventions import Scale


def asked(model):
    return model.inputs([picture(0), picture(1)], list(QUESTIONS))


def test_rows_of_logits_are_those_rows(every_vlm):
    inputs = asked(every_vlm)
    whole = every_vlm.run(inputs).logits
    torch.testing.assert_close(every_vlm.run(inputs, logits="last").logits, whole[:, -1:])
    # Counted in each sample's own positions: padding is on the left of the shorter one.
    some = every_vlm.run(inputs, logits=(1, -2)).logits
    starts = [int(layout.mask("pad").sum()) for layout in inputs.layouts]
    for row, start in enumerate(starts):
        torch.testing.assert_close(some[row], whole[row, [start + 1, -2]])


def blocks_run(model, call):
    """How many of the language model's blocks a call runs."""
    ran = []
    blocks = model.hf_model.get_submodule(model.family.lm_layers)
    handles = [b.register_forward_hook(lambda *_, n=n: ran.append(n)) for n, b in enumerate(blocks)]
    try:
        made = call()
    finally:
        for handle in handles:
            handle.remove()
    return made, ran


def test_a_pass_ends_with_the_last_block_that_is_watched(every_vlm):
    inputs = asked(every_vlm)
    last = every_vlm.layers - 1
    cases = {
        "hook_embed": 1,
        "blocks.0.hook_resid_post": 1,
        "blocks.1.hook_mlp_out": 2,
        f"blocks.{last}.hook_resid_post": last + 1,
        "ln_final.hook_normalized": last + 1,
        "projector.hook_out": 0,
    }
    for point, expected in cases.items():
        whole = every_vlm.run(inputs, save=point).saved[point]
        ending = partial(every_vlm.run, inputs, save=point, logits=False)
        run, ran = blocks_run(every_vlm, ending)
        assert torch.equal(run.saved[point], whole)
        assert len(ran) == expected
        assert run.logits.shape[:2] == (2, 0)
    assert torch.equal(every_vlm.run(inputs).logits, every_vlm.run(inputs).logits)
    assert not any(point.watched for point in every_vlm.hook_dict.values())


def test_edits_and_rows_count_as_watched(vlm):
    inputs = asked(vlm)
    save = Save("blocks.*.attn.hook_pattern", rows="last")
    whole, run = (vlm.run(inputs, save=save, logits=logits) for logits in (True, False))
    for name, rows in whole.saved.items():
        assert torch.equal(run.saved[name], rows)
    edit = Scale(point="blocks.2.hook_resid_pre", by=2.0)
    _, ran = blocks_run(
        vlm, lambda: vlm.run(inputs, [edit], save="blocks.0.hook_mlp_out", logits=False)
    )
    assert len(ran) == 3


def test_what_cannot_end_early(vlm):
    inputs = asked(vlm)
    for save in ((), "hook_logits"):
        with pytest.raises(InputError, match="logits=False"):
            vlm.run(inputs, save=save, logits=False)
    text = vlm.inputs([vl.Sample("Hello?")])
    with pytest.raises(UnreachedPointError):
        vlm.run(text, save="projector.hook_out", logits=False)


def test_gradients_of_what_was_saved_flow_without_logits(vlm):
    ends = ("hook_embed", "blocks.1.hook_mlp_out")
    saved = vlm.run(asked(vlm), save=ends, logits=False, grad=True).saved
    (found,) = torch.autograd.grad(saved[ends[1]].sum(), saved[ends[0]])
    assert found.abs().sum() > 0
