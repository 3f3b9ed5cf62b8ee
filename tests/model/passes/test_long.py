"""Long prompts: what probes keep grows with them, and what has no room is refused."""

import pytest
import torch
from conftest import build

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.model.passes import room
from vlmlens.planning import drawn, weighing
from vlmlens.probes import cmb, norms, rope
from vlmlens.zoo.opening.weightless import weightless

PATTERNS = "blocks.*.attn.hook_pattern"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::vlmlens.errors.BeyondTrainingWarning")
@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize("needs", [(), cmb.NEEDS, rope.NEEDS, norms.NEEDS])
def test_memory_grows_with_the_prompt_and_not_with_its_square(name, needs):
    model, _ = build(name)
    bare = vl.HookedVLM(weightless(name, model.config))
    with bare, weighing(bare.hf_model, {}) as scale:
        short, middle, long = (
            scale.count(lambda: bare.run(inputs, save=needs, logits="last")).peak  # noqa: B023
            for inputs in (drawn(bare, length) for length in (1024, 2048, 32768))
        )
    each = (middle - short) / 1024
    assert long == pytest.approx(middle + (32768 - 2048) * each, rel=0.05)


def test_patterns_without_room_are_refused_with_their_size(monkeypatch):
    model, processor = build("llava")
    vlm = vl.HookedVLM(model, processor)
    inputs = drawn(vlm, 84)
    (length,) = (len(layout) for layout in inputs.layouts)
    heads = model.config.text_config.num_attention_heads
    size = vlm.layers * heads * length**2 * 4
    monkeypatch.setattr(room, "free_memory", lambda device: size)
    assert len(vlm.run(inputs, save=PATTERNS).saved) == vlm.layers
    monkeypatch.setattr(room, "free_memory", lambda device: size - 1)
    passes = []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    with pytest.raises(InputError, match=rf"{size / 2**30:.1f} GiB.*rows='last'"):
        vlm.run(inputs, save=PATTERNS)
    assert not passes
    vlm.run(inputs, save=vl.Save(PATTERNS, rows="last"))
    vlm.run(inputs, save=vl.Save(PATTERNS, reduce=lambda x: x.sum(-1)))


@pytest.mark.filterwarnings("ignore::vlmlens.errors.BeyondTrainingWarning")
def test_a_prompt_whose_patterns_do_not_fit_here():
    """Asked of this machine itself; a pass of that length would take minutes."""
    model, processor = build("llava")
    vlm = vl.HookedVLM(model, processor)
    free = room.free_memory(torch.device("cpu"))
    heads = vlm.layers * model.config.text_config.num_attention_heads
    length = int((free * 1.5 / (4 * heads)) ** 0.5)
    with pytest.raises(InputError, match="GiB are free on cpu"):
        vlm.run(drawn(vlm, length), save=PATTERNS)
    assert room.free_memory(torch.device("meta")) is None
