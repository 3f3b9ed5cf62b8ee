"""Every tiny model can be saved, and opened like any checkpoint: without torchvision."""

import json
from importlib.util import find_spec

import pytest
import torch
from closeness import assert_close
from conftest import EVERY, QUESTIONS, build, by_turns, picture

import vlmlens as vl
from vlmlens.errors import UnknownModelError, UnsupportedModelError
from vlmlens.families import FAMILIES
from vlmlens.zoo.opening import pixels
from vlmlens.zoo.opening.processors import stills
from vlmlens.zoo.tiny import TINY, made

#: Their image processors exist for torchvision only; ours stands in, and cannot be opened by name.
STAND_INS = [
    name
    for name in EVERY
    if getattr(vars(pixels).get(TINY[name].pixels[0]), "__module__", "") == pixels.__name__
]


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is there")
@pytest.mark.parametrize("name", STAND_INS)
def test_a_processor_that_needs_torchvision_says_so(name, tmp_path):
    model, processor = build(name)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="no processor that opens"):
        vl.HookedVLM.from_pretrained(str(tmp_path))


@pytest.mark.parametrize("name", by_turns(name for name in EVERY if name not in STAND_INS))
def test_a_saved_model_opens_and_says_the_same(name, tmp_path):
    model, processor = build(name)
    with vl.HookedVLM(model, processor) as vlm:
        given = vlm.inputs([picture(0), picture(1, (90, 40))], list(QUESTIONS))
        logits = vlm.run(given).logits
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with vl.HookedVLM.from_pretrained(str(tmp_path)) as opened:
        again = opened.inputs([picture(0), picture(1, (90, 40))], list(QUESTIONS))
        assert set(again.tensors) == set(given.tensors)
        for key, tensor in given.tensors.items():
            assert torch.equal(again.tensors[key], tensor), key
        # Weights lie elsewhere in memory, and kernels may sum them in another order.
        assert_close(opened.run(again).logits, logits)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["processor_class"] == type(processor).__name__


def test_every_family_has_a_tiny_model():
    assert set(FAMILIES) == {name.partition("/")[0] for name in TINY}


def test_a_family_that_is_younger_than_transformers_says_so():
    with pytest.raises(UnsupportedModelError, match="none_yet is known here, but transformers 5"):
        made(TINY["llava"], "none_yet")


def test_names_that_are_not_there():
    with pytest.raises(UnknownModelError, match="gemma3"):
        build("gemma33")
    with pytest.raises(UnsupportedModelError, match="no processor"):
        stills("llama")
