"""An edit of hook_embed is one of what the language model is handed: nothing reads around it."""

import pytest
import torch
from closeness import assert_apart, assert_close
from conftest import EVERY, KINDS, QUESTIONS, build, by_turns, picture

import vlmlens as vl
from vlmlens.interventions import ZeroAblate

GONE = ZeroAblate("hook_embed", vl.Where(positions="vision"))


@pytest.fixture(params=by_turns(EVERY, [*KINDS, "gemma4"]))
def vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


def by_hand(vlm, inputs):
    """The last logits where plain transformers is handed zeros for an image."""

    def blank(module, args, kwargs):
        there = torch.from_numpy(inputs.layouts[0].mask("vision"))[None, :, None]
        return args, kwargs | {"inputs_embeds": kwargs["inputs_embeds"].masked_fill(there, 0)}

    inner = vlm.hf_model.get_submodule(vlm.family.lm_layers.rpartition(".")[0])
    hook = inner.register_forward_pre_hook(blank, with_kwargs=True)
    try:
        with torch.no_grad():
            return vlm.hf_model(**inputs.tensors, use_cache=False).logits[:, -1]
    finally:
        hook.remove()


def test_it_reaches_all_that_is_made_of_the_embeddings(vlm):
    inputs = vlm.inputs([picture(0)], [QUESTIONS[0]])
    expected, clean = by_hand(vlm, inputs), vlm.run(inputs).logits[:, -1]
    assert_close(vlm.run(inputs, GONE).logits[:, -1], expected)
    assert_apart(clean, expected)
    prefill = vlm.prefill(inputs)
    assert_close(vlm.resume(prefill, [[GONE]]).logits[0], expected)
    edited = vlm.prefill(inputs, interventions=GONE)
    assert_close(edited.logits, expected)
    assert_close(vlm.resume(edited, [[]]).logits[0], expected)
