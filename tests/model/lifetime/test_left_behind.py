"""Nothing is left behind: by an interrupt, by who was dropped, by who was closed."""

import copy
import gc
import pickle
import random
import signal
import time
import weakref
from functools import partial

import pytest
import torch
from conftest import build, picture
from torch.utils.checkpoint import checkpoint

import vlmlens as vl
from vlmlens.cache import ActivationCache, Save
from vlmlens.errors import ClosedModelError, InputError, UnsupportedModelError
from vlmlens.interventions import (
    KnockOut,
    MeanAblate,
    PatchFrom,
    ResampleAblate,
    Scale,
    ZeroAblate,
)
from vlmlens.model import ResidualStream
from vlmlens.model.wiring.attention import SLOT, in_use

EDITS = (
    ZeroAblate("blocks.1.hook_mlp_out"),
    KnockOut(where=vl.Where(keys="vision")),
    Scale("vision.blocks.0.hook_resid_mid", by=2.0),
)
ROWS = Save("blocks.*.attn.hook_pattern", rows="last")
INTERRUPTS = 150


def asked(model):
    return model.inputs([picture(0)], ["What color is the circle?"])


def write(x, hook):
    x[..., 0] = 0


def on(model):
    """Everything that a pass puts on a model, as far as it is there."""
    modules = list(model.hf_model.modules())
    hooks = [
        h for m in modules for d in (m._forward_hooks, m._forward_pre_hooks) for h in d.values()
    ]
    configs = [model.config, *(getattr(model.config, k) for k in model.config.sub_configs)]
    return {
        "torch hooks": sum(hook.__module__.startswith("vlmlens") for hook in hooks),
        "points": sum(point.watched or point.has_hooks() for point in model.hook_points()),
        "catchers": sum(SLOT in vars(module) for module in modules),
        "forwards": sum("forward" in module.__dict__ for module in modules),
        "roads": [config._attn_implementation for config in configs],
        "level": int(model.context_level),
        "grad": torch.is_grad_enabled(),
    }


# Interrupts.


class Stop(BaseException):
    """What Ctrl-C raises, but no KeyboardInterrupt, which would end the tests."""


def interrupted(work, after):
    """Whether some work was interrupted so many seconds after it began."""

    def stop(number, frame):
        if armed:
            raise Stop

    armed = [True]
    usual = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        work()
        armed.clear()
    except Stop:
        return True
    finally:
        armed.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    return False


def within_hooks(model, inputs, prefill):
    with model.hooks([("blocks.1.hook_resid_mid", write)]):
        model.run(inputs, EDITS[:1], save=ROWS, attention="eager")


CALLS = (
    lambda model, inputs, prefill: model.run(inputs, EDITS, save="*"),
    lambda model, inputs, prefill: model.run(inputs, EDITS, save=ROWS, attention="eager"),
    lambda model, inputs, prefill: model.run(inputs, save="blocks.0.*", logits=False),
    lambda model, inputs, prefill: model.run_with_hooks(
        inputs, fwd_hooks=[("blocks.0.attn.hook_pattern", write)]
    ),
    lambda model, inputs, prefill: model.resume(prefill, [EDITS[:1], EDITS[1:2]]),
    lambda model, inputs, prefill: model.prefill(inputs, save="blocks.*.hook_resid_pre"),
    within_hooks,
)


# Where an interrupt falls into a finaliser, Python drops it and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_after_an_interrupt_at_any_moment_the_next_call_is_clean():
    drawn = random.Random(0)
    with vl.HookedVLM(*build("llava")) as model:
        inputs = asked(model)
        prefill = model.prefill(inputs)
        clean, before = model.run(inputs).logits, on(model)
        lasts = []
        for call in CALLS:
            call(model, inputs, prefill)
            start = time.perf_counter()
            call(model, inputs, prefill)
            lasts.append(time.perf_counter() - start)
        stopped = 0
        for _ in range(INTERRUPTS):
            number = drawn.randrange(len(CALLS))
            after = max(1e-5, drawn.random() * lasts[number])
            stopped += interrupted(lambda n=number: CALLS[n](model, inputs, prefill), after)
            assert torch.equal(model.run(inputs).logits, clean)
            assert on(model) == before
        assert stopped > INTERRUPTS / 10


def test_what_an_interrupt_leaves_does_not_act_and_goes_with_the_next_call(monkeypatch):
    """Where an interrupt comes while hooks are taken off, one after the other."""
    with vl.HookedVLM(*build("llava")) as model:
        inputs = asked(model)
        clean, before = model.run(inputs).logits, on(model)
        drop = type(model.hook_dict["hook_embed"]).drop
        monkeypatch.setattr(type(model.hook_dict["hook_embed"]), "drop", _stop)
        for call in CALLS[:-1]:
            with pytest.raises(Stop):
                call(model, inputs, None) if call not in CALLS[4:5] else model.run(inputs, EDITS)
        with pytest.raises(Stop), model.hooks([("blocks.1.hook_resid_mid", write)]):
            pass
        assert on(model) != before
        with torch.no_grad():
            assert torch.equal(model.hf_model(**inputs.tensors, use_cache=False).logits, clean)
        monkeypatch.setattr(type(model.hook_dict["hook_embed"]), "drop", drop)
        assert torch.equal(model.run(inputs).logits, clean)
        assert on(model) == before


def _stop(*_):
    raise Stop


def test_what_nobody_took_off_ends_with_its_call():
    """Where an interrupt comes before anything begins to be taken off."""
    point, left = "blocks.1.hook_resid_mid", []
    with vl.HookedVLM(*build("llava")) as model:
        inputs = asked(model)
        clean, before = model.run(inputs).logits, on(model)

        def leave(x):
            left.append(model.opened_level())
            level = left[0].__enter__()
            model.hook_dict[point].add_hook(write, level=level)
            left.append(model.implementations.take("eager"))
            left[1].__enter__()
            return x

        model.run(inputs, save=[Save("blocks.0.hook_resid_pre", reduce=leave)])
        assert on(model)["points"] == 1
        with torch.no_grad():
            plain = model.hf_model(**inputs.tensors, use_cache=False).logits
        torch.testing.assert_close(plain, clean, rtol=1e-3, atol=1e-3)  # eager, and no more
        assert torch.equal(model.run(inputs).logits, clean)
        assert on(model) == before


def test_a_context_that_is_open_is_not_healed_away():
    with vl.HookedVLM(*build("llava")) as model:
        inputs = asked(model)
        clean = model.run(inputs).logits
        with model.hooks([("blocks.1.hook_resid_mid", write)]), model.implementations.take("eager"):
            edited = model.run(inputs).logits
            assert not torch.equal(edited, clean)
            assert torch.equal(model.run(inputs).logits, edited)
            assert in_use(model.config.text_config) == "eager"
        assert torch.equal(model.run(inputs).logits, clean)


# Dropped, copied, closed.


def test_who_is_dropped_frees_the_model():
    hf_model, processor = build("llava")
    before = hf_model.training, hf_model.config._attn_implementation
    model = vl.HookedVLM(hf_model, processor)
    inputs = asked(model)
    clean = model.run(inputs).logits
    with pytest.raises(UnsupportedModelError, match="close that one"):
        vl.HookedVLM(hf_model, processor)
    model.add_hook("blocks.1.hook_resid_mid", write)
    gone = weakref.ref(model)
    del model
    assert gone() is None
    assert (hf_model.training, hf_model.config._attn_implementation) == before
    assert not any(
        m._forward_hooks or m._forward_pre_hooks
        for m in hf_model.model.modules()
        if SLOT in vars(m)
    )
    with torch.no_grad():
        assert torch.equal(hf_model(**inputs.tensors, use_cache=False).logits, clean)
    with vl.HookedVLM(hf_model, processor) as again:
        assert torch.equal(again.run(inputs).logits, clean)
        assert not any(point.watched for point in again.hook_points())


def test_who_is_dropped_within_a_cycle_frees_the_model_when_it_is_wanted():
    hf_model, processor = build("llava")
    model = vl.HookedVLM(hf_model, processor)
    model.me = [model]
    gc.disable()
    try:
        del model
        vl.HookedVLM(hf_model, processor).close()
    finally:
        gc.enable()


def test_a_model_and_its_weights_are_not_kept_alive():
    hf_model, processor = build("llava")
    model, gone = vl.HookedVLM(hf_model, processor), weakref.ref(hf_model)
    model.run(asked(model), EDITS, save="*")
    del model, hf_model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("hooked", [False, True], ids=["", "hooks on"])
def test_a_copy_of_a_watched_model_is_a_model(hooked):
    hf_model, processor = build("llava")
    with vl.HookedVLM(hf_model, processor) as model:
        inputs = asked(model)
        clean = model.run(inputs).logits
        if hooked:
            model.add_hook("blocks.1.hook_resid_mid", write)
        other = copy.deepcopy(hf_model)
        with torch.no_grad():
            assert torch.equal(other(**inputs.tensors, use_cache=False).logits, clean)
        with vl.HookedVLM(other, processor) as second:
            assert torch.equal(second.run(inputs).logits, clean)
            edited = second.run(inputs, EDITS).logits
        model.reset_hooks()
        assert torch.equal(model.run(inputs, EDITS).logits, edited)
        assert not other.config._attn_implementation.startswith("vlmlens")


def test_a_copy_of_the_wrapper_holds_a_copy_of_the_model():
    with vl.HookedVLM(*build("llava")) as model:
        inputs = asked(model)
        with copy.deepcopy(model) as other:
            assert other.hf_model is not model.hf_model
            assert torch.equal(other.run(inputs, EDITS).logits, model.run(inputs, EDITS).logits)
        model.add_hook("hook_embed", write)
        with pytest.raises(InputError, match="reset_hooks"):
            copy.deepcopy(model)


@pytest.mark.parametrize("send", [pickle.dumps, copy.copy, lambda m: torch.save(m, "/dev/null")])
def test_it_does_not_leave_its_process(send):
    with vl.HookedVLM(*build("llava")) as model, pytest.raises(InputError, match="from_pretrained"):
        send(model)


def test_a_closed_one_acts_on_nothing():
    hf_model, processor = build("llava")
    model = vl.HookedVLM(hf_model, processor)
    inputs = asked(model)
    clean = model.run(inputs).logits
    point = model.hook_dict["hook_embed"]
    model.close()
    for act in (
        lambda: model.add_hook("hook_embed", write),
        lambda: model.add_perma_hook("hook_embed", write),
        lambda: model.add_hook(lambda name: True, write, dir="bwd"),
        lambda: model.add_caching_hooks(),
        lambda: model.run_with_hooks(inputs, fwd_hooks=[("hook_embed", write)]),
        lambda: model.hooks([("hook_embed", write)]).__enter__(),
        lambda: point.add_hook(write),
        lambda: point.add_perma_hook(write),
        lambda: point.register_forward_hook(lambda *_: None),
        lambda: point.register_forward_pre_hook(lambda *_: None),
        lambda: copy.deepcopy(model),
        lambda: model.reuse().__enter__(),
    ):
        with pytest.raises(ClosedModelError):
            act()
    assert not any(point.watched for point in model.hook_points())
    with torch.no_grad():
        assert torch.equal(hf_model(**inputs.tensors, use_cache=False).logits, clean)
    model.close()


def test_a_context_that_ends_after_the_model_was_closed_changes_nothing():
    hf_model, processor = build("llava")
    usual = hf_model.config.text_config._attn_implementation
    model = vl.HookedVLM(hf_model, processor)
    with model.implementations.take("eager"), model.hooks([("hook_embed", write)]), model.reuse():
        model.close()
    assert hf_model.config.text_config._attn_implementation == usual
    assert not any(SLOT in vars(module) for module in hf_model.modules())


# Another model's.


@pytest.fixture(scope="module")
def two():
    """A model and one of the same shape with other weights, opened over a copy."""
    hf_model, processor = build("llava")
    other = copy.deepcopy(hf_model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.01)
    with vl.HookedVLM(hf_model, processor) as one, vl.HookedVLM(other, processor) as two:
        yield one, two


def test_another_models_prefill_is_refused(two):
    one, other = two
    prefill = one.prefill(asked(one))
    with pytest.raises(InputError, match="another model"):
        other.resume(prefill, [EDITS[:1]])
    with pytest.raises(InputError, match="another model"):
        other.prefill(asked(other), after=prefill)
    assert one.prefill(asked(one), after=prefill).shared > 0


@pytest.mark.parametrize("edit", [PatchFrom, MeanAblate, ResampleAblate])
def test_another_models_run_is_refused_unless_on_purpose(two, edit):
    one, other = two
    point = "blocks.1.hook_resid_pre"
    saved = one.run(asked(one), save=point).saved
    for source in (saved, one.prefill(asked(one), save=point).saved):
        with pytest.raises(InputError, match="another model"):
            other.run(asked(other), [edit(point, source=source)])
    one.run(asked(one), [edit(point, source=saved)])
    on_purpose = ActivationCache(dict(saved), saved.axes, saved.layouts)
    other.run(asked(other), [edit(point, source=on_purpose)])


def test_another_models_run_is_not_read_unless_on_purpose(two):
    one, other = two
    needs = vl.probes.lens_needs(one, rows="last")
    run, seen = other.run(asked(other), save="*"), other.run(asked(other), save=needs)
    for read in (
        lambda: one.stream(run.saved),
        lambda: ResidualStream(one, run.saved),
        lambda: vl.probes.logit_lens(seen, needs),
    ):
        with pytest.raises(InputError, match="what another model's run saved"):
            read()
    own = other.stream(run.saved).decompose_resid()
    on_purpose = ActivationCache(dict(run.saved), run.saved.axes, run.saved.layouts)
    assert torch.equal(one.stream(on_purpose).decompose_resid(), own)


def test_the_same_model_wrapped_again_is_no_other():
    hf_model, processor = build("llava")
    point = "blocks.1.hook_resid_pre"
    with vl.HookedVLM(hf_model, processor) as first:
        inputs = asked(first)
        prefill, saved = first.prefill(inputs), first.run(inputs, save=point).saved
    with vl.HookedVLM(hf_model, processor) as second:
        second.resume(prefill, [EDITS[:1]])
        second.run(inputs, [PatchFrom(point, source=saved)])
        elsewhere = ActivationCache(dict(saved), saved.axes, saved.layouts, "another process 1")
        second.run(inputs, [PatchFrom(point, source=elsewhere)])


# What is written on a configuration, which is not only one model's.

PATTERN = "blocks.1.attn.hook_pattern"


def reached(model, door):
    """The pattern, by a door that reads it."""
    inputs, seen = asked(model), []
    if door == "run":
        return model.run(inputs, save=PATTERN).saved[PATTERN]
    with model.hooks([(PATTERN, lambda x, hook: seen.append(x.clone()))]):
        model(inputs) if door == "hooks" else model.hf_model(**inputs.tensors, use_cache=False)
    return seen[0]


@pytest.mark.parametrize("door", ["run", "hooks", "transformers"])
def test_a_model_of_the_same_configuration_takes_nothing_along_when_it_is_closed(door):
    hf_model, processor = build("llava")
    with vl.HookedVLM(hf_model, processor) as model:
        before = reached(model, door)
        with vl.HookedVLM(type(hf_model)(hf_model.config), processor):
            assert torch.equal(reached(model, door), before)
        assert torch.equal(reached(model, door), before)
    assert hf_model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("door", ["run", "hooks", "transformers"])
def test_another_implementation_is_watched_too(door):
    hf_model, processor = build("llava")
    with vl.HookedVLM(hf_model, processor) as model:
        before = reached(model, door)
        hf_model.set_attn_implementation("eager")
        torch.testing.assert_close(reached(model, door), before)
        assert model.attention == "eager"
    assert hf_model.config._attn_implementation == "eager"  # as its user left it


# Gradients.


def test_gradient_checkpointing_under_hooks_is_refused():
    hf_model, processor = build("llava")
    with vl.HookedVLM(hf_model, processor) as model:
        inputs = asked(model)
        hf_model.train()
        # What transformers' switch calls, whatever its name.
        hf_model._set_gradient_checkpointing(True, partial(checkpoint, use_reentrant=False))
        model.run(inputs, grad=True).logits.sum().backward()  # nobody watches: as in transformers
        for watched in (
            lambda: model.run(inputs, EDITS, grad=True),
            lambda: model.run(inputs, save="hook_embed", grad=True),
            lambda: model.run_with_hooks(inputs, fwd_hooks=[("hook_embed", write)]),
        ):
            with pytest.raises(InputError, match="gradient_checkpointing_disable"):
                watched()
        model.run(inputs, EDITS)
        hf_model._set_gradient_checkpointing(False)
        model.run(inputs, EDITS, grad=True).logits.sum().backward()


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_copy_of_watched_attention_is_watched_by_nobody(copied):
    from vlmlens.model.wiring.attention import RowRequest, ask_rows, catcher_of, withdraw

    module = torch.nn.Linear(2, 2)
    request = RowRequest(torch.zeros(1, 1, dtype=torch.long), print)
    ask_rows(module, request)
    other = copied(module)
    assert catcher_of(module) is not None
    assert catcher_of(other) is None
    withdraw(other, request)  # of the copy: the original's is not touched
    assert catcher_of(module) is not None
    withdraw(module, request)
    assert catcher_of(module) is None
    assert SLOT not in vars(module)
