"""Checkpoints in LLaVA's own layout, against a forward pass written out from the formulas."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from by_hand import TOWER, answer_of, pixels
from closeness import assert_close
from conftest import picture
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaTokenizerFast

import vlmlens as vl
from vlmlens.errors import UnsupportedModelError
from vlmlens.planning import plan
from vlmlens.zoo.opening import original_llava
from vlmlens.zoo.opening.original_llava import SYSTEM

MODEL_TYPE = {"model_type": "llava_llama"}
QUESTION = "What color is the circle?"
SIDE, PATCH, WIDTH, LM = 32, 8, 16, 24
ARMS = {
    "plain": (False, False),
    "normalized": (True, False),
    "multilayer": (False, True),
    "both": (True, True),
}
SETTINGS = {
    "architectures": ["LlavaLlamaForCausalLM"],
    "model_type": "llava_llama",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "hidden_act": "silu",
    "hidden_size": LM,
    "image_aspect_ratio": "pad",
    "initializer_range": 0.02,
    "intermediate_size": 40,
    "max_position_embeddings": 4096,
    "mm_hidden_size": WIDTH,
    "mm_projector_type": "mlp2x_gelu",
    "mm_use_im_patch_token": False,
    "mm_use_im_start_end": False,
    "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "num_key_value_heads": 3,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_cache": True,
    "use_mm_proj": True,
}


def drawn(shapes, seed):
    """Weights of these shapes, all of them random."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: 1 + 0.3 * torch.randn(shape, generator=draw)
        if len(shape) == 1
        else torch.randn(shape, generator=draw) * 0.9 / np.prod(shape[1:]) ** 0.5
        for name, shape in shapes.items()
    }


def language_model(words):
    shapes = {"model.embed_tokens": (words, LM), "lm_head": (words, LM), "model.norm": (LM,)}
    for layer in range(2):
        block = f"model.layers.{layer}."
        shapes |= {f"{block}self_attn.{part}_proj": (LM, LM) for part in "qkvo"}
        shapes |= {f"{block}mlp.{part}_proj": (40, LM) for part in ("gate", "up")}
        shapes |= {f"{block}mlp.down_proj": (LM, 40)}
        shapes |= {f"{block}{norm}_layernorm": (LM,) for norm in ("input", "post_attention")}
    return drawn({f"{name}.weight": shape for name, shape in shapes.items()}, 1)


def projector(normalized, multilayer):
    inner = "model.mm_projector." + ("projector." if normalized else "")
    shapes = {
        f"{inner}0.weight": (LM, WIDTH * (4 if multilayer else 1)),
        f"{inner}0.bias": (LM,),
        f"{inner}2.weight": (LM, LM),
        f"{inner}2.bias": (LM,),
    }
    if normalized:
        shapes["model.mm_projector.norm.weight"] = (LM,)
    return drawn(shapes, 2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tower's folder, and its weights."""
    folder = tmp_path_factory.mktemp("clip")
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=20,
        num_hidden_layers=24,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=8,
    )
    model = CLIPVisionModel(config)
    model.load_state_dict(drawn({n: t.shape for n, t in model.state_dict().items()}, 0))
    model.save_pretrained(folder)
    return folder, model.state_dict()


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The folder of a tokenizer as Vicuna's is saved: a sentencepiece model and its settings."""
    folder = tmp_path_factory.mktemp("words")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([SYSTEM, f"USER: {QUESTION} ASSISTANT: red", "blue"] * 20),
        model_writer=model,
        vocab_size=380,
        model_type="bpe",
        byte_fallback=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "legacy": False,
        "padding_side": "right",
        "model_max_length": 2048,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder, sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@pytest.fixture
def write(tmp_path, clip, words):
    """Writes a checkpoint in the original layout, and gives its folder and weights."""

    def written(arm="plain", *, tower=True, form="safetensors", drop=(), extra=None, **settings):
        folder = tmp_path / f"{arm}-{form}-{tower}"
        shutil.copytree(words[0], folder)
        named = {"mm_vision_tower": str(clip[0])} | SETTINGS | settings
        (folder / "config.json").write_text(json.dumps(named))
        weights = language_model(words[1].vocab_size()) | projector(*ARMS[arm])
        held = {TOWER + name: tensor for name, tensor in clip[1].items()}
        saved = weights | (held if tower else {}) | (extra or {})
        saved = {name: tensor for name, tensor in saved.items() if name not in drop}
        save(saved, folder, form)
        return folder, weights | held

    return written


def save(weights, folder, form):
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    if form == "safetensors":
        save_file(weights, folder / "model.safetensors")
    elif form == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        kind = form.removeprefix("sharded ")
        stem = "model" if kind == "safetensors" else "pytorch_model"
        parts = [f"{stem}-0000{n}-of-00002.{kind}" for n in (1, 2)]
        names = sorted(weights)
        dealt = {name: parts[i % 2] for i, name in enumerate(names)}
        for part in parts:
            own = {name: weights[name] for name in names if dealt[name] == part}
            (save_file if kind == "safetensors" else torch.save)(own, folder / part)
        (folder / f"{stem}.{kind}.index.json").write_text(json.dumps({"weight_map": dealt}))


def pieces(spm, question=QUESTION):
    """The prompt before and after the image, each encoded as the original does: on its own."""
    return [1, *spm.encode(f"{SYSTEM} USER: ")], spm.encode(f"\n{question} ASSISTANT:")


def by_hand(weights, spm, image, arm):
    shape = {"side": SIDE, "patch": PATCH, "tower_heads": 2, "heads": 3, "eps": 1e-5}
    return answer_of(weights, pieces(spm), image, *ARMS[arm], **shape)


def opened(folder, image, **options):
    with vl.HookedVLM.from_pretrained(str(folder), **options) as vlm:
        inputs = vlm.inputs([image], [QUESTION])
        run = vlm.run(inputs, save="projector.hook_out")
        return vlm, inputs, run.logits[0], run.saved["projector.hook_out"][0]


@pytest.mark.parametrize("arm", ARMS)
def test_an_original_folder_says_what_the_formulas_say(write, words, arm):
    folder, weights = write(arm)
    image = picture(3, (52, 40))
    expected, seen = by_hand(weights, words[1], image, arm)
    vlm, inputs, logits, tokens = opened(folder, image)
    size = words[1].vocab_size()
    assert vlm.config.image_token_id == size
    assert logits.shape[-1] == size + 1
    assert_close(tokens, seen)
    assert_close(logits[:, :size], expected)
    if ARMS[arm][0]:
        torch.testing.assert_close(tokens.norm(dim=-1), torch.full((16,), 0.83 * 1.22))
    assert inputs.layouts[0].grid() == (4, 4)


def test_the_formulas_of_another_arm_say_something_else(write, words):
    """Or the test above would show nothing: arms differ by far more than it allows."""
    folder, weights = write("both")
    image = picture(3, (52, 40))
    logits = opened(folder, image)[2][:, : words[1].vocab_size()]
    for wrong in ("plain", "normalized", "multilayer"):
        expected, _ = by_hand(weights | projector(*ARMS[wrong]), words[1], image, wrong)
        assert (logits - expected).abs().max() > 0.05, wrong


@pytest.mark.slow
def test_every_form_of_saved_weights_is_read(write):
    image = picture(3, (52, 40))
    logits = opened(write()[0], image)[2]
    for form in ("bin", "sharded bin", "sharded safetensors"):
        assert torch.equal(opened(write(form=form)[0], image)[2], logits), form


@pytest.mark.slow
def test_a_tower_that_is_not_held_comes_from_its_own_folder(write, clip):
    image = picture(3, (52, 40))
    whole = opened(write("both")[0], image)[2]
    named = write("both", tower=False)[0]
    assert torch.equal(opened(named, image)[2], whole)
    elsewhere = {"mm_vision_tower": "nobody/keeps-this-tower"}
    settings = json.loads((named / "config.json").read_text()) | elsewhere
    (named / "config.json").write_text(json.dumps(settings))
    assert torch.equal(opened(named, image, vision_tower=str(clip[0]))[2], whole)
    with pytest.raises(UnsupportedModelError, match="vision_tower=FOLDER"):
        opened(named, image, local_files_only=True)


def test_pixels_are_those_of_a_square_of_the_mean_colour(write):
    images = [picture(1, size) for size in ((52, 40), (30, 64), (48, 48))]
    with vl.HookedVLM.from_pretrained(str(write()[0])) as vlm:
        inputs = vlm.inputs(images, [QUESTION] * 3)
    expected = torch.cat([pixels(image, SIDE) for image in images])
    # Resized colours are whole numbers out of 255, which is what may differ by one.
    close = {"rtol": 0, "atol": 1.01 / 255 / 0.26}
    torch.testing.assert_close(inputs.tensors["pixel_values"], expected, **close)
    for image, layout in zip(images, inputs.layouts, strict=True):
        box = layout.box[layout.vision(0)]
        assert box[:, 0].min() == 0 and box[:, 2].max() == image.width


def test_pictures_are_cropped_where_the_checkpoint_says_so(write):
    folder, _ = write(image_aspect_ratio="square", model_type="llava")  # as older ones say
    _, inputs, _, _ = opened(folder, picture(1, (64, 32)))
    box = inputs.layouts[0].box[inputs.layouts[0].vision(0)]
    assert [box[:, 0].min(), box[:, 2].max()] == [16, 48]


def test_the_prompt_is_cut_into_tokens_as_the_original_cuts_it(write, words):
    folder, _ = write()
    before, after = pieces(words[1])
    with vl.HookedVLM.from_pretrained(str(folder)) as vlm:
        image = vlm.config.image_token_id
        for system in (None, SYSTEM):
            inputs = vlm.inputs([picture(0)], [QUESTION], system=system)
            assert inputs.tensors["input_ids"][0].tolist() == [*before, *[image] * 16, *after]
            roles = inputs.layouts[0].roles
            assert ("system" in roles) == (system is not None)
            asked = [t for t, r in zip(inputs.layouts[0].tokens, roles, strict=True) if r == "user"]
            assert "".join(asked).replace(" ", "") == QUESTION.replace(" ", "")
        said = vlm.inputs([picture(0)], [QUESTION], answers=["red"]).tensors["input_ids"][0]
    _, after = pieces(words[1])
    whole = words[1].encode(f"\n{QUESTION} ASSISTANT: red")
    assert said[len(before) + 16 :].tolist() == [*whole, 2]


@pytest.mark.slow
def test_the_placeholder_is_never_said(write):
    folder, _ = write()
    with vl.HookedVLM.from_pretrained(str(folder)) as vlm:
        inputs = vlm.inputs([picture(0)], [QUESTION])
        logits = vlm.run(inputs).logits
        assert_close(logits[..., vlm.config.image_token_id], logits[..., 0])  # <unk>'s
        assert not vlm.hf_model.get_input_embeddings().weight[vlm.config.image_token_id].any()
        assert vlm.hf_model.generation_config.suppress_tokens == [vlm.config.image_token_id]
        image = torch.tensor([vlm.config.image_token_id])
        vlm.hf_model.lm_head.register_forward_hook(
            lambda *given: given[2].index_fill(2, image, 1e4)
        )
        said = vlm.generate(inputs, max_new_tokens=3, stop=False)
        assert (said.steps[0].logits[:, -1].argmax(-1) == image).all()
        assert not torch.isin(said.tokens, image).any()


@pytest.mark.slow
def test_a_converted_folder_says_the_same(write, tmp_path):
    image = picture(3, (52, 40))
    folder, _ = write("both", tower=False)
    vlm, inputs, logits, _ = opened(folder, image)
    again, others, other, _ = opened(original_llava.convert(folder, tmp_path / "new"), image)
    assert type(vlm.hf_model) is type(again.hf_model)
    for name, tensor in inputs.tensors.items():
        assert torch.equal(tensor, others.tensors[name]), name
    assert torch.equal(logits, other)


def test_half_precision_is_kept_or_chosen(write):
    folder, _ = write("both")
    path = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
    image = picture(0)
    assert opened(folder, image)[2].dtype == torch.float16
    assert opened(folder, image, dtype="float32")[2].dtype == torch.float32


def test_what_identifies_a_folder_changes_with_its_weights(write):
    folder, weights = write(form="bin")
    one = opened(folder, picture(0))[0].revision
    save(weights | {"lm_head.weight": weights["lm_head.weight"] * 2}, folder, "bin")
    assert opened(folder, picture(0))[0].revision != one


DOUBTS = {
    "another projector": ({"mm_projector_type": "linear"}, "mm_projector_type='linear'"),
    "tiles": ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio='anyres'"),
    "CLS kept": ({"mm_vision_select_feature": "cls_patch"}, "cls_patch"),
    "marks around images": ({"mm_use_im_start_end": True}, "mm_use_im_start_end=True"),
    "a resampler": ({"mm_resampler_type": "perceiver"}, "perceiver"),
    "an unknown setting": ({"mm_token_pooling": 2}, "mm_token_pooling=2"),
    "another norm": ({"vision_normalisation": "layer"}, "vision_normalisation"),
    "2-D RoPE": ({"use_2d_rope": True}, "use_2d_rope"),
    "a flag without its norm": ({"normalize_projector": True}, "normalize_projector=True"),
    "a flag without its layers": ({"use_multilayer_features": True}, "use_multilayer_features"),
    "another language model": (
        {"architectures": ["LlavaMptForCausalLM"], "model_type": "llava_mpt"},
        "LlavaMptForCausalLM",
    ),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_doubtful_settings_are_refused(write, name):
    settings, reason = DOUBTS[name]
    with pytest.raises(UnsupportedModelError, match=reason):
        opened(write(**settings)[0], picture(0))


LACKS = {
    "a norm that the flag denies": ("normalized", {"normalize_projector": False}, "say True"),
    "layers that the flag denies": ("both", {"use_multilayer_features": False}, "say True"),
    "a norm without its projector": (
        "plain",
        {"extra": {"model.mm_projector.norm.weight": torch.ones(LM)}},
        "only one of the two",
    ),
    "a projector without its norm": (
        "normalized",
        {"drop": ("model.mm_projector.norm.weight",)},
        "only one of the two",
    ),
    "a newline": ("plain", {"extra": {"model.image_newline": torch.ones(LM)}}, "image_newline"),
    "no projector": ("plain", {"drop": ("model.mm_projector.0.weight",)}, "mm_projector.0"),
    "half a projector": ("plain", {"drop": ("model.mm_projector.2.bias",)}, "linear_2.bias"),
    "half a tower": ("plain", {"drop": (TOWER + "pre_layrnorm.bias",)}, "pre_layrnorm"),
    "no head": ("plain", {"drop": ("lm_head.weight",)}, "lm_head"),
    "a block less": ("plain", {"num_hidden_layers": 3}, "layers.2"),
    "another width": ("plain", {"intermediate_size": 41}, "other shapes"),
    "a trained tower that is not there": (
        "plain",
        {"tower": False, "unfreeze_mm_vision_tower": True},
        "unfreeze_mm_vision_tower",
    ),
    "three layers": (
        "plain",
        {"extra": {"model.mm_projector.0.weight": torch.ones(LM, 3 * WIDTH)}},
        "48 inputs",
    ),
}


@pytest.mark.parametrize("name", LACKS)
def test_doubtful_weights_are_refused(write, name):
    arm, settings, reason = LACKS[name]
    with pytest.raises(UnsupportedModelError, match=reason):
        opened(write(arm, **settings)[0], picture(0))


def test_folders_that_are_not_whole_say_what_they_lack(write):
    folder, _ = write(form="sharded bin")
    part = folder / "pytorch_model-00002-of-00002.bin"
    part.unlink()
    with pytest.raises(UnsupportedModelError, match=part.name):
        opened(folder, picture(0))
    (folder / "pytorch_model.bin.index.json").unlink()
    with pytest.raises(UnsupportedModelError, match="none of"):
        opened(folder, picture(0))
    (folder / "mm_projector.bin").touch()
    with pytest.raises(UnsupportedModelError, match="stage 1"):
        opened(folder, picture(0))
    (folder / "adapter_config.json").touch()
    with pytest.raises(UnsupportedModelError, match="LoRA"):
        opened(folder, picture(0))


#: As long as the hub's are: a shorter name would be a branch.
COMMIT = "0123abcd" * 5


def in_cache(cache, name, folder):
    """A folder where the hub's cache would keep it."""
    home = cache / f"models--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, home / "snapshots" / COMMIT)


@pytest.mark.slow
def test_a_hub_id_goes_the_same_road(write, clip, tmp_path):
    image = picture(3, (52, 40))
    folder, _ = write("normalized", tower=False, mm_vision_tower="somebody/tiny-clip")
    whole = opened(folder, image, vision_tower=str(clip[0]))[2]
    cache = tmp_path / "cache"
    in_cache(cache, "user074/llava-v1.5-7b-normWmean", folder)
    in_cache(cache, "somebody/tiny-clip", clip[0])
    offline = {"cache_dir": str(cache), "local_files_only": True}
    vlm, _, logits, _ = opened("user074/llava-v1.5-7b-normWmean", image, **offline)
    assert torch.equal(logits, whole)
    assert vlm.revision == COMMIT
    assert type(vlm.hf_model).__name__ == "LlavaVariant"


GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.mark.parametrize("case", ["case_a", "case_b"])
def test_logits_that_the_authors_functions_made(case, tmp_path):
    """The golden model under its original names; its last row is the placeholder's."""
    home = GOLDEN / case
    config = json.loads((home / "model" / "config.json").read_text())
    weights = load_file(home / "model" / "model.safetensors")
    text, words = config["text_config"], config["image_token_index"]
    assert words == text["vocab_size"] - 1
    named = {}
    for name, tensor in weights.items():
        name = name.replace("language_model.model.", "model.")
        name = name.replace("language_model.lm_head", "lm_head")
        name = name.replace("multi_modal_projector.linear_1", "model.mm_projector.0")
        name = name.replace("multi_modal_projector.linear_2", "model.mm_projector.2")
        name = name.replace("vision_tower.", TOWER, 1)
        cut = name.startswith(("lm_head", "model.embed_tokens"))
        named[name] = tensor[:words].clone() if cut else tensor
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text(json.dumps(config["vision_config"]))
    own = {
        "mm_vision_tower": str(tmp_path / "clip"),
        "mm_vision_select_layer": config["vision_feature_layer"],
    }
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS | text | own | MODEL_TYPE))
    save(named, tmp_path, "sharded bin")
    vocabulary = {f"word{n}": n for n in range(words)} | {"<unk>": 0, "<s>": 1, "</s>": 2}
    vocabulary = {n: w for w, n in vocabulary.items()}
    LlamaTokenizerFast({w: n for n, w in vocabulary.items()}).save_pretrained(tmp_path)
    given, expected = (np.load(home / f"{part}.npz") for part in ("inputs", "expected"))
    model, _ = original_llava.load(tmp_path)
    with vl.HookedVLM(model) as vlm:
        inputs = vlm.inputs_from(
            torch.from_numpy(given["input_ids"]),
            pixel_values=torch.from_numpy(given["pixel_values"]),
        )
        logits = vlm.run(inputs).logits[0, -1]
    torch.testing.assert_close(
        logits[:words], torch.from_numpy(expected["logits.clean"][:words]), rtol=0, atol=1e-4
    )


def test_the_page_opens_a_folder(write):
    page = (Path(__file__).parents[2] / "docs" / "variants.md").read_text()
    head, block = page.split("```python\n")[1], page.split("```python\n")[-1]
    block = block.split("```")[0].replace("path/to/original", str(write("both")[0]))
    names: dict = {}
    exec(head.split("with vl")[0] + block, names)
    names["authors"].close()
    assert "system" in names["inputs"].layouts[0].roles


def test_a_tokenizer_that_does_not_fit_the_table_is_refused(write):
    folder, weights = write()
    short = {n: w[:-3] for n, w in weights.items() if n.startswith(("lm_head", "model.embed"))}
    save(weights | short, folder, "safetensors")
    with pytest.raises(UnsupportedModelError, match="the tokenizer has 380 tokens"):
        opened(folder, picture(0))
    (folder / "tokenizer.model").unlink()
    with pytest.raises(UnsupportedModelError, match="tokenizer"):
        opened(folder, picture(0))


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["plain", "both"])
def test_what_it_takes_is_planned_from_its_settings_alone(write, words, tmp_path, arm):
    """As of the converted folder, whose configuration transformers made of the weights."""
    flags = dict(zip(("normalize_projector", "use_multilayer_features"), ARMS[arm], strict=True))
    folder, _ = write(arm, vocab_size=words[1].vocab_size(), **flags)
    whole = vl.zoo.configuration(original_llava.convert(folder, tmp_path / "converted"))
    for file in folder.iterdir():
        if file.name != "config.json":
            file.unlink()
    config = vl.zoo.configuration(folder)
    ours, theirs = (plan("llava", each, text=8).to_dict() for each in (config, whole))
    assert ours == theirs
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    with pytest.raises(UnsupportedModelError, match="names no mm_vision_tower, or no vocab_size"):
        vl.zoo.configuration(folder)
