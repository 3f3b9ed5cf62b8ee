"""HookedVLM keeps the behaviour of TransformerLens's HookedRootModule.

Each script does things with hooks and writes down what it sees. It is run on a toy that is
TransformerLens's own from end to end, and on the models of vlmlens: the notes must be the same.
"""

import pytest
import torch
from torch import nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.HookedRootModule import HookedRootModule

from vlmlens.errors import UnknownPointError
from vlmlens.interventions import ZeroAblate
from vlmlens.model.wiring.attention import catcher_of


@pytest.fixture(scope="module")
def vlm(any_vlm):
    """Models of different kinds, in place of the two LLaVAs."""
    return any_vlm


#: Points that the toy and every model have, in the order of a pass.
FIRST, SECOND, LAST = "hook_embed", "blocks.0.attn.hook_z", "hook_logits"


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.hook_z = HookPoint()


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = Attention()


class Toy(HookedRootModule):
    def __init__(self):
        super().__init__()
        self.hook_embed, self.hook_logits = HookPoint(), HookPoint()
        self.blocks = nn.ModuleList([Block()])
        self.weight = nn.Parameter(torch.ones(3))
        self.setup()

    def forward(self, x):
        return self.hook_logits(self.blocks[0].attn.hook_z(self.hook_embed(x * self.weight)))


def note(log, word):
    def hook(x, hook):
        log.append((word, hook.name))

    return hook


def hooks_of_ours(hf_model):
    """The torch hooks that vlmlens has on a model's modules, and who catches its attention."""
    for module in hf_model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            yield from (hook for hook in hooks.values() if hook.__module__.startswith("vlmlens"))
        if (catcher := catcher_of(module)) is not None:
            yield catcher


def hooks_on(model):
    """How many hooks each point holds, forward and backward."""
    points = (model.hook_dict[name] for name in (FIRST, SECOND, LAST))
    return [(len(point.fwd_hooks), len(point.bwd_hooks)) for point in points]


def contexts(model, x, log):
    with model.hooks([(FIRST, note(log, "a"))]) as same:
        log.append(same is model)
        log.append(model.context_level)
        model(x)
    model(x)
    log += [hooks_on(model), model.context_level]


def nested_contexts(model, x, log):
    with model.hooks([(FIRST, note(log, "outer"))]):
        with model.hooks([(FIRST, note(log, "inner")), (LAST, note(log, "inner"))]):
            model(x)
            log.append((model.context_level, hooks_on(model)))
        model(x)
        log.append((model.context_level, hooks_on(model)))
    log.append(hooks_on(model))


def a_run_within_a_context(model, x, log):
    with model.hooks([(SECOND, note(log, "outer"))]):
        model.run_with_hooks(x, fwd_hooks=[(SECOND, note(log, "inner"))])
        log.append(hooks_on(model))
        _, cache = model.run_with_cache(x, names_filter=[FIRST, LAST])
        log += [sorted(cache), hooks_on(model)]


def a_context_that_leaves_its_hooks(model, x, log):
    model.run_with_hooks(x, fwd_hooks=[(FIRST, note(log, "a"))], reset_hooks_end=False)
    model(x)
    log.append(hooks_on(model))
    model.reset_hooks()
    model(x)
    log.append(hooks_on(model))


def permanent_hooks(model, x, log):
    model.add_perma_hook(FIRST, note(log, "for good"))
    model.add_hook(LAST, note(log, "for good"), is_permanent=True)
    model.add_hook(FIRST, note(log, "for now"))
    model(x)
    model.reset_hooks()
    model(x)
    with model.hooks([(FIRST, note(log, "within"))]):
        model(x)
    log.append(hooks_on(model))
    log.append([sorted(model.list_hooks(including_permanent=kind)) for kind in (True, False)])
    model.reset_hooks(including_permanent=True)
    model(x)
    log.append(hooks_on(model))


def a_permanent_hook_within_a_context(model, x, log):
    with model.hooks([(FIRST, note(log, "within"))]):
        model.add_perma_hook(FIRST, note(log, "for good"))
    model(x)
    log.append(hooks_on(model))
    model.reset_hooks(including_permanent=True)


def a_reset_within_a_context(model, x, log):
    with model.hooks([(FIRST, note(log, "a"))]):
        model.reset_hooks()
        model(x)
        log.append((model.context_level, hooks_on(model)))
    log.append((model.context_level, hooks_on(model)))


def levels(model, x, log):
    model.add_hook(FIRST, note(log, "one"), level=1)
    model.add_hook(FIRST, note(log, "two"), level=2)
    model.reset_hooks(level=1)
    model(x)
    log.append(hooks_on(model))
    model.reset_hooks()


def a_failure_in_a_hook(model, x, log):
    def fail(x, hook):
        raise ArithmeticError("mine")

    with pytest.raises(ArithmeticError), model.hooks([(FIRST, note(log, "outer"))]):
        model.run_with_hooks(x, fwd_hooks=[(SECOND, fail), (LAST, note(log, "never"))])
    log.append((model.context_level, hooks_on(model)))
    model(x)


def a_failure_beside_the_hooks(model, x, log):
    with (
        pytest.raises(ArithmeticError),
        model.hooks([(FIRST, note(log, "outer"))]),
        model.hooks([(FIRST, note(log, "inner"))]),
    ):
        raise ArithmeticError("mine")
    log.append((model.context_level, hooks_on(model)))


def a_failure_on_the_way_in(model, x, log):
    with (
        pytest.raises((KeyError, UnknownPointError)),
        model.hooks([(FIRST, note(log, "a")), ("hook_ebmed", note(log, "b"))]),
    ):
        log.append("never")
    log.append((model.context_level, hooks_on(model)))


def conditional_names(model, x, log):
    with model.hooks([(lambda name: name in (FIRST, LAST), note(log, "a"))]):
        model(x)
    model.add_hook(lambda name: name == SECOND, note(log, "b"))
    model(x)
    model.reset_hooks()


def conditional_edits(model, x, log):
    """A hook that returns nothing leaves the activation as it is."""

    def only_if(wanted):
        return lambda x, hook: x * 0 if wanted else None

    clean = model(x)
    for wanted in (True, False):
        edited = model.run_with_hooks(x, fwd_hooks=[(LAST, only_if(wanted))])
        log.append((torch.equal(edited, clean), bool((edited == 0).all())))


def the_order_of_hooks(model, x, log):
    for word in ("first", "second"):
        model.add_hook(FIRST, note(log, word))
    model.add_hook(FIRST, note(log, "before"), prepend=True)
    model.add_hook(LAST, note(log, "first"))
    model(x)
    model.reset_hooks()


def edits_in_order(model, x, log):
    """The next hook sees what the one before it made."""
    model.add_hook(LAST, lambda x, hook: torch.zeros_like(x))
    model.add_hook(LAST, lambda x, hook: x + 1)
    model.add_hook(LAST, lambda x, hook: x + 2, prepend=True)
    model.add_hook(LAST, lambda x, hook: log.append(bool((x == 1).all())))
    model(x)
    model.reset_hooks()


def a_hooks_own_memory(model, x, log):
    def count(x, hook):
        hook.ctx["seen"] = hook.ctx.get("seen", 0) + 1

    model.add_hook(FIRST, count)
    model(x)
    model(x)
    log.append(dict(model.hook_dict[FIRST].ctx))
    model.reset_hooks(clear_contexts=False)
    log.append(dict(model.hook_dict[FIRST].ctx))
    model.reset_hooks()
    log.append(dict(model.hook_dict[FIRST].ctx))


def backward_hooks(model, x, log):
    with model.hooks(
        fwd_hooks=[(SECOND, note(log, "there"))],
        bwd_hooks=[(FIRST, note(log, "back")), (LAST, note(log, "back"))],
    ):
        model(x).sum().backward()
        log.append(hooks_on(model))
    log.append(hooks_on(model))


def backward_edits(model, x, log):
    """What a backward hook returns is what flows on."""
    kept = {}

    def keep(grad, hook):
        kept[hook.name] = grad.clone()

    def stop(grad, hook):
        return torch.zeros_like(grad)

    model.add_hook(FIRST, keep, dir="bwd")
    model(x).sum().backward()
    log.append(bool(kept[FIRST].abs().max() > 0))
    model.add_hook(LAST, stop, dir="bwd")
    model(x).sum().backward()
    log.append(bool(kept[FIRST].abs().max() > 0))
    model.reset_hooks(direction="fwd")
    log.append(hooks_on(model))
    model.reset_hooks(direction="bwd")
    log.append(hooks_on(model))


def permanent_backward_hooks(model, x, log):
    model.add_perma_hook(SECOND, note(log, "back"), dir="bwd")
    model.reset_hooks()
    model(x).sum().backward()
    model.reset_hooks(including_permanent=True)
    model(x).sum().backward()


def caching_hooks(model, x, log):
    cache = model.add_caching_hooks([FIRST, LAST], incl_bwd=True)
    log.append(model.is_caching)
    model(x).sum().backward()
    model.reset_hooks()
    log.append((sorted(cache), model.is_caching))
    log.append([cache[f"{name}_grad"].shape == cache[name].shape for name in (FIRST, LAST)])
    log.append([bool(cache[f"{name}_grad"].abs().max() > 0) for name in (FIRST, LAST)])
    log.append(torch.equal(cache[LAST], model.run_with_cache(x, names_filter=LAST)[1][LAST]))


def hooks_on_a_point_itself(model, x, log):
    point = model.hook_dict[SECOND]
    handle = point.add_hook(note(log, "a"))
    point.add_perma_hook(note(log, "b"))
    log.append((point.has_hooks(), point.has_hooks("bwd"), handle.is_permanent))
    model(x)
    point.remove_hooks("fwd")
    model(x)
    point.remove_hooks("fwd", including_permanent=True)
    model(x)
    log.append(point.has_hooks())


def a_hook_that_adds_a_hook(model, x, log):
    def add(x, hook):
        model.add_hook(LAST, note(log, "added"))

    model.add_hook(FIRST, add)
    model(x)
    model.reset_hooks()


def torch_hooks_on_a_point(model, x, log):
    """Points are modules: torch's own hooks on them work as well."""
    point = model.hook_dict[SECOND]
    handles = [
        point.register_forward_hook(lambda module, args, output: log.append("after")),
        point.register_forward_pre_hook(lambda module, args: log.append("before")),
        point.register_full_backward_hook(lambda module, given, got: log.append("back")),
        point.register_full_backward_pre_hook(lambda module, got: log.append("first back")),
    ]
    model(x).sum().backward()
    with model.hooks([(SECOND, note(log, "ours"))]):
        model(x)
    model(x)
    for handle in handles:
        handle.remove()
    model(x)


def what_a_point_knows(model, x, log):
    log.append([model.hook_dict[name].name for name in (FIRST, SECOND, LAST)])
    log.append(model.hook_dict[SECOND].layer())
    log.append(all(model.mod_dict[name] is model.hook_dict[name] for name in (FIRST, LAST)))
    log.append(len(list(model.hook_points())) == len(model.hook_dict))


SCRIPTS = (
    contexts,
    nested_contexts,
    a_run_within_a_context,
    a_context_that_leaves_its_hooks,
    permanent_hooks,
    a_permanent_hook_within_a_context,
    a_reset_within_a_context,
    levels,
    a_failure_in_a_hook,
    a_failure_beside_the_hooks,
    a_failure_on_the_way_in,
    conditional_names,
    conditional_edits,
    the_order_of_hooks,
    edits_in_order,
    a_hooks_own_memory,
    backward_hooks,
    backward_edits,
    permanent_backward_hooks,
    caching_hooks,
    hooks_on_a_point_itself,
    a_hook_that_adds_a_hook,
    torch_hooks_on_a_point,
    what_a_point_knows,
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_hooks_behave_as_in_transformer_lens(vlm, inputs, script):
    theirs, ours = [], []
    script(Toy(), torch.randn(2, 3), theirs)
    try:
        script(vlm, inputs, ours)
    finally:
        vlm.reset_hooks(including_permanent=True)
        vlm.hf_model.zero_grad()
    assert theirs, "a script that notes nothing shows nothing"
    assert ours == theirs
    assert not any(hooks_of_ours(vlm.hf_model))


# What vlmlens is stricter about.


def test_a_condition_that_names_nothing_raises(vlm, inputs):
    with pytest.raises(UnknownPointError):
        vlm.add_hook(lambda name: name == "hook_ebmed", note([], "a"))
    with pytest.raises(UnknownPointError), vlm.hooks([(lambda name: False, note([], "a"))]):
        pass
    with pytest.raises(UnknownPointError, match="condition"):
        vlm.add_hook("blocks.*.hook_resid_pre", note([], "a"))
    assert not vlm.list_hooks()


# Gradients.


def come_by_once(vlm, inputs):
    """All points but those that a tower passes image by image, whose pieces are saved as one."""
    seen = []

    def count(x, hook):
        seen.append(hook.name)

    vlm.run_with_hooks(inputs, fwd_hooks=[(lambda name: True, count)])
    assert set(seen) == set(vlm.hook_dict)
    return [name for name in vlm.hook_dict if seen.count(name) == 1]


def nearly(a, b):
    return (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.parametrize("frozen", [False, True], ids=["free", "frozen"])
def test_backward_hooks_fire_at_every_point(vlm, inputs, frozen):
    """Once each, with the gradient that autograd gives for what a run saves there."""
    run = vlm.run(inputs, save=come_by_once(vlm, inputs), grad=True)
    loss = run.logits.square().mean()
    expected = torch.autograd.grad(loss, list(run.saved.values()))
    expected = dict(zip(run.saved, expected, strict=True))
    got = {}

    def keep(grad, hook):
        got.setdefault(hook.name, []).append(grad.clone())

    vlm.hf_model.requires_grad_(not frozen)
    try:
        with vlm.hooks(bwd_hooks=[(lambda name: True, keep)]):
            vlm(inputs).square().mean().backward()
    finally:
        vlm.hf_model.requires_grad_(True)
        vlm.hf_model.zero_grad()
    assert set(got) == set(vlm.hook_dict)
    for name, grads in got.items():
        assert all(grad.abs().max() > 0 for grad in grads), name
        if name in expected:
            assert len(grads) == 1, name
            assert nearly(grads[0], expected[name]), name


def test_gradients_of_the_weights_do_not_depend_on_who_watches(vlm, inputs):
    def gradients():
        vlm.hf_model.zero_grad()
        vlm(inputs).square().mean().backward()
        named = vlm.hf_model.named_parameters()
        grads = {name: p.grad.clone() for name, p in named if p.grad is not None}
        vlm.hf_model.zero_grad()
        return grads

    plain = gradients()
    with vlm.hooks(bwd_hooks=[(lambda name: True, lambda grad, hook: None)]):
        watched = gradients()
    assert set(plain) == set(watched)
    for name, grad in plain.items():
        # Of a key's bias there is no gradient but rounding: it moves all scores of a query alike.
        if grad.abs().max() > 1e-6:
            assert nearly(watched[name], grad), name


def test_gradients_stop_at_an_edit(vlm, inputs):
    """Of what was overwritten nothing reaches the loss."""
    run = vlm.run(inputs, [ZeroAblate(point="blocks.1.hook_mlp_out")], save="*", grad=True)
    loss = run.logits.square().mean()
    wanted = [run.saved[name] for name in ("blocks.1.mlp.hook_post", "blocks.1.hook_resid_pre")]
    before, after = torch.autograd.grad(loss, wanted, allow_unused=True)
    assert before is None or (before == 0).all()
    assert after.abs().max() > 0
