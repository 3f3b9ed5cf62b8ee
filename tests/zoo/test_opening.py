"""What does not open says why, and half a model is none."""

import json
import os
import pickle
import shutil

import pytest
import torch
from conftest import EVERY, build, picture
from safetensors.torch import load_file, save_file
from transformers import MllamaConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import vlmlens as vl
from vlmlens import zoo
from vlmlens.errors import FetchError, InputError, UnfetchedModelError, UnsupportedModelError
from vlmlens.families import FAMILIES
from vlmlens.zoo import smol
from vlmlens.zoo.opening import homes
from vlmlens.zoo.opening.homes import HASHES
from vlmlens.zoo.opening.unwired import UNWIRED
from vlmlens.zoo.opening.whole import sha256, write_hashes
from vlmlens.zoo.smol import wheels

WEIGHTS = "model.safetensors"


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def opened(folder, **options):
    return vl.HookedVLM.from_pretrained(str(folder), **options)


def with_weights(change):
    def spoil(folder):
        kept = load_file(folder / WEIGHTS)
        change(kept)
        save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})

    return spoil


def with_config(change):
    def spoil(folder):
        told = json.loads((folder / "config.json").read_text())
        told = change(told) or told
        (folder / "config.json").write_text(json.dumps(told))

    return spoil


def without(part):
    def change(kept):
        gone = [key for key in kept if part in key]
        assert gone
        for key in gone:
            del kept[key]

    return with_weights(change)


def layers(part, number):
    return with_config(lambda told: told[part].update(num_hidden_layers=number))


def short(kept):
    (head,) = [key for key in kept if key.endswith("lm_head.weight")]
    kept[head] = torch.zeros(3, 32)


def evil(folder):
    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(folder / "ran"),)

    (folder / WEIGHTS).unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"weight": Runs()}, file, protocol=2)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("multi_modal_projector"), "lacks the weights .*multi_modal_projector"),
        (without("lm_head"), "lacks the weights lm_head.weight"),
        (without("layers.1.mlp.gate_proj"), "lacks the weights .*layers.1.mlp.gate"),
        (without("vision_tower"), "lacks the weights .*vision_tower.* and [0-9]+ more"),
        (layers("text_config", 4), "lacks the weights .*layers.3"),
        (layers("text_config", 2), "no place for .*layers.2"),
        (layers("vision_config", 5), "lacks the weights .*vision"),
        (
            with_weights(lambda kept: kept.update(adapter=torch.zeros(2))),
            "no place for adapter",
        ),
        (
            with_weights(short),
            "does not open",
        ),
        (evil, "a pickle that holds more than tensors"),
        (lambda folder: (folder / "config.json").write_text("[1]"), "does not open as a model"),
        (with_config(lambda told: told.update(vision_feature_select_strategy="foo")), "strategy"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"\x07" * 5000), "no weights that open"),
    ],
    ids=[
        "no projector",
        "no head",
        "no gate",
        "no tower",
        "more layers",
        "fewer layers",
        "deeper tower",
        "an adapter",
        "another shape",
        "evil",
        "a list",
        "no such strategy",
        "noise",
    ],
)
def test_half_a_model_is_refused_by_name(copied, spoil, message):
    opened(copied).close()
    spoil(copied)
    with pytest.raises(UnsupportedModelError, match=message) as told:
        opened(copied)
    assert not (copied / "ran").exists()
    assert "weights_only" not in str(told.value)


def test_shapes_that_are_to_be_ignored_are_refused_too(copied):
    with_weights(short)(copied)
    with pytest.raises(UnsupportedModelError, match="of other shapes than"):
        opened(copied, ignore_mismatched_sizes=True)


@pytest.mark.parametrize("layer", [0, 9, [0]])
def test_a_projector_that_reads_no_block_is_refused(copied, layer):
    with_config(lambda told: told.update(vision_feature_layer=layer))(copied)
    with pytest.raises(UnsupportedModelError, match=r"reads the tower's layer .*there are 1 to 3"):
        opened(copied)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "dtype='int8'"),
        ({"dtype": torch.int8}, "dtype=torch.int8"),
        ({"device": "meta"}, "device='meta'"),
    ],
)
def test_options_that_make_no_sense(saved, options, message):
    with pytest.raises(InputError, match=message):
        opened(saved, **options)


def test_attention_that_is_not_installed(saved):
    with pytest.raises(UnsupportedModelError, match=r"does not open .*[fF]lash"):
        opened(saved, attn_implementation="flash_attention_2")


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_every_family_is_whole_once_it_was_saved(name, tmp_path):
    """Tied weights, and buffers that are computed, are not missing."""
    model, processor = build(name)
    model.save_pretrained(tmp_path)
    try:
        processor.save_pretrained(tmp_path)
        with opened(tmp_path) as vlm:
            assert vlm.config.model_type == model.config.model_type
    except UnsupportedModelError as error:  # of stand-ins, which no folder can name
        assert "processor" in str(error)


def test_trust_is_passed_on_to_configuration_and_processor(copied):
    """A model of its own code, whose configuration and classes lie beside its weights."""
    (copied / "own.py").write_text(
        "from transformers import LlavaConfig, LlavaForConditionalGeneration\n"
        "class OwnConfig(LlavaConfig):\n    model_type = 'own_llava'\n"
        "class Own(LlavaForConditionalGeneration):\n    config_class = OwnConfig\n"
    )
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForImageTextToText": "own.Own"}
    with_config(lambda told: told.update(model_type="own_llava", auto_map=own))(copied)
    plain = {name: value.contiguous() for name, value in build("llava")[0].state_dict().items()}
    save_file(plain, copied / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(UnsupportedModelError, match="trust_remote_code"):
        opened(copied, trust_remote_code=False)
    with opened(copied, trust_remote_code=True) as vlm:
        assert type(vlm.hf_model).__name__ == "Own"
        assert vlm.recognised
        vlm.run(vlm.inputs([picture(0)], ["What?"]))


# What cannot be wired.


@pytest.mark.parametrize("kind", sorted(UNWIRED))
def test_what_cannot_be_wired_says_why(kind):
    """In memory and by name, before any weight is read; and it is a family of transformers."""
    assert kind in list(CONFIG_MAPPING.keys())
    assert kind not in FAMILIES
    model, processor = build("llava")
    model.config.model_type = kind
    with pytest.raises(UnsupportedModelError) as said:
        vl.HookedVLM(model, processor)
    assert UNWIRED[kind] in str(said.value)
    assert kind in str(said.value)


def test_a_checkpoint_that_cannot_be_wired_is_refused_by_its_configuration_alone(tmp_path):
    MllamaConfig().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="cross-attention of its own layers"):
        opened(tmp_path)


# What is bundled, and what is fetched.


def test_bundled_weights_are_those_that_are_listed():
    told = json.loads((next(iter(zoo.bundled().values())).parent / HASHES).read_text())
    home = next(iter(zoo.bundled().values())).parent
    assert set(zoo.bundled()) | set(smol.NAMES) <= set(told)
    for folder, wanted in told.items():
        assert wanted
        for name, hashed in wanted.items():
            assert sha256(home / folder / name) == hashed, "after training: whole.write_hashes"


def test_one_byte_of_bundled_weights_counts(tmp_path, monkeypatch):
    home = next(iter(zoo.bundled().values())).parent
    own = shutil.copytree(home / "shapes-base", tmp_path / "zoo" / "weights" / "shapes-base")
    write_hashes(own.parent)
    monkeypatch.setattr(homes, "files", lambda package: tmp_path / "zoo")
    opened("shapes-base").close()
    noise = bytearray((own / WEIGHTS).read_bytes())
    noise[-1000] ^= 1
    (own / WEIGHTS).write_bytes(noise)
    with pytest.raises(UnsupportedModelError, match=r"model\.safetensors .*install vlmlens again"):
        opened("shapes-base")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VLMLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("told", ["", "{}", "[]", '{"ingredients": 3}', '{"ingr', "\0"])
def test_a_broken_manifest_is_no_model_and_can_be_fetched_again(cache, told):
    folder = cache / "smol-llava"
    folder.mkdir(parents=True)
    (folder / smol.MANIFEST).write_text(told)
    with pytest.raises(UnfetchedModelError, match=r"not whole.*vlmlens fetch smol-llava"):
        smol.fetched("smol-llava")
    assert not smol._whole(folder, "smol-llava")


def test_a_fetched_file_that_changed_is_not_opened(cache):
    folder = cache / "smol-llava"
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(b"whole")
    told = {
        "ingredients": smol._ingredients("smol-llava"),
        "files": {WEIGHTS: sha256(folder / WEIGHTS)},
    }
    (folder / smol.MANIFEST).write_text(json.dumps(told))
    assert smol.fetched("smol-llava") == folder
    (folder / WEIGHTS).write_bytes(b"noise")
    with pytest.raises(UnsupportedModelError, match="vlmlens fetch smol-llava"):
        smol.fetched("smol-llava")
    assert not smol._whole(folder, "smol-llava")


def test_a_cache_that_is_a_file_is_our_error(cache):
    cache.write_text("no folder")
    with pytest.raises(FetchError, match="VLMLENS_CACHE"):
        wheels.writable(cache / "parts")


def test_what_a_killed_fetch_left_is_swept(cache):
    cache.mkdir()
    dead = cache / "unfinished-999999999-abc"
    mine = cache / f"{wheels.scratch_prefix()}abc"
    other = cache / f"unfinished-{os.getppid()}-abc"
    old, new = cache / "tmpabcdefgh", cache / "tmpijklmnop"
    for folder in (dead, mine, other, old, new):
        folder.mkdir()
    os.utime(old, (0, 0))
    wheels.swept(cache)
    assert {path.name for path in cache.iterdir()} == {mine.name, other.name, new.name}


@pytest.mark.parametrize("ask", [zoo.load, zoo.configuration, vl.HookedVLM.from_pretrained])
def test_a_revision_is_of_models_of_the_hub_alone(saved, ask):
    for model in ("shapes-base", str(saved)):
        with pytest.raises(InputError, match=r"revision='v9' is of models of the hub.*leave"):
            ask(model, revision="v9")
    assert ask("shapes-base", revision=None, local_files_only=True)
