"""Opening a model, and leaving it as it was found."""

import copy
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from closeness import assert_apart, assert_close
from conftest import QUESTIONS, build, picture
from transformers import LlamaConfig, LlamaForCausalLM, LlavaConfig

import vlmlens as vl
from vlmlens.errors import (
    ClosedModelError,
    InputError,
    UnknownModelError,
    UnreachableError,
    UnsupportedModelError,
)
from vlmlens.families import BLOCKS
from vlmlens.interventions import Scale
from vlmlens.model.doors import as_module
from vlmlens.model.lifetime.device import device_of
from vlmlens.model.wiring.attention import SLOT

NAMES = ["llava", "llava/siglip-qwen2"]


def made(vlm):
    return vlm.inputs([picture(0), picture(1)], list(QUESTIONS))


def state(model):
    """Everything about a model that wrapping it could change."""
    config = model.config
    return {
        "attention": [
            part._attn_implementation for part in (config, config.text_config, config.vision_config)
        ],
        "training": [module.training for module in model.modules()],
        "hooks": [
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in model.modules()
        ],
        "forward": [module.forward.__func__ for module in model.modules()],
        "config": config.to_dict(),
        "weights": [parameter.data_ptr() for parameter in model.parameters()],
        "grad": [parameter.requires_grad for parameter in model.parameters()],
    }


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        (NAMES[0], "sdpa"),
        (NAMES[0], "eager"),
        (NAMES[1], {"text_config": "sdpa", "vision_config": "eager"}),
    ],
    ids=["sdpa", "eager", "mixed"],
)
def test_a_model_is_watched_as_it_is_and_left_as_it_was_found(name, attention):
    model, processor = build(name)
    model.set_attn_implementation(attention)
    with vl.HookedVLM(model, processor) as vlm:
        inputs = made(vlm)
    with torch.no_grad():
        plain = model(**inputs.tensors).logits  # transformers sets hooks of its own in this pass
    model.train()
    model.model.vision_tower.eval()  # as one trains with a frozen tower
    before = state(model)
    with vl.HookedVLM(model, processor) as vlm:
        assert not any(module.training for module in model.modules())
        assert vlm.attention == ("eager" if attention == "eager" else "sdpa")
        assert torch.equal(vlm.run(inputs, save="*").logits, plain)
        vlm.run(inputs, [Scale(point="blocks.*.hook_mlp_out", by=2.0)], attention="eager")
        vlm.add_hook("blocks.0.attn.hook_pattern", lambda x, hook: x * 2)
        vlm.add_hook("hook_embed", lambda x, hook: x * 2, is_permanent=True)
        hooked = vlm.run(inputs).logits
    assert state(model) == before
    assert not any(SLOT in vars(module) for module in model.modules())
    with torch.no_grad():
        assert torch.equal(model.eval()(**inputs.tensors).logits, plain)
    assert_apart(plain, hooked)


def test_a_model_is_held_by_one_at_a_time():
    model, processor = build(NAMES[0])
    first = vl.HookedVLM(model, processor)
    with pytest.raises(UnsupportedModelError, match="close that one first"):
        vl.HookedVLM(model, processor)
    inputs = made(first)
    logits = first.run(inputs).logits  # the first is none the worse
    first.close()
    with vl.HookedVLM(model, processor) as second:
        assert torch.equal(second.run(inputs).logits, logits)


def test_a_closed_model_refuses():
    model, processor = build(NAMES[0])
    vlm = vl.HookedVLM(model, processor, name="mine")
    inputs = made(vlm)
    vlm.close()
    vlm.close()  # once more does no harm
    assert "closed" in repr(vlm)
    for use in (vlm.run, vlm.generate, vlm.forward, vlm.run_with_cache, vlm):
        with pytest.raises(ClosedModelError, match="mine is closed"):
            use(inputs)


ACTS = {*as_module.HANDED, *as_module.APPLIED, *as_module.REFUSED} - {*as_module.READING}
ACTS |= {name for name in dir(vl.HookedVLM) if name.startswith("set_use_")}


@pytest.fixture(scope="module")
def closed():
    vlm = vl.HookedVLM(*build(NAMES[0]), name="mine")
    vlm.close()
    return vlm


@pytest.mark.parametrize("name", sorted(ACTS))
def test_a_closed_model_has_no_method_of_torch_that_acts(closed, name):
    before, training = state(closed.hf_model), closed.training
    given = {"apply": (lambda module: None,), "type": (torch.float64,), "to": (torch.float64,)}
    with pytest.raises(ClosedModelError, match="mine is closed"):
        getattr(closed, name)(*given.get(name, ()))
    with pytest.raises(ClosedModelError):
        closed.training = not training
    assert state(closed.hf_model) == before
    assert closed.hf_model.dtype == torch.float32


@pytest.mark.parametrize("name", ["parameters", "named_modules", "state_dict"])
def test_what_a_closed_model_is_made_of_can_be_read(closed, name):
    assert len(list(getattr(closed, name)())) > 10


@pytest.mark.parametrize("part", ["tokenizer", "image_processor", "number", "class"])
def test_what_is_no_processor_is_refused(part):
    model, processor = build(NAMES[0])
    parts = {"number": 3, "class": type(processor)}
    given = parts[part] if part in parts else getattr(processor, part)
    with pytest.raises(InputError, match=r"is no processor.*AutoProcessor\.from_pretrained"):
        vl.HookedVLM(model, given)
    vl.HookedVLM(model).close()
    vl.HookedVLM(model, processor).close()


def test_it_closes_when_the_block_raises():
    model, processor = build(NAMES[0])
    before = state(model)
    with pytest.raises(RuntimeError, match="mine"), vl.HookedVLM(model, processor):
        raise RuntimeError("mine")
    assert state(model) == before


def text_only():
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    return LlamaForCausalLM(config)


def test_a_model_that_sees_nothing():
    with pytest.raises(UnsupportedModelError, match=r"LlamaForCausalLM.*no vision_config"):
        vl.HookedVLM(text_only())


class OddConfig(LlavaConfig):
    model_type = "odd_vlm"


def test_a_family_that_nobody_has_added():
    model, processor = build(NAMES[0])
    model.config.__class__ = OddConfig
    before = state(model)
    with vl.HookedVLM(model, processor) as vlm:  # its parts have names that can be recognised
        assert vlm.recognised
    assert state(model) == before


def test_parts_that_cannot_be_recognised():
    model, processor = build(NAMES[0])
    model.config.__class__ = OddConfig
    model.model.add_module("mixer", model.model.multi_modal_projector)
    del model.model.multi_modal_projector
    before = state(model)
    with pytest.raises(UnsupportedModelError, match=r"no projector .*add_a_family"):
        vl.HookedVLM(model, processor)
    assert state(model) == before


def test_blocks_that_no_table_describes(monkeypatch):
    model, processor = build(NAMES[0])
    monkeypatch.delitem(BLOCKS, "llama")
    before = state(model)
    with pytest.raises(UnsupportedModelError, match="'llama' blocks"):
        vl.HookedVLM(model, processor)
    assert state(model) == before


def test_without_a_processor_tensors_run_all_the_same(vlm, inputs):
    model = copy.deepcopy(vlm.hf_model)
    model.set_attn_implementation("sdpa")
    tensors = {k: v for k, v in inputs.tensors.items() if k != "position_ids"}
    with vl.HookedVLM(model) as bare:
        made = bare.inputs_from(tensors.pop("input_ids"), **tensors)
        assert torch.equal(bare.run(made).logits, vlm.run(inputs).logits)
        assert bare.generate(made, max_new_tokens=2, stop=False).texts == ()


# Attention, one way or the other.


def test_eager_is_close_to_sdpa_and_lasts_one_call(vlm, inputs):
    usual = vlm.run(inputs)
    eager = vlm.run(inputs, attention="eager")
    assert (usual.attention, eager.attention) == ("sdpa", "eager")
    own = inputs.tensors["attention_mask"].bool()  # of padding, the two make different nonsense
    assert_close(eager.logits[own], usual.logits[own])
    assert torch.equal(vlm.run(inputs).logits, usual.logits)
    again = vlm.run(inputs, save="*", attention="eager").logits
    assert torch.equal(again, eager.logits)
    generated = vlm.generate(inputs, max_new_tokens=2, attention="eager")
    assert {step.attention for step in generated.steps} == {"eager"}
    with pytest.raises(InputError, match="auto, eager, sdpa"):
        vlm.run(inputs, attention="flash")


def test_a_failing_run_leaves_the_usual_attention(vlm, inputs):
    usual = state(vlm.hf_model)["attention"]

    def fail(x, hook):
        raise RuntimeError("mine")

    vlm.add_hook("hook_embed", fail)
    with pytest.raises(RuntimeError, match="mine"):
        vlm.run(inputs, attention="eager")
    vlm.reset_hooks()
    assert state(vlm.hf_model)["attention"] == usual


# Folders, names, hub ids.


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    model, processor = build(NAMES[0])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    with vl.HookedVLM(model, processor) as vlm:
        inputs = made(vlm)
        return folder, inputs, vlm.run(inputs).logits


def opened(folder, **options):
    return vl.HookedVLM.from_pretrained(str(folder), **options)


def test_a_saved_model_is_the_model_in_memory(saved):
    folder, inputs, logits = saved
    with opened(folder) as vlm:
        again = made(vlm)
        for name, tensor in inputs.tensors.items():
            assert torch.equal(again.tensors[name], tensor), name
        for ours, theirs in zip(again.layouts, inputs.layouts, strict=True):
            assert ours.roles == theirs.roles
        assert torch.equal(vlm.run(again).logits, logits)
        assert vlm.name == str(folder)


@pytest.mark.parametrize(
    "options",
    [{"device": "cpu"}, {"device_map": "auto"}, {"device_map": {"": "cpu"}}],
    ids=["device", "auto", "map"],
)
def test_wherever_it_is_put(saved, options):
    folder, inputs, logits = saved
    with opened(folder, **options) as vlm:
        assert torch.equal(vlm.run(inputs, save="blocks.*.attn.*").logits, logits)


def test_a_module_computes_where_its_hook_puts_it():
    """Offloaded weights are on ``meta`` between passes."""
    module = torch.nn.Linear(1, 1, device="meta")
    assert device_of(module) == torch.device("cpu")
    module._hf_hook = SimpleNamespace(hooks=[SimpleNamespace(execution_device="cuda:1")])
    assert device_of(module) == torch.device("cuda:1")
    module._hf_hook = SimpleNamespace(execution_device="cpu")
    assert device_of(module) == torch.device("cpu")
    assert device_of(torch.nn.Identity()) == torch.device("cpu")


def test_the_revision_is_that_of_the_weights(saved, tmp_path):
    folder, *_ = saved
    with opened(folder) as vlm:
        revision = vlm.revision
    with opened(folder) as vlm:
        assert vlm.revision == revision
        with torch.no_grad():
            vlm.hf_model.lm_head.weight[0, 0] += 1
        vlm.hf_model.save_pretrained(tmp_path)
        vlm.processor.save_pretrained(tmp_path)
    with opened(tmp_path) as vlm:
        assert vlm.revision != revision


def test_a_dtype_by_name_or_by_value(saved):
    folder, *_ = saved
    for dtype in (torch.bfloat16, "bfloat16"):
        with opened(folder, dtype=dtype) as vlm:
            assert vlm.hf_model.dtype == torch.bfloat16
    with pytest.raises(InputError, match="float33"):
        opened(folder, dtype="float33")
    with pytest.raises(InputError, match="device='nowhere'"):
        opened(folder, device="nowhere")


def test_names_that_lead_nowhere(tmp_path):
    with pytest.raises(UnknownModelError, match=r"give a folder, or a hub id"):
        opened("shapes-bse")
    with pytest.raises(UnreachableError, match="the hub is not to be asked"):
        opened("nobody/nothing", local_files_only=True)
    with pytest.raises(UnknownModelError, match=r"folder without config\.json"):
        opened(tmp_path)
    with pytest.raises(UnknownModelError):
        opened(tmp_path / "not" / "there")


def test_a_folder_with_a_model_that_sees_nothing(tmp_path):
    text_only().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"'llama' model.*no vision-language model"):
        opened(tmp_path)


def without(pattern):
    def spoil(folder):
        for path in folder.glob(pattern):
            path.unlink()

    return spoil


def config_of(model_type):
    def spoil(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": model_type}))

    return spoil


def generation(text):
    return lambda folder: (folder / "generation_config.json").write_text(text)


def cut_off(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("*.safetensors"), "no weights that open"),
        (cut_off, "no weights that open"),
        (without("*processor*"), "no processor that opens"),
        (without("token*"), "no processor that opens"),
        (lambda folder: (folder / "config.json").write_text("{"), "does not open as a model"),
        (config_of("odd_vlm"), "does not open as a model"),
        (generation("{"), "generation_config.json does not open"),
        (generation(""), "generation_config.json does not open"),
        (generation("[]"), "generation_config.json does not open"),
        (lambda folder: (folder / "generation_config.json").write_bytes(b"\xff"), "does not open"),
    ],
    ids=[
        *("no weights", "half the weights", "no processor", "no tokenizer", "bad config", "odd"),
        *("half the settings", "no settings", "a list of settings", "no text"),
    ],
)
def test_a_folder_that_lacks_something_says_what(saved, tmp_path, spoil, message):
    folder, *_ = saved
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    spoil(copied)
    with pytest.raises(UnsupportedModelError, match=message):
        opened(copied)


# Half precision and the GPU.


def looking_changes_nothing(name, device, dtype):
    model, processor = build(name)
    model = model.to(device=device, dtype=dtype)
    with vl.HookedVLM(model, processor) as vlm:
        inputs = made(vlm)
        rows = [vl.Save("blocks.*.attn.hook_pattern", rows="last")]
        logits = [vlm.run(inputs, save=save).logits for save in ((), "*", rows)]
        said = [vlm.generate(inputs, save=save, max_new_tokens=2).tokens for save in ((), "*")]
        saved = vlm.run(inputs, save="blocks.*.attn.hook_pattern").saved
    with torch.no_grad():
        plain = model(**inputs.tensors, use_cache=False).logits
    assert plain.dtype == dtype
    assert plain.isfinite().all()
    for other in logits:
        assert torch.equal(plain, other)
    assert torch.equal(*said)
    pattern = saved.stack("blocks.*.attn.hook_pattern")
    for row, layout in enumerate(inputs.layouts):
        own = torch.from_numpy(~layout.mask("pad")).to(device)
        sums = pattern[:, row][:, :, own].float().sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=0.02)
    return inputs, plain


@pytest.mark.parametrize("name", NAMES)
def test_watching_changes_nothing_in_bfloat16(name):
    looking_changes_nothing(name, "cpu", torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA on this machine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_watching_changes_nothing_on_a_gpu(name, dtype):
    inputs, plain = looking_changes_nothing(name, "cuda", dtype)
    assert all(tensor.is_cuda for tensor in inputs.tensors.values())
    if dtype == torch.float32:
        _, slow = looking_changes_nothing(name, "cpu", dtype)
        own = inputs.tensors["attention_mask"].cpu().bool()
        torch.testing.assert_close(plain.cpu()[own], slow[own], rtol=1e-2, atol=1e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA on this machine")
@pytest.mark.parametrize("name", NAMES)
def test_edits_and_probes_on_a_gpu(name):
    model, processor = build(name)
    with vl.HookedVLM(model.cuda(), processor) as vlm:
        inputs = made(vlm)
        cut = vl.interventions.KnockOut(where=vl.Where(keys="vision", heads=0))
        pattern = vlm.run(inputs, [cut], "blocks.0.attn.hook_pattern").saved
        for row, layout in enumerate(inputs.layouts):
            vision = torch.from_numpy(layout.mask("vision"))
            assert (pattern["blocks.0.attn.hook_pattern"][row, 0].cpu()[:, vision] == 0).all()
        assert not torch.equal(
            vlm.run(inputs, [vl.interventions.PermuteVision()]).logits, vlm.run(inputs).logits
        )
        needs = [*vl.probes.cmb.NEEDS, *vl.probes.norms.NEEDS, *vl.probes.rope.NEEDS]
        run = vlm.run(inputs, save=needs)
        for table in (
            vl.probes.cross_modality_balance(run),
            vl.probes.hidden_norms(run, roles=("user", "vision")),
            vl.probes.rope_sensitivity(run)["delta_alpha_v"],
        ):
            assert table.notnull().all()


def test_the_holder_moves_and_casts_what_it_holds():
    copied, _ = build("llava")
    with vl.HookedVLM(copied) as model:
        assert model.to(torch.float64) is model
        assert copied.dtype == torch.float64


def test_models_in_memory_are_told_apart_by_their_weights():
    copied, _ = build("llava")
    with vl.HookedVLM(copied) as model:
        before = model.revision
    with vl.HookedVLM(copied) as model:
        assert model.revision == before
    with torch.no_grad():
        copied.lm_head.weight[0, 0] += 1
    with vl.HookedVLM(copied) as model:
        assert model.revision != before
