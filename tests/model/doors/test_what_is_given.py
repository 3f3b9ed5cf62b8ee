"""What may be given to a model, in every family: words of any script, no picture, places, ids."""

import copy
import os
import warnings

import numpy as np
import pytest
import torch
from as_users import as_users
from conftest import KINDS, QUESTIONS, build, picture

import vlmlens as vl
from vlmlens.errors import (
    BeyondTrainingWarning,
    InputError,
    UnknownKeywordError,
    UnsupportedModelError,
    VLMLensError,
)
from vlmlens.layout import TokenLayout
from vlmlens.model.sequence.spelling import spelled
from vlmlens.model.sequence.tensors import NOT_OF_IMAGES
from vlmlens.model.sequence.trained_length import trained_positions
from vlmlens.positions import Text
from vlmlens.zoo.tiny import TINY

# No picture.


def test_words_without_a_picture(every_vlm):
    vlm = every_vlm
    if vlm.config.model_type == "paligemma":  # whose processor takes none
        with pytest.raises(InputError, match="refuses this sample"):
            vlm.inputs(vl.Sample("Is it red?"))
        return
    inputs = vlm.inputs([vl.Sample("Is it red?"), vl.Sample("What?")])
    assert not any(layout.mask("vision").any() for layout in inputs.layouts)
    assert [layout.images for layout in inputs.layouts] == [0, 0]
    with torch.no_grad():
        plain = vlm.hf_model(**inputs.tensors, use_cache=False).logits
    assert torch.equal(vlm.run(inputs).logits, plain)
    mixed = vlm.inputs([vl.Sample("Is it red?"), vl.Sample("What?", picture(0))])
    assert [layout.images for layout in mixed.layouts] == [0, 1]


# Words that a tokenizer cuts inside a letter.

WORDS = [
    "café",
    "左边",
    "是",
    "什么",
    "🟥🔵",
    "👩‍🚀",
    "שלום",
    "naïve",
    "дом",
    "red",
    "Ωμέγα",
    "日本語",
]
SENTENCE = " and ".join(WORDS)


def spell(vlm, layout, ids, found):
    """What the found tokens say when they are decoded together."""
    return "".join(vlm.processor.tokenizer.decode(ids[torch.from_numpy(found)]).split())


def test_every_word_is_found_and_nothing_else(every_vlm):
    vlm = every_vlm
    inputs = vlm.inputs([picture(0)], [SENTENCE])
    layout, ids = inputs.layouts[0], inputs.tensors["input_ids"][0]
    for word in WORDS:
        found = Text(word).of(layout)
        assert spell(vlm, layout, ids, found) == word, word
        assert (np.diff(np.flatnonzero(found)) == 1).all()
    whole = Text(SENTENCE).of(layout)
    said = np.array([bool(token.strip()) for token in layout.tokens])  # spaces do not count
    assert (whole == layout.mask("user") & said).all()
    assert "".join(layout.spelled).replace("\ufffd", "").count("左边") == 1
    assert layout.tokens == tuple(vlm.processor.tokenizer.decode([i]) for i in ids.tolist())


def test_words_are_found_in_batches_answers_and_raw_tensors(vlm):
    inputs = vlm.inputs([picture(0)] * 2, ["Is the café red?", "什么 is it?"], answers=["é", "左"])
    for row, words in enumerate((["café", "é"], ["什么", "左"])):
        layout, ids = inputs.layouts[row], inputs.tensors["input_ids"][row]
        for word in words:
            found = Text(word).of(layout) & layout.mask("assistant" if len(word) < 2 else "user")
            assert spell(vlm, layout, ids, found) == word
    own = ("input_ids", "position_ids")
    raw = vlm.inputs_from(
        inputs.tensors["input_ids"],
        **{name: x for name, x in inputs.tensors.items() if name not in own},
    )
    for row in (0, 1):
        assert (Text("é" if row == 0 else "什么").of(raw.layouts[row])).any()


def test_words_of_other_compositions_are_found(vlm):
    layout = vlm.inputs([picture(0)], ["Is the cafe\u0301 red?"]).layouts[0]
    assert (Text("café").of(layout) == Text("cafe\u0301").of(layout)).all()


def test_what_is_generated_is_spelled_as_it_grows(vlm):
    inputs = vlm.inputs([picture(0)], ["What?"])
    letters = vlm.processor.tokenizer("x 左", add_special_tokens=False)["input_ids"]
    head = vlm.hf_model.get_output_embeddings()
    said = iter(letters)
    force = head.register_forward_hook(
        lambda m, i, out: torch.zeros_like(out).index_fill(-1, torch.tensor([next(said)]), 9.0)
    )
    try:
        told = vlm.generate(inputs, max_new_tokens=len(letters), stop=False)
    finally:
        force.remove()
    assert told.tokens[0].tolist() == letters
    last = told.inputs.appended(told.tokens[:, :0]).layouts[0]
    assert isinstance(last, TokenLayout)
    grown = told.steps[-1].inputs.layouts[0]
    assert "".join(grown.spelled[-len(letters) + 1 :]).replace("\ufffd", "").strip() == "x"
    assert len(grown.spelled) == len(grown.tokens) == len(grown)


def test_bytes_that_are_no_letter_stay_what_they_are():
    decode = bytes.decode
    pieces = [b"a", b"\xc3", b"\xa9b", b"\xff", b" c", b"\xe5", b"\xb7"]
    texts = [piece.decode("utf-8", "replace") for piece in pieces]
    made = spelled(
        range(len(pieces)),
        texts,
        lambda run: decode(b"".join(pieces[at] for at in run), "utf-8", "replace"),
    )
    assert made == ["a", "\ufffd", "éb", "\ufffd", "\ufffd c", "\ufffd", "\ufffd"]


# Where the images stand.


def keeping(vlm, name):
    """The model's processor with a template that keeps images among the words."""
    processor = copy.copy(vlm.processor)
    body = f"{{% if part.type == 'image' %}}{TINY[name].image}{{% else %}}{{{{ part.text }}}}"
    processor.chat_template = (
        "{% for message in messages %}{{ message.role }}\n{% for part in message.content %}"
        + body
        + "{% endif %}{% endfor %}|{% endfor %}{% if add_generation_prompt %}assistant\n{% endif %}"
    )
    return processor


PLACED = ["Look: <image> What color?", "one <image> two <image> three", "What is it?\n<image>"]


@pytest.mark.parametrize("name", (*KINDS, "idefics3", "mistral3", "internvl"))
@pytest.mark.parametrize("prompt", PLACED)
def test_images_stand_where_the_prompt_says_or_are_refused(name, prompt):
    pictures = [picture(n) for n in range(prompt.count("<image>"))]
    with vl.HookedVLM(*build(name)) as vlm:
        with pytest.raises(InputError, match=r"places its images after .* puts them after 0"):
            vlm.inputs([pictures], [prompt])
        vlm.processor = keeping(vlm, name)
        inputs = vlm.inputs([pictures], [prompt])
        layout = inputs.layouts[0]
        words = [word for word in prompt.split("<image>") if word.strip()]
        edges = [-1]
        for number, word in enumerate(words):
            here = np.flatnonzero(Text(word).of(layout))
            assert here.min() > edges[-1]
            if number < layout.images:
                edges += [here.max(), layout.vision(number).max()]
                assert here.max() < layout.vision(number).min()
        user = vlm.processor.tokenizer.decode(
            inputs.tensors["input_ids"][0][torch.from_numpy(layout.mask("user"))]
        )
        assert user == prompt.replace("<image>", "").strip()  # its own spaces, too


@pytest.mark.parametrize("prompt", ["<image> What?", "<image>\nWhat?", " What? "])
def test_images_that_come_first_need_no_template_of_their_own(vlm, prompt):
    given = vlm.inputs([picture(0)], [prompt])
    assert torch.equal(
        given.tensors["input_ids"], vlm.inputs([picture(0)], ["What?"]).tensors["input_ids"]
    )


# What nothing can be made of.


@pytest.mark.parametrize("where", ["question", "system", "answers"])
def test_half_a_character_is_refused(vlm, where):
    bad = "red \ud83d?"
    options = {"system": {"system": bad}, "answers": {"answers": [bad]}}.get(where, {})
    with pytest.raises(InputError, match="lone surrogate"):
        vlm.inputs([picture(0)], [bad if where == "question" else "What?"], **options)


def test_a_list_of_pictures_in_a_list_and_one_prompt(vlm):
    two = [picture(0), picture(1)]
    ways = [vlm.inputs(two, "hi"), vlm.inputs([two], "hi"), vlm.inputs([two], ["hi"])]
    for made in ways:
        assert torch.equal(made.tensors["pixel_values"], ways[0].tensors["pixel_values"])
        assert [layout.images for layout in made.layouts] == [2]


def raw(vlm):
    inputs = vlm.inputs([picture(0)], ["What?"])
    own = ("input_ids", "position_ids", "attention_mask", *vlm.family.per_token)
    return inputs.tensors["input_ids"], {
        name: x for name, x in inputs.tensors.items() if name not in own
    }


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (lambda ids: ids[:, :0], r"must be \(batch, pos\)"),
        (lambda ids: ids[:0], r"must be \(batch, pos\)"),
        (lambda ids: ids[0], r"must be \(batch, pos\)"),
        (lambda ids: ids.float(), "whole numbers"),
        (lambda ids: ids > 3, "whole numbers"),
        (lambda ids: torch.cat([ids, torch.tensor([[-1]])], 1), "no token -1: ids go from 0 to"),
        (lambda ids: torch.cat([ids, torch.tensor([[10**6]])], 1), "no token 1000000"),
    ],
    ids=["no tokens", "no rows", "one row", "floats", "truth values", "-1", "beyond the table"],
)
def test_ids_that_are_none(every_vlm, ids, message):
    given, images = raw(every_vlm)
    with as_users(), pytest.raises(InputError, match=message):
        every_vlm.inputs_from(ids(given), **images)


UNSEEN = {
    "halves": (lambda ids: torch.full(ids.shape, 0.5), "1 where a position is seen"),
    "twos": (lambda ids: torch.full_like(ids, 2), "1 where a position is seen"),
    "minus ones": (lambda ids: torch.full_like(ids, -1), "1 where a position is seen"),
    "nan": (lambda ids: torch.full(ids.shape, float("nan")), "1 where a position is seen"),
    "nothing is seen": (torch.zeros_like, "hides a whole sample"),
    "meta": (lambda ids: torch.ones_like(ids, device="meta"), "dense"),
}


@pytest.mark.parametrize("wrong", UNSEEN)
def test_masks_that_are_none(any_vlm, wrong):
    given, images = raw(any_vlm)
    make, message = UNSEEN[wrong]
    with pytest.raises(InputError, match=message):
        any_vlm.inputs_from(given, **images, attention_mask=make(given))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32])
def test_a_mask_is_a_mask_in_every_dtype(any_vlm, dtype):
    given, images = raw(any_vlm)
    made = any_vlm.inputs_from(given, **images, attention_mask=torch.ones_like(given).to(dtype))
    expected = any_vlm.run(any_vlm.inputs_from(given, **images)).logits
    assert torch.equal(any_vlm.run(made).logits, expected)


@pytest.mark.parametrize("name", NOT_OF_IMAGES)
def test_what_would_not_be_read_is_refused(vlm, name):
    given, images = raw(vlm)
    with pytest.raises(UnknownKeywordError, match=f"no keyword '{name}'"):
        vlm.inputs_from(given, **images, **{name: torch.ones_like(given)})


def test_tensors_without_values_are_refused(every_vlm):
    given, images = raw(every_vlm)
    for without in (lambda x: x.to("meta"), lambda x: x.to_sparse()):
        with pytest.raises(InputError, match="dense"):
            every_vlm.inputs_from(without(given), **images)
        for name, x in images.items():
            with pytest.raises(InputError, match="dense"):
                every_vlm.inputs_from(given, **(images | {name: without(x)}))


def test_pixels_that_the_tower_cannot_read_are_refused(every_vlm):
    given, images = raw(every_vlm)
    pixels = images["pixel_values"]
    axis = -3 if pixels.ndim > 3 else -1
    one_less = pixels.narrow(axis, 0, pixels.shape[axis] - 1)
    with pytest.raises(InputError):
        every_vlm.inputs_from(given, **(images | {"pixel_values": one_less}))


def test_inputs_of_another_kind_of_model_are_refused(vlm):
    with vl.HookedVLM(*build("qwen2_5_vl")) as other:
        ours, theirs = (each.inputs([picture(0)], ["What?"]) for each in (vlm, other))
        for model, mine, foreign in ((vlm, ours, theirs), (other, theirs, ours)):
            for go in (
                lambda model=model, foreign=foreign: model.run(foreign),
                lambda model=model, foreign=foreign: model(foreign),
                lambda model=model, foreign=foreign: model.run_with_cache(foreign),
                lambda model=model, foreign=foreign: model.run_with_hooks(foreign),
                lambda model=model, foreign=foreign: model.prefill(foreign),
                lambda model=model, foreign=foreign: model.generate(foreign),
                lambda model=model, foreign=foreign: model.audit(foreign),
                lambda model=model, foreign=foreign, mine=mine: model.generate(
                    mine, answered=[foreign]
                ),
            ):
                with pytest.raises(InputError, match=r"made for (llava|qwen2_5_vl)"):
                    go()


def test_image_tensors_that_lack_something_or_are_too_many(every_vlm):
    ids, images = raw(every_vlm)
    with pytest.raises(VLMLensError, match="no keyword 'pixel_value'"):
        every_vlm.inputs_from(ids, pixel_value=images["pixel_values"])
    with pytest.raises(InputError, match=r"videos are not|pixel_values_videos"):
        every_vlm.inputs_from(ids, **images, pixel_values_videos=images["pixel_values"])
    with pytest.raises(InputError):
        every_vlm.inputs_from(ids)
    with pytest.raises(InputError):
        every_vlm.inputs_from(ids, **images, sizes=[(40, 40)] * 3)
    for name in images:
        less = {other: x for other, x in images.items() if other != name}
        try:
            made = every_vlm.inputs_from(ids, sizes=[(40, 40)], **less)
        except InputError:
            continue
        assert made.layouts[0].mask("vision").any(), name
    video = getattr(every_vlm.config, "video_token_id", None)
    if video not in (None, every_vlm.config.image_token_id):  # Molmo 2's videos have the same
        shown = torch.where(ids == every_vlm.config.image_token_id, video, ids)
        with pytest.raises(InputError, match=f"(video token|video tokens .id) {video}"):
            every_vlm.inputs_from(shown)


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("ATEN_CPU_CAPABILITY") == "default",
    reason="torch compiles flex attention for vector instructions only",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_flex_attention_is_not_watched():
    options = {"attn_implementation": "flex_attention"}
    with vl.HookedVLM.from_pretrained("shapes-base", **options) as vlm:
        inputs = vlm.inputs([picture(0)], ["What?"])
        vlm.run(inputs, save="blocks.0.hook_resid_post")
        for save in ("blocks.0.attn.hook_pattern", vl.Save("blocks.*.hook_pattern", rows="last")):
            with pytest.raises(UnsupportedModelError, match=r"flex attention.*sdpa"):
                vlm.run(inputs, save=save)
        assert vlm.run(inputs, save="blocks.0.attn.hook_pattern", attention="eager").saved


# Longer than the model was trained on.


def test_more_positions_than_trained_are_warned_of(vlm, monkeypatch):
    text = vlm.config.get_text_config()
    inputs = vlm.inputs([picture(0), picture(1)], list(QUESTIONS))
    longest = max(len(layout) - layout.roles.count("pad") for layout in inputs.layouts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(text, "max_position_embeddings", longest)
        vlm.run(inputs)
    monkeypatch.setattr(text, "max_position_embeddings", longest - 1)
    doors = [
        lambda: vlm.run(inputs),
        lambda: vlm(inputs),
        lambda: vlm.run_with_cache(inputs, "hook_embed"),
        lambda: vlm.generate(inputs, max_new_tokens=1),
        lambda: vlm.prefill(vlm.inputs([picture(1)], [QUESTIONS[1]])),
    ]
    for door in doors:
        with pytest.warns(BeyondTrainingWarning, match=f"{longest} .*trained on {longest - 1}:"):
            door()
    monkeypatch.setattr(text, "max_position_embeddings", longest + 2)
    for least in (longest + 2, longest - 1):  # within the answer, and already by the prompt
        monkeypatch.setattr(text, "max_position_embeddings", least)
        with pytest.warns(BeyondTrainingWarning, match=f"trained on {least}:") as told:
            vlm.generate(inputs, max_new_tokens=5, stop=False)
        assert len(told) == 1


def test_positions_count_and_not_tokens(monkeypatch):
    """Qwen's image tokens share positions: so many more tokens fit."""
    with vl.HookedVLM(*build("qwen2_5_vl")) as vlm:
        inputs = vlm.inputs([picture(0, (80, 80))], ["What?"])
        reach = int(inputs.tensors["position_ids"].max()) + 1
        assert reach < len(inputs.layouts[0])
        monkeypatch.setattr(vlm.config.get_text_config(), "max_position_embeddings", reach)
        vlm.run(inputs)  # warnings are errors here
        monkeypatch.setattr(vlm.config.get_text_config(), "max_position_embeddings", reach - 1)
        with pytest.warns(BeyondTrainingWarning, match=f"has {reach} positions"):
            vlm.run(inputs)


@pytest.mark.parametrize(
    ("told", "rope", "reach"),
    [
        (100, {"rope_type": "default"}, 100),
        (100, {"rope_type": "dynamic", "factor": 4.0}, 400),
        (100, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 100}, 400),
        (400, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 100}, 400),
        (800, {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 100}, 800),
        (800, {"rope_type": "longrope", "original_max_position_embeddings": 100}, 800),
        (100, {"rope_type": "linear", "factor": 8.0}, 100),
        (
            100,
            {"full": {"rope_type": "yarn", "factor": 2.0}, "sliding": {"rope_type": "default"}},
            200,
        ),
        (None, {"rope_type": "default"}, None),
    ],
)
def test_how_far_scaled_rope_reaches(told, rope, reach):
    class Config:
        max_position_embeddings, rope_parameters = told, rope

        def get_text_config(self):
            return self

    assert trained_positions(Config()) == reach
