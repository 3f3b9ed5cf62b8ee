"""An adapter by its name: its model with the adapter on, or one line that says why not."""

import json
import shutil

import pytest
import torch
from conftest import build, picture
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model
from peft.utils import SAFETENSORS_WEIGHTS_NAME as WEIGHTS
from safetensors.torch import load_file, save_file

import vlmlens as vl
from vlmlens import zoo
from vlmlens.errors import InputError, UnknownModelError, UnsupportedModelError
from vlmlens.zoo.opening import adapters

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # between peft and transformers
LORA = {"target_modules": ["q_proj", "v_proj", "down_proj"], "init_lora_weights": False}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, and an adapter of it, each in a folder of its own."""
    home = tmp_path_factory.mktemp("adapted")
    model, processor = build("llava")
    model.save_pretrained(home / "base")
    processor.save_pretrained(home / "base")
    torch.manual_seed(0)
    opened, _ = zoo.load(home / "base")
    get_peft_model(opened, LoraConfig(**LORA)).save_pretrained(home / "adapter")
    return home


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved / "adapter", tmp_path / "adapter")


def test_it_answers_as_peft_says(saved):
    with vl.HookedVLM.from_pretrained(str(saved / "adapter")) as vlm:
        base, _ = zoo.load(saved / "base")
        inputs = vlm.inputs([picture(0)], ["What?"])
        theirs = PeftModel.from_pretrained(base, saved / "adapter").eval()
        logits = theirs(**inputs.tensors).logits
        assert torch.equal(vlm.run(inputs).logits, logits)
        plain, _ = zoo.load(saved / "base")
        assert not torch.allclose(plain(**inputs.tensors).logits, logits, atol=1e-3)
        assert vlm.audit().holds


def test_its_revision_is_of_both(saved, copied):
    with (
        vl.HookedVLM.from_pretrained(str(saved / "adapter")) as vlm,
        vl.HookedVLM.from_pretrained(str(saved / "base")) as base,
    ):
        below, _, own = vlm.revision.partition(" with ")
        assert below == base.revision
    weights = load_file(copied / WEIGHTS)
    save_file({name: value + 1 for name, value in weights.items()}, copied / WEIGHTS)
    with vl.HookedVLM.from_pretrained(str(copied)) as other:
        assert other.revision.partition(" with ")[0] == below
        assert other.revision.partition(" with ")[2] != own


def test_its_own_processor_is_the_nearer(saved, copied):
    with vl.HookedVLM.from_pretrained(str(saved / "base")) as base:
        base.processor.chat_template = "{{ 'mine' }}"
        base.processor.save_pretrained(copied)
    (copied / "config.json").unlink(missing_ok=True)
    with vl.HookedVLM.from_pretrained(str(copied)) as vlm:
        assert vlm.processor.chat_template == "{{ 'mine' }}"


def changed(folder, **told):
    settings = json.loads((folder / adapters.SETTINGS).read_text())
    (folder / adapters.SETTINGS).write_text(json.dumps(settings | told))


def test_an_adapter_without_all_of_its_weights(copied):
    weights = load_file(copied / WEIGHTS)
    save_file(dict(list(weights.items())[1:]), copied / WEIGHTS)
    with pytest.raises(UnsupportedModelError, match=r"lacks the weights .*lora_.*merge_and_unload"):
        vl.HookedVLM.from_pretrained(str(copied))


def test_modules_that_transformers_called_otherwise(saved, copied):
    """Older names find their modules; with names that no module has it does not go on in part."""
    weights = load_file(copied / WEIGHTS)

    def renamed(to):
        older = {name.replace("model.language_model", to): each for name, each in weights.items()}
        assert set(older) != set(weights)
        save_file(older, copied / WEIGHTS)
        return vl.HookedVLM.from_pretrained(str(copied))

    with (
        renamed("language_model.model") as older,
        vl.HookedVLM.from_pretrained(str(saved / "adapter")) as vlm,
    ):
        inputs = vlm.inputs([picture(0)], ["What?"])
        assert torch.equal(older.run(inputs).logits, vlm.run(inputs).logits)
    with pytest.raises(UnsupportedModelError, match="lacks the weights"):
        renamed("model.no_such_model")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"base_model_name_or_path": None}, "does not say which model"),
        ({"base_model_name_or_path": "gone"}, "is an adapter of gone, which is not there"),
        ({"target_modules": ["nothing"]}, "does not go on LlavaFor"),
        ({"peft_type": "NONE_OF_ITS"}, "does not go on LlavaFor"),
    ],
)
def test_settings_that_make_no_sense(copied, told, message):
    changed(copied, **told)
    with pytest.raises(UnsupportedModelError, match=message):
        vl.HookedVLM.from_pretrained(str(copied))


def test_broken_files(copied):
    (copied / WEIGHTS).write_bytes(b"none")
    with pytest.raises(UnsupportedModelError, match="does not go on"):
        vl.HookedVLM.from_pretrained(str(copied))
    (copied / adapters.SETTINGS).write_text("{")
    with pytest.raises(UnsupportedModelError, match="does not open"):
        vl.HookedVLM.from_pretrained(str(copied))


def test_a_folder_with_neither(tmp_path):
    with pytest.raises(UnknownModelError, match=r"without config\.json"):
        vl.HookedVLM.from_pretrained(str(tmp_path))


def test_tokens_before_the_prompt_are_in_no_module(saved, tmp_path):
    base, processor = zoo.load(saved / "base")
    settings = PrefixTuningConfig(
        num_virtual_tokens=2,
        task_type="CAUSAL_LM",
        num_layers=2,
        token_dim=16,
        num_attention_heads=2,
    )
    wrapped = get_peft_model(base, settings)
    with pytest.raises(UnsupportedModelError, match="before the prompt"):
        vl.HookedVLM(wrapped, processor)
    wrapped.save_pretrained(tmp_path)
    changed(tmp_path, base_model_name_or_path=str(saved / "base"))
    with pytest.raises(UnsupportedModelError, match="before the prompt"):
        vl.HookedVLM.from_pretrained(str(tmp_path))


@pytest.mark.filterwarnings("ignore:aLoRA is currently")
def test_adapters_that_a_wrapper_switches_are_refused(saved, copied):
    """The model inside would compute as if they were off."""
    base, processor = zoo.load(saved / "base")
    wrapped = get_peft_model(base, LoraConfig(**LORA, alora_invocation_tokens=[1, 2]))
    with pytest.raises(UnsupportedModelError, match="an activated LoRA"):
        vl.HookedVLM(wrapped, processor)
    changed(copied, alora_invocation_tokens=[1, 2])
    with pytest.raises(UnsupportedModelError, match="an activated LoRA"):
        vl.HookedVLM.from_pretrained(str(copied))


def test_a_folder_has_no_revision_but_its_files(saved):
    with pytest.raises(InputError, match="revision='v2'"):
        vl.HookedVLM.from_pretrained(str(saved / "adapter"), revision="v2")


def test_the_revision_that_an_adapter_names_is_of_a_base_on_the_hub(copied):
    changed(copied, revision="v2")  # its base lies in a folder, which has none
    vl.HookedVLM.from_pretrained(str(copied)).close()


@pytest.mark.slow
def test_every_kind_that_lies_in_modules(saved):
    """Wrapped as peft returns it: the logits are those of what was wrapped."""
    kinds = (
        LoraConfig(**LORA | {"use_dora": True}),
        LoraConfig(**LORA | {"modules_to_save": ["linear_2"]}),
        IA3Config(
            target_modules=["k_proj", "down_proj"],
            feedforward_modules=["down_proj"],
            init_ia3_weights=False,
        ),
    )
    for settings in kinds:
        base, processor = zoo.load(saved / "base")
        wrapped = get_peft_model(base, settings).eval()
        with vl.HookedVLM(wrapped, processor) as vlm:
            inputs = vlm.inputs([picture(0)], ["What?"])
            assert torch.equal(vlm.run(inputs).logits, wrapped(**inputs.tensors).logits)
            assert vlm.audit().holds


@pytest.mark.slow
def test_what_acts_is_said_and_counts(saved):
    """Off, on, another, merged: the words and the revision change with what is computed."""
    base, processor = zoo.load(saved / "base")
    wrapped = get_peft_model(base, LoraConfig(**LORA)).eval()
    wrapped.add_adapter("second", LoraConfig(**LORA | {"target_modules": ["q_proj"]}))
    with vl.HookedVLM(wrapped, processor) as vlm:

        def told():
            return vlm.audit().dtype, vlm.revision

        first = told()
        assert first[0].startswith("float32, adapter default on ")
        with wrapped.disable_adapter():
            assert told()[0] == "float32"
            off = vlm.revision
        wrapped.set_adapter("second")
        assert "adapter second on" in told()[0]
        second = vlm.revision
        wrapped.set_adapter("default")
        assert told() == first
        wrapped.merge_adapter()
        assert "adapter default (merged) on" in told()[0]
        assert len({first[1], off, second, vlm.revision}) == 4
