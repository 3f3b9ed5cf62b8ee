"""A checkpoint that also speaks: the part that sees and answers is opened, alone."""

import pytest
import torch
import transformers
from conftest import build, picture

import vlmlens as vl
from vlmlens import planning

WHOLE = {
    "qwen2_5_omni_thinker": ("Qwen2_5OmniForConditionalGeneration", "Qwen2_5OmniConfig"),
    "qwen3_omni_moe_thinker": ("Qwen3OmniMoeForConditionalGeneration", "Qwen3OmniMoeConfig"),
}


def saved_whole(name, folder):
    """The thinker, and the folder of a whole model around it."""
    thinker, processor = build(name)
    kind, config = (getattr(transformers, each) for each in WHOLE[name])
    own = config(thinker_config=thinker.config.to_dict(), enable_audio_output=False)
    whole = kind(own)
    whole.thinker.load_state_dict(thinker.state_dict())
    whole.save_pretrained(folder)
    processor.save_pretrained(folder)
    return thinker, processor


def opened(folder):
    return vl.HookedVLM.from_pretrained(str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_the_thinker_of_a_whole_checkpoint_answers_as_it_does_alone(name, tmp_path):
    thinker, processor = saved_whole(name, tmp_path)
    asked = [picture(0)], ["What is left?"]
    with vl.HookedVLM(thinker, processor) as alone, opened(tmp_path) as vlm:
        assert vlm.config.model_type == name
        assert not vlm.recognised
        one, other = alone.inputs(*asked), vlm.inputs(*asked)
        assert torch.equal(one.tensors["input_ids"], other.tensors["input_ids"])
        assert torch.equal(alone.run(one).logits, vlm.run(other).logits)
    config = vl.zoo.configuration(tmp_path)
    assert config.model_type == name
    counted = sum(planning.plan(str(tmp_path), config).parameters.values())
    assert counted == sum(p.numel() for p in thinker.parameters())


def test_a_picture_is_numbered_as_transformers_generate_numbers_it():
    """``forward`` alone does so only with a mask: what is compared with is what it hands on."""
    model, processor = build("qwen2_5_omni_thinker")
    with vl.HookedVLM(model, processor) as vlm:
        given = vlm.inputs([picture(0)], ["What is left?"]).tensors
        seen = {k: v for k, v in given.items() if k != "position_ids"}
        theirs = model._prepare_position_ids_for_generation(seen["input_ids"], dict(seen))
        assert torch.equal(given["position_ids"], theirs[1:])
        assert not torch.equal(theirs[1], theirs[2])
