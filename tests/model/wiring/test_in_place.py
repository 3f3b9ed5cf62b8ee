"""An edit in place is an edit: writing into an activation does what returning another one does.

It acts at every point, there alone, and inside ``where``; and what others hold (who saved, a cache,
another layer, the inputs) stays as it is.
"""

import re

import pytest
import torch
from conftest import QUESTIONS, build, by_turns, picture

import vlmlens as vl
from vlmlens.cache import Save
from vlmlens.errors import InputError
from vlmlens.interventions import Edit, Intervention, PatchFrom, Scale


def ramp(x):
    """What every edit here adds, since a mask of zeros is none the other for a factor."""
    return torch.linspace(0.0, -0.1, x.shape[-1], dtype=x.dtype)


def new(x, hook=None):
    return x * 0.7 + ramp(x)


def returned(x, hook=None):
    x *= 0.7
    x += ramp(x)
    return x


def bare(x, hook=None):
    x.mul_(0.7).add_(ramp(x))


def beside_autograd(x, hook=None):
    x.data.mul_(0.7).add_(ramp(x))


def through_numpy(x, hook=None):
    x.numpy()[...] *= 0.7
    x.numpy()[...] += ramp(x).numpy()


IN_PLACE = (returned, bare)
UNNOTICED = (beside_autograd, through_numpy)  # which count no version


def one_of_each(vlm):
    """A point of every kind; where there are several blocks, not the first of them."""
    found = {}
    for name in vlm.hook_dict:
        kind = re.sub(r"\.\d+\.", ".*.", name)
        if kind not in found or ".1." in name:
            found[kind] = name
    return list(found.values())


def some_of(vlm, name):
    """A selection of a part of what a point holds."""
    axes = vlm.hook_dict[name].axes
    if "batch" in axes and ("key" in axes or "pos" in axes) and name != "hook_logits":
        return vl.Where(**({"keys": "vision"} if "key" in axes else {"positions": "vision"}))
    if "head" in axes or "kv_head" in axes:
        return vl.Where(heads=0)
    return vl.Where()


@pytest.fixture(scope="module")
def every_inputs(every_vlm):
    return every_vlm.inputs([picture(0)], [QUESTIONS[0]])


@pytest.fixture(scope="module", params=by_turns(["qwen2_5_vl", "gemma3"], ["qwen2_5_vl"]))
def two_vlm(request):
    """A tower passed in pieces, three axes of RoPE; norms on both sides, two RoPE tables."""
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


@pytest.fixture(scope="module")
def two_inputs(two_vlm):
    return two_vlm.inputs([picture(0), picture(1)], list(QUESTIONS))


def hooked(vlm, inputs, name, hook):
    with torch.no_grad():
        return vlm.run_with_hooks(inputs, fwd_hooks=[(name, hook)])


@pytest.mark.slow
def test_three_ways_to_edit_are_one_at_every_point_of_every_family(every_vlm, every_inputs):
    clean = every_vlm.run(every_inputs).logits
    for number, name in enumerate(one_of_each(every_vlm)):
        expected = hooked(every_vlm, every_inputs, name, new)
        assert not torch.equal(expected, clean), name
        way = IN_PLACE[number % 2]  # by turns: they differ in nothing but what they return
        assert torch.equal(hooked(every_vlm, every_inputs, name, way), expected), (name, way)
    assert torch.equal(every_vlm.run(every_inputs).logits, clean)


@pytest.mark.slow
def test_an_edit_in_place_stays_inside_where(every_vlm, every_inputs):
    clean = every_vlm.run(every_inputs, save="*").saved
    for number, name in enumerate(one_of_each(every_vlm)):
        where = some_of(every_vlm, name)
        expected, made = (
            every_vlm.run(every_inputs, [Edit(name, where=where, by=way)], save=name)
            for way in (new, IN_PLACE[number % 2])
        )
        assert torch.equal(made.logits, expected.logits), name
        axes, shape = clean.axes[name], clean[name].shape
        if (mask := where.mask(axes, shape, every_inputs.layouts)) is not None:
            outside = ~mask.expand(shape)
            assert outside.any(), name
            assert torch.equal(made.saved[name][outside], clean[name][outside]), name


def test_nothing_that_others_hold_is_written_into(every_vlm, every_inputs):
    """Every point is saved in three ways, and written into, in one and the same pass."""
    kept = []
    given = {name: x.clone() for name, x in every_inputs.tensors.items()}

    def keep(x, hook):
        kept.append((hook.name, x, x.clone()))

    def write(x, hook):
        x.mul_(0.99)

    everywhere = [(lambda name: True, hook) for hook in (keep, write, keep)]
    with every_vlm.hooks(everywhere):
        saved = every_vlm.run(every_inputs, save="*").saved
        copied = every_vlm.run(every_inputs, save=Save("*", reduce=torch.clone)).saved
    assert {name for name, _, _ in kept} == set(every_vlm.hook_dict)
    for name, x, before in kept:
        assert torch.equal(x, before), name
    for name, x in saved.items():
        assert torch.equal(x, copied[name]), name
    for name, x in given.items():
        assert torch.equal(x, every_inputs.tensors[name]), name


@pytest.mark.parametrize("answer", [lambda x: None, lambda x: x], ids=["nothing", "the same"])
@pytest.mark.parametrize("grad", [False, True], ids=["", "grad"])
def test_looking_changes_nothing(two_vlm, two_inputs, answer, grad):
    seen = set()

    def look(x, hook):
        seen.add(hook.name)
        return answer(x)

    clean = two_vlm.run(two_inputs).logits
    with torch.set_grad_enabled(grad):
        looked = two_vlm.run_with_hooks(two_inputs, fwd_hooks=[(lambda name: True, look)])
    assert seen == set(two_vlm.hook_dict)
    assert torch.equal(looked, clean)


def test_saving_copies_nothing(two_vlm, two_inputs):
    between = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_pre"]
    saved = two_vlm.run(two_inputs, save=between).saved
    assert saved[between[0]].data_ptr() == saved[between[1]].data_ptr()


@pytest.mark.slow
@pytest.mark.parametrize("way", UNNOTICED)
def test_what_torch_does_not_notice_counts_too(two_vlm, two_inputs, way):
    for name in one_of_each(two_vlm):
        expected = hooked(two_vlm, two_inputs, name, new)
        assert torch.equal(hooked(two_vlm, two_inputs, name, way), expected), name


def through_hooks(vlm, inputs, name, way):
    with vlm.hooks([(name, way)]):
        return vlm(inputs)


def through_add_hook(vlm, inputs, name, way):
    vlm.add_hook(name, way)
    try:
        return vlm.run(inputs).logits
    finally:
        vlm.reset_hooks()


def through_transformers(vlm, inputs, name, way):
    with vlm.hooks([(name, way)]):
        return vlm.hf_model(**inputs.tensors, use_cache=False).logits


def through_torch(vlm, inputs, name, way):
    """Points are modules: torch's own hooks after them."""
    handle = vlm.hook_dict[name].register_forward_hook(lambda module, args, x: way(x))
    try:
        return vlm.run(inputs).logits
    finally:
        handle.remove()
        vlm.reset_hooks()


def through_torch_before(vlm, inputs, name, way):
    handle = vlm.hook_dict[name].register_forward_pre_hook(lambda module, args: way(args[0]))
    try:
        return vlm.run(inputs).logits
    finally:
        handle.remove()
        vlm.reset_hooks()


def through_inference_mode(vlm, inputs, name, way):
    with torch.inference_mode():
        return vlm.run_with_hooks(inputs, fwd_hooks=[(name, way)]).clone()


DOORS = (
    through_hooks,
    through_add_hook,
    through_transformers,
    through_torch,
    through_torch_before,
    through_inference_mode,
)


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_every_door_takes_edits_in_place(two_vlm, two_inputs, door):
    with torch.no_grad():
        for number, name in enumerate(one_of_each(two_vlm)):
            expected = hooked(two_vlm, two_inputs, name, new)
            way = IN_PLACE[number % 2]
            assert torch.equal(door(two_vlm, two_inputs, name, way), expected), (name, way)


@pytest.mark.slow
def test_the_next_hook_goes_on_from_an_edit_in_place(two_vlm, two_inputs):
    ways = (new, returned, bare)
    for name in one_of_each(two_vlm):
        logits = [
            two_vlm.run_with_hooks(two_inputs, fwd_hooks=[(name, one), (name, other)]).detach()
            for one in ways
            for other in ways
        ]
        assert all(torch.equal(logits[0], x) for x in logits[1:]), name


@pytest.mark.slow
def test_decoding(two_vlm, two_inputs):
    for name in one_of_each(two_vlm):
        said = [
            two_vlm.generate(two_inputs, [Edit(name, by=way)], max_new_tokens=2, stop=False)
            for way in (new, bare)
        ]
        with two_vlm.hooks([(name, returned)]):
            said.append(two_vlm.generate(two_inputs, max_new_tokens=2, stop=False))
        for one in said[1:]:
            for step, first in zip(one.steps, said[0].steps, strict=True):
                assert torch.equal(step.logits, first.logits), name


def test_resuming_from_a_prefill_leaves_it_as_it_was(two_vlm):
    inputs = two_vlm.inputs([picture(0)], [QUESTIONS[0]])
    prefill = two_vlm.prefill(inputs, save="blocks.*.hook_resid_pre")
    kept = [*prefill.stream, *(x for pair in prefill.keys for x in pair), *prefill.saved.values()]
    kept += [x for x in prefill.given.values() if isinstance(x, torch.Tensor)]
    before = [x.clone() for x in kept]
    names = [name for name in one_of_each(two_vlm) if name.startswith("blocks.")]
    assert names
    for name in names:
        where = vl.Where(
            **{"queries" if "query" in two_vlm.hook_dict[name].axes else "positions": "user"}
        )
        cells = [[Edit(name, where=where, by=way)] for way in (new, *IN_PLACE)]
        made = two_vlm.resume(prefill, cells)
        assert not made.whole
        one, *others = made.logits
        for other in others:
            torch.testing.assert_close(other, one)
    for x, was in zip(kept, before, strict=True):
        assert torch.equal(x, was)


def test_what_the_tower_made_is_not_written_into_while_it_is_shared(two_vlm, two_inputs):
    clean = two_vlm.run(two_inputs).logits
    own = [n for n in two_vlm.hook_dict if not n.startswith(("vision.", "projector."))]
    with two_vlm.reuse() as reuse, two_vlm.hooks([(lambda n: n in own, bare)]):
        written = two_vlm.run(two_inputs).logits
        assert torch.equal(two_vlm.run(two_inputs).logits, written)
        assert (reuse.encoded, reuse.reused) == (1, 1)
        two_vlm.reset_hooks()
        assert torch.equal(two_vlm.run(two_inputs).logits, clean)


@pytest.mark.slow
def test_a_run_that_is_patched_from_is_not_written_into(two_vlm, two_inputs):
    names = [n for n in one_of_each(two_vlm) if not two_vlm.hook_dict[n].tap.pieces]
    source = two_vlm.run(two_inputs, save=names).saved
    before = {name: x.clone() for name, x in source.items()}
    for name in names:
        two_vlm.run(two_inputs, [PatchFrom(name, source=source), Edit(name, by=bare)])
        with two_vlm.hooks([(name, bare)]):
            two_vlm.run(two_inputs, [PatchFrom(name, source=source)])
    for name, x in before.items():
        assert torch.equal(source[name], x), name


def test_what_an_edit_reads_is_a_copy(two_vlm, two_inputs):
    class Writing(Intervention):
        reads = ("hook_embed",)

        def edit(self, x, site):
            site.read("hook_embed").zero_()
            return x * 1.0

    saved = two_vlm.run(two_inputs, [Writing("blocks.1.hook_resid_pre")], save="hook_embed").saved
    assert torch.equal(
        saved["hook_embed"], two_vlm.run(two_inputs, save="hook_embed").saved["hook_embed"]
    )


def test_a_function_that_reduces_may_write_into_what_it_is_given(two_vlm, two_inputs):
    def reduce(x):
        return x.mul_(0.0)[..., :1]

    clean = two_vlm.run(two_inputs, save="*")
    for grad in (False, True):
        run = two_vlm.run(two_inputs, save=[Save("*", reduce=reduce)], grad=grad)
        if not grad:  # with a graph, attention is computed explicitly
            assert torch.equal(run.logits, clean.logits)
        torch.testing.assert_close(run.logits, clean.logits, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_gradients_flow_through_an_edit_in_place(two_vlm, two_inputs):
    entering = "hook_embed"
    for name in one_of_each(two_vlm):
        found = []
        for way in (new, bare):
            run = two_vlm.run(two_inputs, [Edit(name, by=way)], save=entering, grad=True)
            loss = run.logits.square().mean()
            found.append(torch.autograd.grad(loss, run.saved[entering])[0])
            with two_vlm.hooks([(name, way)]):
                run = two_vlm.run(two_inputs, save=entering, grad=True)
            loss = run.logits.square().mean()
            found.append(torch.autograd.grad(loss, run.saved[entering])[0])
        for gradient in found[1:]:
            torch.testing.assert_close(gradient, found[0], msg=lambda m, name=name: f"{name}: {m}")


def test_gradients_may_be_written_into_on_their_way_back(two_vlm, two_inputs):
    def gradient(way, name):
        kept = {}

        def keep(grad, hook):
            kept["embed"] = grad.clone()

        with two_vlm.hooks(bwd_hooks=[(name, way), ("hook_embed", keep)]):
            two_vlm(two_inputs).square().mean().backward()
        two_vlm.hf_model.zero_grad()
        return kept["embed"]

    plain = gradient(lambda grad, hook: None, "blocks.1.hook_resid_post")
    for name in ("blocks.1.hook_resid_post", "blocks.1.attn.hook_z", "hook_logits"):
        expected = gradient(new, name)
        assert not torch.equal(expected, plain)
        for way in IN_PLACE:
            assert torch.equal(gradient(way, name), expected)


# What cannot stand in an activation's place is refused.


def narrow(x):
    return x[(0,) * (x.ndim - 1)]


WRONG = {
    "narrow": narrow,
    "broadcast": lambda x: narrow(x)[(None,) * (x.ndim - 1)],
    "longer": lambda x: torch.cat([x, x], -1),
    "float64": lambda x: x.double(),
    "another device": lambda x: x.to("meta"),
    "sparse": lambda x: x.to_sparse(),
    "a list": lambda x: x.tolist(),
    "written short": lambda x: x.resize_(1),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_a_hook_of_another_shape_is_refused(two_vlm, two_inputs, wrong):
    for name in one_of_each(two_vlm):
        shape = two_vlm.run(two_inputs, save=name).saved[name].shape
        with torch.no_grad(), pytest.raises(InputError, match=re.escape(name)) as caught:
            two_vlm.run_with_hooks(two_inputs, fwd_hooks=[(name, lambda x, hook: WRONG[wrong](x))])
        if not two_vlm.hook_dict[name].tap.pieces:
            assert str(tuple(shape)) in str(caught.value)


@pytest.mark.parametrize("wrong", [w for w in WRONG if w != "float64"])
def test_an_edit_of_another_shape_is_refused(two_vlm, two_inputs, wrong):
    for name in one_of_each(two_vlm):
        with pytest.raises(InputError, match=re.escape(name)):
            two_vlm.run(two_inputs, [Edit(name, by=WRONG[wrong])])


def test_an_edit_that_says_nothing_and_writes_nothing_is_refused(two_vlm, two_inputs):
    with pytest.raises(InputError, match="wrote nothing"):
        two_vlm.run(two_inputs, [Edit("hook_embed", by=lambda x: None)])


def test_an_edit_in_another_precision_comes_back_in_the_points_own(two_vlm, two_inputs):
    for where in (vl.Where(), vl.Where(positions="vision")):
        edited = two_vlm.run(
            two_inputs, [Edit("hook_embed", where, by=lambda x: x.double() * 2)], save="hook_embed"
        )
        doubled = two_vlm.run(two_inputs, [Scale("hook_embed", where, by=2.0)])
        assert edited.saved["hook_embed"].dtype == torch.float32
        assert torch.equal(edited.logits, doubled.logits)


@pytest.mark.parametrize("rows", [None, "last"])
def test_a_function_that_reduces_to_no_tensor_is_refused(vlm, inputs, rows):
    for made in (None, 3):
        kept = Save("blocks.0.attn.hook_pattern", rows=rows, reduce=lambda x, made=made: made)
        with pytest.raises(InputError, match=r"reduce of Save.* should return the tensor"):
            vlm.run(inputs, save=kept)
