"""An nnsight trace and vlmlens see and change the same things, at every point."""

import re

import pytest
import torch
from as_users import as_users
from closeness import assert_apart
from conftest import QUESTIONS, TINY, build, picture

import vlmlens as vl
from vlmlens.errors import (
    ClosedModelError,
    EmptySelectionError,
    InputError,
    UnknownPointError,
    UnreachedPointError,
)
from vlmlens.interventions import (
    Edit,
    KnockOut,
    PatchFrom,
    PermuteVision,
    Scale,
    ScaleAttention,
    ZeroAblate,
)

nnsight = pytest.importorskip("nnsight")

from vlmlens.interop.nnsight import TracedVLM  # noqa: E402


@pytest.fixture(scope="module")
def vlm(any_vlm):
    """Models of different kinds, in place of the two LLaVAs."""
    return any_vlm


@pytest.fixture(scope="module")
def traced(vlm):
    with TracedVLM(vlm) as opened:
        yield opened


def logits_of(traced, inputs, *interventions):
    with traced.trace(inputs, interventions):
        logits = traced.output.logits.save()
    return logits  # noqa: RET504 (a trace has to end before it has run)


@pytest.fixture(scope="module")
def order(vlm, inputs):
    """Every point that comes by once, in the order in which one pass comes by."""
    names = []

    def note(x, hook):
        names.append(hook.name)

    vlm.run_with_hooks(inputs, fwd_hooks=[(lambda name: True, note)])
    assert set(names) == set(vlm.hook_dict)
    return tuple(name for name in names if names.count(name) == 1)


def test_a_trace_that_looks_at_everything_sees_what_vlmlens_saves(vlm, traced, inputs, order):
    clean, saved = vlm.run_with_cache(inputs)
    with traced.trace(inputs) as tracer:
        seen = [traced.at(name).value for name in order]
        logits = tracer.result.logits.save()
        seen = nnsight.save(seen)
    assert torch.equal(logits, clean)
    for name, value in zip(order, seen, strict=True):
        assert torch.equal(value, saved[name]), name


def test_an_edit_in_a_trace_is_the_edit_in_vlmlens(vlm, traced, inputs, order):
    """At every point at once: were one of them lost, the logits would tell."""
    ours = vlm.run(inputs, [Scale(point=name, by=0.9) for name in order]).logits
    with traced.trace(inputs) as tracer:
        for name in order:
            traced.at(name).value = traced.at(name).value * 0.9
        written = tracer.result.logits.save()
    with traced.trace(inputs) as tracer:
        for name in order:
            traced.at(name).value[:] *= 0.9
        in_place = tracer.result.logits.save()
    assert torch.equal(written, ours)
    assert torch.equal(in_place, ours)
    assert_apart(ours, vlm.run(inputs).logits)


#: One of every way in which a point lies at its module.
WAYS = (
    "hook_resid_mid",
    "attn.hook_cos",
    "attn.hook_rot_k",
    "attn.hook_pattern",
    "attn.hook_result",
)


@pytest.mark.parametrize("point", WAYS)
def test_one_edit(vlm, traced, inputs, point):
    """The same, one kind of point at a time, in the last block."""
    name = f"blocks.{vlm.layers - 1}.{point}"
    if name in vlm.absent:
        return

    def every_other(x):  # a common factor would be taken back where a norm follows
        x = x.clone()
        x[..., ::2] *= 0.7
        return x

    ours = vlm.run(inputs, [Edit(name, by=every_other)]).logits
    with traced.trace(inputs) as tracer:
        traced.at(name).value[..., ::2] *= 0.7
        logits = tracer.result.logits.save()
    assert torch.equal(logits, ours)
    assert_apart(ours, vlm.run(inputs).logits)


def test_several_edits_and_readings_in_one_trace(vlm, traced, inputs):
    with traced.trace(inputs) as tracer:
        traced.at("hook_embed").value[:, 3] = 0
        pattern = traced.at("blocks.0.attn.hook_pattern").value.save()
        traced.at("blocks.0.attn.hook_z").value *= 2
        post = traced.at("blocks.1.hook_resid_post").value.save()
        logits = tracer.result.logits.save()

    def zero(x, hook):
        return torch.cat([x[:, :3], torch.zeros_like(x[:, 3:4]), x[:, 4:]], 1)

    with vlm.hooks([("hook_embed", zero), ("blocks.0.attn.hook_z", lambda x, hook: x * 2)]):
        run = vlm.run(inputs, save=["blocks.0.attn.hook_pattern", "blocks.1.hook_resid_post"])
    assert torch.equal(logits, run.logits)
    assert torch.equal(pattern, run.saved["blocks.0.attn.hook_pattern"])
    assert torch.equal(post, run.saved["blocks.1.hook_resid_post"])


def test_every_intervention_can_be_applied(vlm, traced, inputs):
    said = {"system": "Answer in a word or two."}  # as in the inputs, or the prompts do not align
    others = vlm.inputs([picture(2), picture(3)], list(QUESTIONS), **said)
    other = vlm.run(others, save="projector.*")
    for interventions in (
        [KnockOut(where=vl.Where(layers=(0, 1), heads=1, keys="vision"))],
        [PermuteVision(seed=3), Scale(point="hook_embed", by=2.0)],
        [PatchFrom(point="projector.hook_out", source=other.saved)],
        [ZeroAblate(point="blocks.*.hook_mlp_out", where=vl.Where(positions="last"))],
    ):
        ours = vlm.run(inputs, interventions).logits
        assert torch.equal(logits_of(traced, inputs, *interventions), ours)
        assert_apart(ours, vlm.run(inputs).logits)


def test_a_trace_sees_what_interventions_made_and_edits_after_them(vlm, traced, inputs):
    with traced.trace(inputs, [Scale(point="hook_embed", by=2.0)]) as tracer:
        seen = traced.at("hook_embed").value.save()
        traced.at("hook_embed").value = seen + 1
        logits = tracer.result.logits.save()
    assert torch.equal(seen, 2 * vlm.run(inputs, save="hook_embed").saved["hook_embed"])
    with vlm.hooks([("hook_embed", lambda x, hook: x * 2 + 1)]):
        assert torch.equal(logits, vlm.run(inputs).logits)


def test_an_intervention_by_hand(vlm, traced, inputs):
    """A point knows its site, so an intervention can be applied to what a trace computed."""
    cut = KnockOut(where=vl.Where(keys="vision"))
    with traced.trace(inputs) as tracer:
        scores = traced.at("blocks.1.attn.hook_attn_scores")
        scores.value = cut.apply(scores.value, scores.site)
        logits = tracer.result.logits.save()
    ours = vlm.run(inputs, [KnockOut(where=vl.Where(layers=1, keys="vision"))]).logits
    assert torch.equal(logits, ours)


def test_points_and_modules_in_one_trace(vlm, traced, inputs):
    """nnsight's own envoys are where they always were."""
    path = f"{vlm.family.lm_layers}.0"
    with traced.trace(inputs):
        entered = traced.get(path).input.save()
        mixed = traced.at("blocks.0.attn.hook_z").value.save()
        left = traced.at("blocks.0.hook_resid_post").value.save()
    saved = vlm.run(inputs, save="blocks.0.*").saved
    assert torch.equal(entered, saved["blocks.0.hook_resid_pre"])
    assert torch.equal(mixed, saved["blocks.0.attn.hook_z"])
    assert torch.equal(left, saved["blocks.0.hook_resid_post"])


def test_gradients(vlm, traced, inputs, order):
    """Of a loss with respect to every point; the same as with respect to what vlmlens saves."""
    run = vlm.run(inputs, save=order, grad=True)
    ours = torch.autograd.grad(run.logits.square().mean(), list(run.saved.values()))
    ours = dict(zip(run.saved, ours, strict=True))
    with traced.trace(inputs, grad=True) as tracer:
        seen = [traced.at(name).value for name in order]
        loss = tracer.result.logits.square().mean()
        grads = nnsight.save(torch.autograd.grad(loss, seen))
    for name, grad in zip(order, grads, strict=True):
        torch.testing.assert_close(grad, ours[name], rtol=1e-4, atol=1e-6, msg=name)
        assert grad.abs().max() > 0, name


def test_nnsights_own_backward(vlm, traced, inputs):
    name = "blocks.0.attn.hook_pattern"
    with traced.trace(inputs, grad=True) as tracer:
        pattern = traced.at(name).value
        loss = tracer.result.logits.square().mean()
        with loss.backward():
            grad = pattern.grad.save()
    vlm.hf_model.zero_grad()
    run = vlm.run(inputs, save=name, grad=True)
    (ours,) = torch.autograd.grad(run.logits.square().mean(), [run.saved[name]])
    torch.testing.assert_close(grad, ours)


def test_what_a_trace_refuses(vlm, traced, inputs, order):
    with pytest.raises(UnknownPointError, match="hook_pattern"):
        traced.at("blocks.0.attn.hook_patern")
    with pytest.raises(InputError, match="one point at a time"):
        traced.at("blocks.*.attn.hook_pattern")
    for name in set(vlm.hook_dict) - set(order):
        with pytest.raises(UnreachedPointError, match="several times"):
            traced.at(name)
    for name, reason in vlm.absent.items():
        with pytest.raises(UnknownPointError, match=re.escape(reason)):
            traced.at(name)
    with pytest.raises(InputError, match="inside a trace"):
        print(traced.at("hook_embed").value)
    with pytest.raises(InputError, match="native"):
        traced.trace(inputs, remote=True)
    with pytest.raises(UnreachedPointError, match="order"), traced.trace(inputs):
        traced.at("blocks.1.hook_resid_pre").value.save()
        traced.at("hook_embed").value.save()
    text_only = vlm.inputs_from(torch.tensor([[41, 42, 43]]))
    with pytest.raises(UnreachedPointError, match="never reached it"), traced.trace(text_only):
        traced.at("projector.hook_out").value.save()
    with pytest.raises(UnreachedPointError, match="no image"):
        logits_of(traced, text_only, Scale(point="projector.hook_out", by=2.0))
    with pytest.raises(EmptySelectionError):
        logits_of(traced, inputs, KnockOut(where=vl.Where(keys="assistant")))
    with pytest.raises(InputError, match="was written"), traced.trace(inputs):
        traced.at("hook_embed").value = torch.zeros(3)
    with pytest.raises(ZeroDivisionError), traced.trace(inputs):
        traced.at("hook_embed").value[:] = 1 / 0


@pytest.mark.parametrize(("queries", "keys"), [("vision", "last"), ("last", "vision"), (0, -1)])
def test_a_trace_refuses_what_cannot_act_as_a_run_does(vlm, traced, inputs, queries, keys):
    where = vl.Where(queries=queries, keys=keys)
    pattern = "blocks.*.attn.hook_pattern"
    for edit in (
        KnockOut(where=where),
        ScaleAttention(by=2.0, where=where),
        ZeroAblate(pattern, where),
    ):
        try:
            ours = vlm.run(inputs, edit).logits
        except EmptySelectionError as error:
            with pytest.raises(EmptySelectionError, match=re.escape(str(error))):
                logits_of(traced, inputs, edit)
        else:
            assert torch.equal(logits_of(traced, inputs, edit), ours)


def test_a_trace_refuses_steps_that_never_come_and_what_is_no_intervention(traced, inputs):
    with pytest.raises(InputError, match="of which none comes"):
        logits_of(traced, inputs, Scale("hook_embed", vl.Where(steps="decode"), by=2.0))
    with as_users(), pytest.raises(InputError, match="no intervention"):
        logits_of(traced, inputs, "hook_embed")
    with as_users(), pytest.raises(InputError, match="takes inputs"):
        logits_of(traced, [picture(0)])


def test_nothing_outlives_a_trace(vlm, traced, inputs):
    clean = vlm.run(inputs).logits
    with pytest.raises(ZeroDivisionError), traced.trace(inputs):
        traced.at("blocks.0.attn.hook_pattern").value[:] = 1 / 0
    assert not any(point.has_hooks() for point in vlm.hook_points())
    assert vlm.context_level == 0
    assert torch.equal(vlm.run(inputs).logits, clean)


def test_closing_leaves_the_model_as_it_was_found():
    model, processor = build(next(iter(TINY)))
    found = {module: set(vars(module)) for module in model.modules()}
    with vl.HookedVLM(model, processor) as vlm:
        vlm.run(vlm.inputs([picture(0)], ["Where?"]))  # transformers marks its modules, too
        opened = {module: set(vars(module)) for module in model.modules()}
        with TracedVLM(vlm) as traced:
            assert any(set(vars(module)) != opened[module] for module in model.modules())
            logits_of(traced, vlm.inputs([picture(0)], ["Where?"]))
        assert all(set(vars(module)) == opened[module] for module in model.modules())
    assert all(set(vars(module)) >= found[module] for module in model.modules())
    with pytest.raises(ClosedModelError):
        TracedVLM(vlm)
