"""The doors of a model: unknown keywords, other things than inputs, torch's methods of a module."""

import numpy as np
import pytest
import torch
from as_users import as_users
from conftest import build, picture
from torch import nn

import vlmlens as vl
from vlmlens.cache import ActivationCache
from vlmlens.errors import (
    InputError,
    UnknownKeywordError,
    UnknownPointError,
    UnreachedPointError,
    VLMLensError,
)
from vlmlens.interventions import Scale, ZeroAblate
from vlmlens.model.doors import as_module

LAST = "blocks.2.hook_resid_post"
ZERO = ZeroAblate("blocks.1.hook_mlp_out")


@pytest.fixture(scope="module")
def vlm():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


@pytest.fixture(scope="module")
def inputs(vlm):
    return vlm.inputs([picture(0)], ["What color is the circle?"])


@pytest.fixture(autouse=True)
def unchecked():
    with as_users():
        yield


def doors(vlm, inputs):
    """Every public door that runs or hooks, with what it needs."""
    return {
        "__call__": lambda **k: vlm(inputs, **k),
        "forward": lambda **k: vlm.forward(inputs, **k),
        "run_with_hooks": lambda **k: vlm.run_with_hooks(inputs, **k),
        "run_with_cache": lambda **k: vlm.run_with_cache(inputs, **k),
        "hooks": lambda **k: vlm.hooks(**k),
        "run": lambda **k: vlm.run(inputs, **k),
        "generate": lambda **k: vlm.generate(inputs, **k),
        "prefill": lambda **k: vlm.prefill(inputs, **k),
        "resume": lambda **k: vlm.resume(vlm.prefill(inputs), [[ZERO]], **k),
        "inputs": lambda **k: vlm.inputs([picture(0)], ["?"], **k),
        "audit": lambda **k: vlm.audit(**k),
        "reuse": lambda **k: vlm.reuse(**k),
        "add_hook": lambda **k: vlm.add_hook("hook_embed", print, **k),
        "reset_hooks": lambda **k: vlm.reset_hooks(**k),
        "add_caching_hooks": lambda **k: vlm.add_caching_hooks("hook_embed", **k),
        "get_caching_hooks": lambda **k: vlm.get_caching_hooks("hook_embed", **k),
        "HookedVLM": lambda **k: vl.HookedVLM(vlm.hf_model, **k),
    }


DOORS = tuple(doors(None, None))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "keyword", ["banana", "fwd_hook", "start_at_layer", "prepend_bos", "attention_mask", "labels"]
)
def test_a_keyword_that_nobody_reads_is_refused(vlm, inputs, door, keyword):
    with pytest.raises(UnknownKeywordError, match=f"no keyword '{keyword}'"):
        doors(vlm, inputs)[door](**{keyword: torch.ones(1, 1)})


def test_a_misspelt_keyword_is_met_with_the_nearest_and_with_what_to_do(vlm, inputs):
    with pytest.raises(UnknownKeywordError, match="did you mean fwd_hooks"):
        vlm.run_with_hooks(inputs, fwd_hook=[("hook_embed", lambda x, hook: x * 0)])
    with pytest.raises(UnknownKeywordError, match="did you mean interventions"):
        vlm.run(inputs, intervention=[ZERO])
    with pytest.raises(UnknownKeywordError, match="inputs_from"):
        vlm(inputs, attention_mask=inputs.tensors["attention_mask"])


NOT_INPUTS = {
    "a text": lambda i: "hello",
    "pictures": lambda i: [picture(0)],
    "a sample": lambda i: vl.Sample("What?", (picture(0),)),
    "samples": lambda i: [vl.Sample("What?")],
    "tensors": lambda i: dict(i.tensors),
    "ids": lambda i: i.tensors["input_ids"],
    "nothing": lambda i: None,
    "a number": lambda i: 3,
    "an array": lambda i: np.zeros(3),
}
TAKE_INPUTS = (
    "__call__",
    "run",
    "generate",
    "prefill",
    "run_with_cache",
    "run_with_hooks",
    "audit",
)


@pytest.mark.parametrize("door", TAKE_INPUTS)
@pytest.mark.parametrize("wrong", NOT_INPUTS)
def test_what_is_no_inputs_is_told_how_to_become_some(vlm, inputs, door, wrong):
    if (door, wrong) == ("audit", "nothing"):
        return  # it draws its own
    with pytest.raises(InputError, match=r"takes inputs, and not .*: (model|take)"):
        getattr(vlm, door)(NOT_INPUTS[wrong](inputs))


def test_a_run_is_no_inputs_but_holds_some(vlm, inputs):
    with pytest.raises(InputError, match=r"take its \.inputs"):
        vlm.run(vlm.run(inputs))


def test_one_intervention_is_a_list_of_one_at_every_door(vlm, inputs):
    many, one = vlm.run(inputs, [ZERO]).logits, vlm.run(inputs, ZERO).logits
    assert torch.equal(many, one)
    assert torch.equal(
        vlm.generate(inputs, ZERO, max_new_tokens=2).tokens,
        vlm.generate(inputs, [ZERO], max_new_tokens=2).tokens,
    )
    kept = vlm.prefill(inputs)
    listed = vlm.resume(kept, [[ZERO]]).logits
    assert torch.equal(listed, vlm.resume(kept, [ZERO]).logits)
    assert torch.equal(listed, vlm.resume(kept, ZERO).logits)
    assert torch.equal(one, vlm.run_with_cache(inputs, LAST, interventions=ZERO)[0])


@pytest.mark.parametrize("wrong", [None, ZeroAblate, "ZeroAblate", 3, {"a": ZERO}, [3], [[ZERO]]])
@pytest.mark.parametrize("door", ["run", "generate"])
def test_what_is_no_intervention_is_refused(vlm, inputs, door, wrong):
    with pytest.raises(InputError, match="is no intervention"):
        getattr(vlm, door)(inputs, wrong)


@pytest.mark.parametrize("wrong", [None, 3, len, {"a": 1}, [3], b"hook_embed"])
@pytest.mark.parametrize("door", ["run", "generate", "prefill"])
def test_what_names_no_point_to_save_is_refused(vlm, inputs, door, wrong):
    with pytest.raises(InputError, match="save="):
        getattr(vlm, door)(inputs, save=wrong)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_new_tokens": 2.5}, "max_new_tokens"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": True}, "max_new_tokens"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"stop": "no"}, "stop"),
        ({"answered": ["red"]}, "answered"),
        ({"attention": 3}, "attention"),
    ],
)
def test_generation_takes_numbers_that_mean_something(vlm, inputs, options, named):
    with pytest.raises(InputError, match=named):
        vlm.generate(inputs, **options)


def test_numpys_numbers_are_numbers(vlm, inputs):
    said = vlm.generate(inputs, max_new_tokens=np.int64(2), temperature=np.float32(1), stop=False)
    assert said.tokens.shape == (1, 2)


@pytest.mark.parametrize("cells", [[], None, 3, "x", {"a": [ZERO]}, [None], [3], [[3]]])
def test_cells_are_lists_of_interventions(vlm, inputs, cells):
    with pytest.raises(InputError):
        vlm.resume(vlm.prefill(inputs), cells)


def test_only_a_prefill_is_resumed(vlm, inputs):
    run = vlm.run(inputs)
    with pytest.raises(InputError, match=r"model\.prefill\(inputs\)"):
        vlm.resume(run, [[ZERO]])
    with pytest.raises(InputError, match=r"model\.prefill\(inputs\)"):
        vlm.prefill(inputs, after=run)


# ------------------------------------------------------------------ TransformerLens's options


def test_return_type(vlm, inputs):
    assert torch.equal(vlm(inputs, return_type="logits"), vlm(inputs))
    assert vlm(inputs, return_type=None) is None
    assert vlm.run_with_cache(inputs, LAST, return_type=None)[0] is None
    for wrong in ("loss", "both", 3):
        for door in (vlm, vlm.run_with_hooks, vlm.run_with_cache):
            with pytest.raises(InputError, match="return_type="):
                door(inputs, return_type=wrong)


@pytest.mark.parametrize("stop", [1, 2, 3, -1, -2])
def test_a_pass_may_stop_before_a_block(vlm, inputs, stop):
    before = stop % vlm.layers or vlm.layers
    wanted = vlm.run(inputs, save=f"blocks.{before - 1}.hook_resid_post").saved
    seen = []
    hook = (lambda name: name.endswith("hook_resid_pre"), lambda x, hook: seen.append(hook.name))
    stream = vlm.run_with_hooks(inputs, fwd_hooks=[hook], stop_at_layer=stop)
    assert torch.equal(stream, wanted[f"blocks.{before - 1}.hook_resid_post"])
    assert [n for n in seen if n.startswith("blocks")] == [
        f"blocks.{n}.hook_resid_pre" for n in range(before)
    ]
    made, cache = vlm.run_with_cache(inputs, stop_at_layer=stop)
    assert torch.equal(made, stream)
    assert {n for n in cache if n.startswith("blocks")} == {
        n for n in vlm.hook_dict if n.startswith("blocks") and int(n.split(".")[1]) < before
    }
    _, some = vlm.run_with_cache(inputs, "hook_embed", stop_at_layer=stop)
    assert list(some) == ["hook_embed"]
    assert torch.equal(vlm(inputs), vlm(inputs))  # nothing stays behind


def test_nothing_beyond_the_stop_is_watched_in_vain(vlm, inputs):
    with pytest.raises(UnreachedPointError):
        vlm.run_with_hooks(inputs, fwd_hooks=[(LAST, lambda x, hook: x * 0)], stop_at_layer=1)
    with pytest.raises(UnreachedPointError):
        vlm.run_with_cache(inputs, LAST, stop_at_layer=1)
    for wrong in (0, 4, -4, 1.5, "1", True):
        with pytest.raises(InputError, match="stop_at_layer"):
            vlm(inputs, stop_at_layer=wrong)


def test_a_hook_that_the_pass_never_comes_by_raises(vlm):
    blind = vlm.inputs(vl.Sample("Is it red?"))
    for name in ("projector.hook_out", lambda name: name.startswith("vision.")):
        with pytest.raises(UnreachedPointError):
            vlm.run_with_hooks(blind, fwd_hooks=[(name, lambda x, hook: x * 0)])
    assert vlm.run_with_hooks(blind, fwd_hooks=[(lambda name: True, lambda x, hook: None)]).numel()


def test_a_cache_in_the_shape_that_was_asked_for(vlm, inputs):
    _, whole = vlm.run_with_cache(inputs)
    _, single = vlm.run_with_cache(inputs, remove_batch_dim=True)
    _, plain = vlm.run_with_cache(inputs, return_cache_object=False)
    _, moved = vlm.run_with_cache(inputs, device="cpu")
    assert isinstance(whole, ActivationCache) and type(plain) is dict
    for name, x in whole.items():
        assert torch.equal(plain[name], x) and torch.equal(moved[name], x)
        batch = whole.axes[name][0] == "batch"
        assert torch.equal(single[name], x[0] if batch else x)
        assert len(single.axes[name]) == single[name].ndim
    both = vlm.inputs([picture(0), picture(1)], ["What?", "Is the red square blue?"])
    with pytest.raises(InputError, match="one sample"):
        vlm.run_with_cache(both, remove_batch_dim=True)
    with pytest.raises(InputError, match="device="):
        vlm.run_with_cache(inputs, device="nowhere")


@pytest.mark.parametrize("cut", [-1, 2, slice(1, 4), (1, 4), slice(None, None, 2), np.int64(2)])
def test_positions_of_a_cache(vlm, inputs, cut):
    _, whole = vlm.run_with_cache(inputs)
    _, some = vlm.run_with_cache(inputs, pos_slice=cut)
    at = slice(*cut) if isinstance(cut, tuple) else cut
    for name, x in whole.items():
        axes = whole.axes[name]
        along = [a for a in ("pos", "query") if a in axes and "image" not in axes]
        wanted = x[(slice(None),) * axes.index(along[0]) + (at,)] if along else x
        assert torch.equal(some[name], wanted), name
        assert len(some.axes[name]) == some[name].ndim


@pytest.mark.parametrize(
    "cut", [99, -99, slice(4, 4), "last", 1.5, (1, 2, 3, 4), ("a",), slice("a")]
)
def test_positions_that_are_not_there(vlm, inputs, cut):
    with pytest.raises(InputError, match="pos_slice"):
        vlm.run_with_cache(inputs, LAST, pos_slice=cut)


def test_what_a_cache_cannot_do_is_refused(vlm, inputs):
    for option in ({"incl_bwd": True}, {"reset_hooks_end": False}, {"incl_bwd": "yes"}):
        with pytest.raises(InputError, match=next(iter(option))):
            vlm.run_with_cache(inputs, LAST, **option)


@pytest.mark.parametrize(
    "names", [3, {"a": 1}, [3], lambda name: False, "blocks.9.*", ["hook_embd"]]
)
@pytest.mark.parametrize("door", ["run_with_cache", "add_caching_hooks", "get_caching_hooks"])
def test_a_filter_names_points(vlm, inputs, door, names):
    given = (inputs, names) if door == "run_with_cache" else (names,)
    with pytest.raises((InputError, UnknownPointError)):
        getattr(vlm, door)(*given)


@pytest.mark.parametrize(
    "wrong",
    [None, 3, "hook_embed", ["hook_embed"], [("hook_embed", 3)], [(3, len)], [("hook_embed",)], {}],
)
def test_hooks_are_pairs(vlm, inputs, wrong):
    if wrong == {}:
        wrong = {"hook_embed": len}
    with pytest.raises(InputError, match="pairs are wanted"):
        vlm.run_with_hooks(inputs, fwd_hooks=wrong)
    with pytest.raises(InputError, match="pairs are wanted"):
        vlm.hooks(bwd_hooks=wrong)


def test_one_pair_is_a_list_of_one(vlm, inputs):
    pair = ("hook_embed", lambda x, hook: x * 0)
    one, many = (vlm.run_with_hooks(inputs, fwd_hooks=given) for given in (pair, [pair]))
    assert torch.equal(one, many)


def test_a_hook_is_a_function_in_one_of_two_directions(vlm):
    with pytest.raises(InputError):
        vlm.add_hook("hook_embed", 3)
    with pytest.raises(InputError, match="dir="):
        vlm.add_hook("hook_embed", lambda x, hook: x, dir="forward")
    assert not vlm.hook_dict["hook_embed"].watched


@pytest.mark.parametrize(
    "name", [0, ("pattern", "x"), ("pattern", 0, 3), (), (3, 3), None, ("pattern", 1.5), [1]]
)
def test_a_cache_is_asked_by_name(vlm, inputs, name):
    saved = vlm.run(inputs, save="blocks.*.attn.hook_pattern").saved
    with pytest.raises(VLMLensError):
        saved[name]


# ------------------------------------------------------------------ torch's methods of a module


def public():
    """Every public method of a module that torch wrote (transformers adds one for its own use)."""
    methods = {n: getattr(nn.Module, n) for n in dir(nn.Module) if n[0] != "_"}
    return {n for n, m in methods.items() if callable(m) and m.__module__.startswith("torch")}


def test_every_method_of_a_module_is_decided():
    table = (as_module.HANDED, as_module.APPLIED, tuple(as_module.REFUSED), as_module.OWN)
    named = [name for part in table for name in part]
    assert len(named) == len(set(named))
    assert set(named) == public() | {"setup"}  # TransformerLens's


CALLS = {
    "apply": (lambda module: None,),
    "get_buffer": ("model.vision_tower.embeddings.position_ids",),
    "get_parameter": ("lm_head.weight",),
    "get_submodule": ("lm_head",),
    "requires_grad_": (False,),
    "type": (torch.float32,),
    "to": (torch.float32,),
    "register_buffer": ("x", torch.ones(1)),
    "register_parameter": ("x", nn.Parameter(torch.ones(1))),
    "register_module": ("x", nn.Linear(1, 1)),
    "add_module": ("x", nn.Linear(1, 1)),
    "set_submodule": ("x", nn.Linear(1, 1)),
    "set_extra_state": ({},),
}


def as_names(made):
    """Something to compare of what a method returns."""
    if isinstance(made, dict):
        return list(made)
    if hasattr(made, "__next__"):
        return [item[0] if isinstance(item, tuple) else id(item) for item in made]
    return id(made)


READ = (
    *("buffers", "children", "get_parameter", "get_submodule", "modules", "named_buffers"),
    *("named_children", "named_modules", "named_parameters", "parameters", "state_dict"),
)


@pytest.mark.parametrize("name", READ)
def test_what_is_read_is_the_models(vlm, name):
    given = CALLS.get(name, ())
    found = as_names(getattr(vlm, name)(*given))
    assert found == as_names(getattr(vlm.hf_model, name)(*given))
    assert found


@pytest.mark.parametrize("name", as_module.REFUSED)
def test_what_would_act_on_nothing_is_refused(vlm, name):
    with pytest.raises(InputError, match="would act on nothing"):
        getattr(vlm, name)(*CALLS.get(name, ()))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("to", ("banana",)),
        ("to", (torch.int8,)),
        ("to", ({},)),
        ("type", ("banana",)),
        ("type", (torch.int32,)),
        ("cuda", ("banana",)),
        ("cpu", (1,)),
    ],
)
def test_a_place_or_dtype_that_cannot_be_is_refused(vlm, inputs, name, given):
    before = vlm.run(inputs).logits
    with pytest.raises(InputError, match=rf"{name}\(.*cannot be done"):
        getattr(vlm, name)(*given)
    assert torch.equal(vlm.run(inputs).logits, before)


def test_a_part_that_would_not_be_the_models_is_refused(vlm):
    for part in (nn.Linear(1, 1), nn.Parameter(torch.ones(1))):
        with pytest.raises(InputError, match="would act on nothing"):
            vlm.head = part
    assert not hasattr(vlm, "head")


def test_what_acts_acts_on_the_model():
    hf_model, processor = build("llava")
    with vl.HookedVLM(hf_model, processor) as vlm:
        inputs = vlm.inputs([picture(0)], ["What?"])
        assert not vlm.training and not hf_model.training
        assert vlm.train() is vlm and vlm.training and hf_model.lm_head.training
        assert vlm.eval() is vlm and not vlm.training and not hf_model.lm_head.training
        vlm(inputs).sum().backward()
        assert hf_model.lm_head.weight.grad is not None
        vlm.zero_grad()
        assert hf_model.lm_head.weight.grad is None
        assert vlm.requires_grad_(False) is vlm
        assert not any(p.requires_grad for p in hf_model.parameters())
        before = vlm(inputs)
        state = {name: x.clone() for name, x in vlm.state_dict().items()}
        vlm.apply(lambda m: m.weight.data.zero_() if m is hf_model.lm_head else None)
        assert not torch.equal(vlm(inputs), before)
        vlm.load_state_dict(state)
        assert torch.equal(vlm(inputs), before)
        passes = []
        handle = vlm.register_forward_hook(lambda module, args, output: passes.append(module))
        vlm.run(inputs), vlm.generate(inputs, max_new_tokens=1)
        handle.remove()
        assert passes == [hf_model, hf_model]
        for name in set(as_module.APPLIED) - {"cuda", "xpu", "ipu", "mtia", "to_empty"}:
            assert getattr(vlm, name)(*CALLS.get(name, ())) is vlm, name
        assert vlm.half() is vlm and hf_model.dtype == torch.float16
    assert not hf_model.training


def test_scale_by_one_is_still_a_run(vlm, inputs):
    run = vlm.run(inputs, Scale("hook_embed", by=1))
    assert torch.equal(run.logits, vlm.run(inputs).logits)
