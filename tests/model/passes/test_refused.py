"""What transformers' own code stumbles over is an error of ours; what users raise is theirs."""

import pytest
import torch
from conftest import QUESTIONS, build, picture

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.interventions import Edit, Scale

#: Pictures that a family's tower cannot take, and what torch says of them.
TOO_ODD = {
    "gemma4": ((200, 3), "IndexError: index out of range"),
    "mistral3": ((1, 1), "RuntimeError: split_with_sizes"),
    "lfm2_vl": ((3, 200), "RuntimeError: Given normalized_shape"),
}


@pytest.fixture(scope="module", params=TOO_ODD)
def case(request):
    size, said = TOO_ODD[request.param]
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        inputs = model.inputs([picture(0, size)], [QUESTIONS[0]])
        yield model, inputs, f"cannot run .* with pictures of {size[0]} x {size[1]} .*{said}"


def test_every_door_says_which_pictures(case):
    model, inputs, said = case
    doors = (
        lambda: model.run(inputs),
        lambda: model.run(inputs, save="hook_embed", logits=False),
        lambda: model(inputs),
        lambda: model.prefill(inputs),
        lambda: model.generate(inputs, max_new_tokens=2),
        lambda: model.run_with_cache(inputs),
    )
    for door in doors:
        with pytest.raises(InputError, match=said) as caught:
            door()
        assert caught.value.__cause__ is not None
    with pytest.raises(InputError, match=r"under Scale\(.*Error"):
        model.run(inputs, Scale("hook_embed", by=2.0))
    with pytest.raises(InputError, match=said), model.reuse():
        model.run(inputs)
    assert not any(point.watched for point in model.hook_dict.values())


def mine(*_):
    raise ValueError("mine")


def torchs(x, *_):
    return x.reshape(7, 11, 13)


@pytest.mark.parametrize("by", [mine, torchs])
def test_what_a_hook_raises_passes_as_it_is(vlm, by):
    inputs = vlm.inputs([picture(0)], [QUESTIONS[0]])
    own = (ValueError, RuntimeError)
    with pytest.raises(own), vlm.hooks([("hook_embed", lambda x, hook: by(x))]):
        vlm.run(inputs)
    with pytest.raises(own):
        vlm.run(inputs, Edit("hook_embed", by=by))
    block = vlm.hf_model.get_submodule(vlm.family.lm_layers)[0]
    handle = block.register_forward_hook(lambda module, args, output: by(args[0]))
    try:
        with pytest.raises(own):
            vlm.run(inputs)
    finally:
        handle.remove()


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("no room")])
def test_memory_that_runs_out_passes_as_it_is(vlm, monkeypatch, error):
    def full(*_args, **_given):
        raise error

    inputs = vlm.inputs([picture(0)], [QUESTIONS[0]])
    monkeypatch.setattr(vlm.hf_model, "forward", full)
    with pytest.raises(type(error)):
        vlm.run(inputs)
