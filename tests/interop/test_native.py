"""Points as nnsight's own values, on a plain transformers model that vlmlens does not run."""

import copy
import os
import sys
from pathlib import Path

import pytest
import torch
from children import ran
from closeness import assert_apart

import vlmlens
from vlmlens.errors import UnknownPointError, UnreachedPointError
from vlmlens.interventions import Scale

nnsight = pytest.importorskip("nnsight")

from vlmlens.interop.native import UNREACHABLE, places  # noqa: E402


@pytest.fixture(scope="module")
def vlm(any_vlm):
    """Models of different kinds, in place of the two LLaVAs."""
    return any_vlm


@pytest.fixture(scope="module")
def plain(vlm):
    """A copy of the model that vlmlens never saw, as nnsight's users have it."""
    config = copy.deepcopy(vlm.hf_model.config)
    model = type(vlm.hf_model)(config)
    model.set_attn_implementation(dict(vlm.implementations.found))
    model.load_state_dict(vlm.hf_model.state_dict())
    return nnsight.NNsight(model.eval().requires_grad_(False))


@pytest.fixture(scope="module")
def order(vlm, inputs):
    """The points that can be reached, as nnsight comes by: a module's input before its parts."""
    table = places(vlm).table
    names = []

    def note(x, hook):
        if hook.name in table:
            names.append(hook.name)

    vlm.run_with_hooks(inputs, fwd_hooks=[(lambda name: True, note)])
    return tuple(names)


def test_every_point_has_a_place_or_a_reason(vlm):
    found = places(vlm)
    assert set(found.table) | set(found.reasons) == set(vlm.hook_dict) | set(vlm.absent)
    assert not set(found.table) & set(found.reasons)
    assert {vlm.hook_dict[name].tap.stage for name in found.table} >= {"in", "out", "query", "key"}


def test_reading(vlm, inputs, plain, order):
    found = places(vlm)
    _, saved = vlm.run_with_cache(inputs)
    with plain.trace(**inputs.tensors, use_cache=False):
        seen = nnsight.save([found.read(plain, name) for name in order])
    for name, value in zip(order, seen, strict=True):
        assert torch.equal(value, saved[name]), name


def test_writing(vlm, inputs, plain, order):
    found = places(vlm)
    ours = vlm.run(inputs, [Scale(point=name, by=0.9) for name in order]).logits
    with plain.trace(**inputs.tensors, use_cache=False):
        for name in order:
            found.write(plain, name, found.read(plain, name) * 0.9)
        logits = plain.output.logits.save()
    assert torch.equal(logits, ours)
    assert_apart(ours, vlm.run(inputs).logits)


@pytest.mark.parametrize("point", ["hook_resid_mid", "attn.hook_rot_k", "attn.hook_sin"])
def test_one_edit(vlm, inputs, plain, point):
    name = f"blocks.0.{point}"
    if name not in vlm.hook_dict:
        return
    found = places(vlm)
    with plain.trace(**inputs.tensors, use_cache=False):
        found.write(plain, name, found.read(plain, name) * 0.7)
        logits = plain.output.logits.save()
    assert torch.equal(logits, vlm.run(inputs, [Scale(point=name, by=0.7)]).logits)


def test_what_cannot_be_reached_says_why(vlm, inputs, plain):
    found = places(vlm)
    for point, stage in (("hook_pattern", "pattern"), ("hook_attn_scores", "scores")):
        with pytest.raises(UnreachedPointError, match=UNREACHABLE[stage][:30]):
            found.read(plain, f"blocks.0.attn.{point}")
    with pytest.raises(UnreachedPointError, match="hook_z"):
        found.write(plain, "blocks.0.attn.hook_result", torch.zeros(()))
    with pytest.raises(UnknownPointError, match="hook_embed"):
        found.read(plain, "hook_ebmed")
    for name in vlm.absent:
        with pytest.raises(UnreachedPointError):
            found.read(plain, name)


def test_the_same_places_from_a_model_without_weights(vlm):
    """A model that is too large to load is read off its configuration."""
    with torch.device("meta"):
        config = copy.deepcopy(vlm.hf_model.config)
        empty = type(vlm.hf_model)(config)
    empty.set_attn_implementation(dict(vlm.implementations.found))
    with type(vlm)(empty) as opened:
        assert places(opened) == places(vlm)


@pytest.mark.slow
def test_a_request_carries_all_that_it_needs():
    """nnsight's dry run of a remote request: sent as bytes, read where vlmlens is not."""
    script = Path(__file__).with_name("dry_run.py")
    root = str(Path(vlmlens.__file__).parents[1])
    done = ran(sys.executable, script, status=None, env=os.environ | {"PYTHONPATH": root})
    assert done.stdout.split() == ["True", "True"], done.stderr
