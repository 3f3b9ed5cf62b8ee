"""Threads that share a model: runs wait for each other, hooks act where they were set."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread

import pytest
import torch

import vlmlens as vl
from vlmlens.cache import Save
from vlmlens.datasets import shapes_2d
from vlmlens.interventions import KnockOut, ZeroAblate

ROUNDS = 12
EDITS = (ZeroAblate("blocks.1.hook_mlp_out"), KnockOut(where=vl.Where(keys="vision")))
ROWS = Save("blocks.*.attn.hook_pattern", rows="last")


def zero(x, hook):
    x.zero_()


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


@pytest.fixture(scope="module")
def inputs(model):
    return model.inputs(shapes_2d(2))


@pytest.fixture(scope="module")
def prefill(model):
    return model.prefill(model.inputs(shapes_2d(1)))


def plain(model, inputs, prefill):
    with torch.no_grad():
        return model.hf_model(**inputs.tensors, use_cache=False).logits


WORK = {
    "clean": lambda model, inputs, prefill: model.run(inputs, save="blocks.*").logits,
    "edited": lambda model, inputs, prefill: model.run(inputs, EDITS, save=ROWS).logits,
    "hooked": lambda model, inputs, prefill: model.run_with_hooks(
        inputs, fwd_hooks=[("blocks.0.attn.hook_pattern", zero)]
    ),
    "resumed": lambda model, inputs, prefill: model.resume(prefill, [EDITS, EDITS[:1]]).logits,
    "decoded": lambda model, inputs, prefill: (
        model.generate(inputs, EDITS, max_new_tokens=2, stop=False).tokens
    ),
    "eager": lambda model, inputs, prefill: model.run(inputs, attention="eager").logits,
    "plain transformers": plain,
}


def test_threads_give_what_one_alone_gives(model, inputs, prefill):
    alone = {name: work(model, inputs, prefill) for name, work in WORK.items()}
    together = Barrier(len(WORK))

    def again(name):
        together.wait(60)
        made = [WORK[name](model, inputs, prefill) for _ in range(ROUNDS)]
        return name, sum(not torch.equal(x, alone[name]) for x in made)

    with ThreadPoolExecutor(len(WORK)) as pool:
        wrong = dict(pool.map(again, WORK))
    assert wrong == dict.fromkeys(WORK, 0)
    assert model.context_level == 0
    assert not any(point.watched for point in model.hook_points())


def in_another_thread(work):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(60)


def test_hooks_of_a_context_act_in_its_own_thread_alone(model, inputs):
    clean = model.run(inputs).logits
    with model.hooks([("blocks.1.hook_resid_mid", zero)]):
        assert not torch.equal(model.run(inputs).logits, clean)
        assert torch.equal(in_another_thread(lambda: model.run(inputs).logits), clean)
        assert torch.equal(in_another_thread(lambda: plain(model, inputs, None)), clean)
        assert in_another_thread(lambda: model.context_level) == 0


@pytest.mark.parametrize("before", [False, True], ids=["", "torch's own, before"])
def test_they_do_so_beside_hooks_that_act_everywhere(model, inputs, before):
    point = model.hook_dict["blocks.1.hook_resid_mid"]
    seen = []
    if before:
        point.register_forward_pre_hook(lambda module, args: seen.append(1))
    else:
        point.add_hook(lambda x, hook: seen.append(1))
    try:
        clean = model.run(inputs).logits
        with model.hooks([(point.name, zero)]):
            seen.clear()
            assert torch.equal(in_another_thread(lambda: model.run(inputs).logits), clean)
            assert torch.equal(in_another_thread(lambda: plain(model, inputs, None)), clean)
            assert len(seen) == 2
            assert not torch.equal(model.run(inputs).logits, clean)
    finally:
        point.remove_all()


def test_hooks_that_are_added_act_in_every_thread(model, inputs):
    model.add_hook("blocks.1.hook_resid_mid", zero)
    try:
        edited = model.run(inputs).logits
        assert torch.equal(in_another_thread(lambda: model.run(inputs).logits), edited)
    finally:
        model.reset_hooks()
    assert not torch.equal(model.run(inputs).logits, edited)


def test_one_threads_context_outlives_anothers(model, inputs):
    opened, closed = Event(), Event()

    def other():
        with model.hooks([("blocks.0.hook_resid_mid", zero)]):
            opened.set()
            closed.wait(60)

    thread = Thread(target=other)
    with model.hooks([("blocks.1.hook_resid_mid", zero)]):
        edited = model.run(inputs).logits
        thread.start()
        opened.wait(60)
        assert torch.equal(model.run(inputs).logits, edited)
        closed.set()
        thread.join(60)
        assert torch.equal(model.run(inputs).logits, edited)
    assert not any(point.watched for point in model.hook_points())


def test_a_hook_may_run_the_model_itself(model, inputs):
    clean, within = model.run(inputs).logits, []

    def again(x, hook):
        if not within:
            within.append(None)
            within[0] = model.run(inputs, EDITS[:1]).logits

    assert torch.equal(
        model.run_with_hooks(inputs, fwd_hooks=[("blocks.0.hook_resid_pre", again)]), clean
    )
    assert torch.equal(within[0], model.run(inputs, EDITS[:1]).logits)
