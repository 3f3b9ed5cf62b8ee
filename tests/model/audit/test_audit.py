"""What a model says of itself: on every family, on unknown ones, and on broken ones."""

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import torch
from conftest import EVERY, build, by_turns
from transformers import LlavaForConditionalGeneration

import vlmlens as vl
from vlmlens import families
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.families import FAMILIES
from vlmlens.model.audit.measure import Invariant, PointReport
from vlmlens.model.decoding.prefix import prefix_cache
from vlmlens.model.sequence import samples
from vlmlens.model.wiring import attention
from vlmlens.model.wiring import wire as wires

#: A fixed grid, a packed tower with three axes, tiles, norms on both sides, parallel sublayers.
RECOGNISED = ("llava", "qwen2_5_vl", "qwen3_vl", "idefics3", "gemma3", "aya_vision", "internvl")


@pytest.mark.parametrize("name", by_turns(EVERY))
def test_every_law_holds_on_every_family(name):
    with vl.HookedVLM(*build(name), name=name) as vlm:
        found = vlm.audit()
    assert found.holds, str(found)
    assert not found.recognised
    assert all(law.difference == 0 for law in found.invariants[:2])
    assert (found.invariants[-1].difference == 0) == (
        FAMILIES[name.split("/")[0]].videos is not None
    )
    offered = {point.name for point in found.points if point.layers}
    assert {"hook_embed", "blocks.*.attn.hook_z", "projector.hook_out"} <= offered


@pytest.mark.slow
@pytest.mark.parametrize("name", RECOGNISED)
def test_a_model_without_a_family_is_recognised_or_refused(name, monkeypatch):
    """Its family and its blocks' tables taken away, a model still tells the truth."""
    model, processor = build(name)
    kinds = {model.config.get_text_config().model_type, model.config.vision_config.model_type}
    between = families.BLOCKS[model.config.get_text_config().model_type]["hook_resid_mid"]
    monkeypatch.delitem(FAMILIES, model.config.model_type)
    for table in [t for t in families.BLOCKS if t.partition(":")[0] in kinds]:
        monkeypatch.delitem(families.BLOCKS, table)
    try:
        vlm = vl.HookedVLM(model, processor, name=name)
    except UnsupportedModelError as error:
        pytest.fail(str(error))
    with vlm:
        found = vlm.audit()
        if isinstance(between, families.Tap):
            assert vlm.hook_dict["blocks.0.hook_resid_mid"].tap.module == between.module
    assert found.recognised
    told = str(found)
    assert "recognised without a family" in told
    assert all(law.holds for law in found.invariants[:2]), told
    offered = {point.name for point in found.points if point.layers}
    assert {"hook_embed", "blocks.*.hook_resid_pre", "blocks.*.attn.hook_z"} <= offered


@pytest.mark.slow
def test_a_wrong_path_is_found(monkeypatch):
    """A table that takes the MLP's input for its output breaks a law, and the audit says which."""
    block = dict(families.BLOCKS["llama"])
    block["hook_mlp_out"] = families.Tap("mlp.up_proj", "in")
    monkeypatch.setitem(families.BLOCKS, "llama", block)
    with vl.HookedVLM(*build("llava")) as vlm:
        found = vlm.audit()
    assert not found.holds
    (broken,) = [law for law in found.invariants if not law.holds]
    assert broken.name.startswith("blocks: what the sublayers add")
    assert "FAIL" in str(found)


#: A hook that breaks one law, and what that law's name begins with.
BREAKING = {
    "blocks.1.attn.hook_v": (lambda x: x * 2, "nobody watching"),
    "blocks.2.attn.hook_v": (lambda x: x * 2, "every point saved"),
    "vision.blocks.1.hook_resid_post": (lambda x: x * 2, "vision.blocks: what the sublayers"),
    "blocks.1.hook_resid_post": (lambda x: x * float("nan"), "blocks: what the sublayers"),
    "blocks.1.attn.hook_pattern": (torch.ones_like, "blocks: no attention to what comes later"),
    "blocks.1.attn.hook_rot_k": (lambda x: x * 2, "blocks: queries and keys"),
    "hook_embed": (lambda x: x * 2 if x.shape[1] == 1 else x, "decoding with the cache"),
    "blocks.0.hook_resid_pre": (lambda x: x * 2 if len(x) == 1 else x, "a padded batch"),
}


@pytest.mark.parametrize("point", BREAKING)
def test_every_law_can_be_broken(point, monkeypatch):
    monkeypatch.setattr("vlmlens.model.audit.measure._points", lambda *_: ())
    change, name = BREAKING[point]
    with vl.HookedVLM(*build("llava")) as vlm:
        vlm.add_hook(point, lambda x, hook: change(x))
        found = vlm.audit()
    (law,) = [law for law in found.invariants if law.name.startswith(name)]
    assert not law.holds
    assert f"FAIL  {law.name}" in str(found)


def test_a_law_of_videos_is_broken_where_only_videos_are_wrong(monkeypatch):
    """Frames in another order, in our hands alone: everything about pictures still holds."""
    monkeypatch.setattr("vlmlens.model.audit.measure._points", lambda *_: ())
    decoded = samples.decoded

    def backward(*args):
        found = decoded(*args)
        return replace(found, frames=found.frames[::-1].copy())

    monkeypatch.setattr(samples, "decoded", backward)
    with vl.HookedVLM(*build("internvl")) as vlm:
        found = vlm.audit()
    (broken,) = [law for law in found.invariants if not law.holds]
    assert broken.name.startswith("a video")


@pytest.mark.slow
def test_who_cannot_be_shown_a_video_is_told_so(monkeypatch):
    monkeypatch.setattr("vlmlens.model.audit.measure._points", lambda *_: ())
    notes = []
    for lacking in ("video_processor", "chat_template"):
        model, processor = build("qwen2_5_vl")
        setattr(processor, lacking, build("llava")[1].chat_template if "chat" in lacking else None)
        if "chat" in lacking:
            processor.chat_template = processor.chat_template.replace(
                "<image>", "<|vision_start|><|image_pad|><|vision_end|>"
            )
        with vl.HookedVLM(model, processor) as vlm:
            found = vlm.audit()
        assert found.holds, str(found)
        notes.append(found.invariants[-1].note)
    assert notes[0] == "does not apply: it was opened without a video processor"
    assert notes[1].startswith("does not apply: ")


def test_a_video_that_is_refused_here_alone_is_a_fault(monkeypatch):
    """Where transformers' own processor takes it, our refusal is no reason to pass it over."""
    monkeypatch.setattr("vlmlens.model.audit.measure._points", lambda *_: ())

    def refuse(*_):
        raise InputError("no video today")

    monkeypatch.setattr(samples, "decoded", refuse)
    with vl.HookedVLM(*build("internvl")) as vlm:
        found = vlm.audit()
    (broken,) = [law for law in found.invariants if not law.holds]
    assert broken.difference == inf
    assert broken.note.startswith("refused here, and not there: ")
    assert broken.note.endswith("no video today")
    assert "FAIL" in str(found)


def test_a_token_that_transformers_counts_wrongly_is_found(monkeypatch):
    """Every new token is at position 0 for transformers' own decoding, and for nobody else."""
    usual = LlavaForConditionalGeneration.prepare_inputs_for_generation

    def from_zero(self, *args, **kwargs):
        made = usual(self, *args, **kwargs)
        if made["input_ids"].shape[1] == 1:
            made["position_ids"] = torch.zeros_like(made["input_ids"])
        return made

    monkeypatch.setattr("vlmlens.model.audit.measure._points", lambda *_: ())
    monkeypatch.setattr(LlavaForConditionalGeneration, "prepare_inputs_for_generation", from_zero)
    with vl.HookedVLM(*build("llava")) as vlm:
        found = vlm.audit()
    (broken,) = [law for law in found.invariants if not law.holds]
    assert broken.name.startswith("decoding by transformers' own generate")


def test_a_resumption_that_forgets_is_found(monkeypatch):
    """What comes before a cone is handed over wrongly: values are another's."""
    monkeypatch.setattr("vlmlens.model.audit.measure._points", lambda *_: ())

    def forgetting(keys, position):
        return prefix_cache([(k, v.roll(1, 2)) for k, v in keys], position)

    monkeypatch.setattr("vlmlens.model.reuse.splice.prefix_cache", forgetting)
    with vl.HookedVLM(*build("llava")) as vlm:
        found = vlm.audit()
    (broken,) = [law for law in found.invariants if not law.holds]
    assert broken.name.startswith("resuming from a prefill")


@pytest.mark.slow
def test_an_edit_that_moves_nothing_but_roundings_is_lost(monkeypatch):
    """An edit of the pattern takes another road through attention; arriving is more than that."""
    softmax, mix, made = attention.softmax, attention.mix, []

    def kept(x):
        made.append(softmax(x))
        return made[-1]

    monkeypatch.setattr(attention, "softmax", kept)
    monkeypatch.setattr(attention, "mix", lambda weights, value: mix(made[-1], value))
    with vl.HookedVLM(*build("llava")) as vlm:
        told = {point.name: point for point in vlm.audit().points}
    for part in ("blocks", "vision.blocks"):
        assert told[f"{part}.*.attn.hook_pattern"].edited == 0
        assert told[f"{part}.*.attn.hook_attn_scores"].edited > 0


@pytest.mark.slow
def test_the_readme_counts_the_laws(vlm):
    text = Path("README.md").read_text(encoding="utf-8")
    assert "This and ten more invariants" in text
    assert len(vlm.audit().invariants) == 1 + 10


def test_what_holds_by_hand():
    def point(fires, edited):
        return PointReport("hook_embed", "", layers=3, fires=fires, tried=2, edited=edited)

    assert point(3, 2).holds
    assert not point(2, 2).holds
    assert not point(3, 1).holds
    assert Invariant("", 1e-5, 1e-5).holds
    assert not Invariant("", 2e-5, 1e-5).holds
    assert not Invariant("", float("nan"), 1e-5).holds
    assert Invariant("", float("nan"), 1e-5, "does not apply").holds


def test_a_dead_point_is_found(monkeypatch):
    """Edits that are lost on the way leave the logits as they were."""
    monkeypatch.setattr(
        wires, "_carry_before", lambda wire: lambda module, args, kwargs: (args, kwargs)
    )
    with (
        vl.HookedVLM(*build("llava")) as vlm,
        pytest.raises(vl.VLMLensError, match="never reached it"),
    ):
        vlm.audit()


@pytest.mark.slow
def test_the_audit_on_inputs_of_ones_own(vlm, inputs):
    found = vlm.audit(inputs)
    assert found.holds, str(found)
    assert [law.note for law in found.invariants if law.note] == [
        "does not apply: made with a system or answers",
        "does not apply: it is shown no videos",
    ]
    raw = vlm.inputs_from(
        inputs.tensors["input_ids"][:1],
        attention_mask=inputs.tensors["attention_mask"][:1],
        pixel_values=inputs.tensors["pixel_values"][:1],
    )
    found = vlm.audit(raw)
    assert found.holds, str(found)
    assert [law.name for law in found.invariants if law.note] == [
        "resuming from a prefill: whole passes under the same edits",
        "a padded batch: its samples one by one",
        "a video: logits of transformers' own processor and model",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", by_turns([torch.bfloat16, torch.float16], [torch.bfloat16]))
def test_in_half_precision_the_first_laws_hold_exactly(dtype):
    model, processor = build("llava")
    with vl.HookedVLM(model.to(dtype), processor) as vlm:
        found = vlm.audit()
    assert found.holds, str(found)
    assert all(law.difference == 0 for law in found.invariants[:2])
    assert found.dtype == str(dtype).removeprefix("torch.")


def test_a_language_model_is_refused():
    model, _ = build("llava")
    with pytest.raises(UnsupportedModelError, match="no vision-language model"):
        vl.HookedVLM(model.model.language_model)
