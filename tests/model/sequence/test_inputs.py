"""Samples in; tensors, roles, and where each vision token looks out."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from as_users import as_users
from closeness import assert_close
from conftest import QUESTIONS, build, picture
from tokenizers.processors import TemplateProcessing
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

import vlmlens as vl
from vlmlens.errors import (
    EmptySelectionError,
    ImageError,
    InputError,
    UnknownRoleError,
    UnsupportedModelError,
)

SYSTEM = "Answer in a word or two."


# Geometry: what a token's box holds is what that token sees.

SIZES = [(40, 40), (64, 64), (96, 48), (40, 100), (20, 20), (33, 57)]


def pad_to_square(processor):
    processor.image_processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )


def leave_a_rest(processor):  # 33 pixels hold three patches of 10 pixels and 3 pixels more
    processor.image_processor.size = {"height": 33, "width": 33}


KINDS = {
    "resize the shorter side and crop": ("llava", None),
    "resize both sides": ("llava/siglip-qwen2", None),
    "pad to a square": ("llava", pad_to_square),
    "no whole number of patches": ("llava/siglip-qwen2", leave_a_rest),
}


@pytest.fixture(scope="module", params=list(KINDS))
def seer(request):
    name, change = KINDS[request.param]
    model, processor = build(name)
    if change:
        change(processor)
    with vl.HookedVLM(model, processor) as opened:
        yield opened


def seen(vlm, image):
    inputs = vlm.inputs([image], ["What?"])
    return inputs.layouts[0], inputs.tensors["pixel_values"][0]


def energy(vlm, change, grid):
    """How much of a change of the pixels is in each patch."""
    rows, columns = grid
    patch = vlm.config.vision_config.patch_size
    cut = change.square().sum(0)[: rows * patch, : columns * patch]
    return cut.reshape(rows, patch, columns, patch).sum((1, 3)).flatten() / change.square().sum()


def inside(box):
    """The whole pixels of a box."""
    left, top, right, bottom = box
    return int(np.ceil(left)), int(np.ceil(top)), int(right), int(bottom)


@pytest.mark.parametrize("size", SIZES)
def test_painting_a_tokens_box_changes_what_that_token_sees_and_nothing_else(seer, size):
    base, paint = picture(0, size), picture(9, size)
    layout, before = seen(seer, base)
    here = layout.vision(0)
    painted = 0
    for token in (0, 1, len(here) // 2, len(here) - 2, len(here) - 1):
        box = inside(layout.box[here[token]])
        if box[2] <= box[0] or box[3] <= box[1]:
            continue  # nothing but padding
        changed = base.copy()
        changed.paste(paint.crop(box), box[:2])
        _, after = seen(seer, changed)
        assert energy(seer, after - before, layout.grid())[token] > 0.95, token
        painted += 1
    assert painted


@pytest.mark.parametrize("size", SIZES)
def test_a_painted_place_is_found_by_its_box(seer, size):
    base = picture(0, size)
    layout, before = seen(seer, base)
    width, height = size
    for across, down in [(0.5, 0.5), (0.4, 0.7), (0.65, 0.45)]:
        place = inside(
            (across * width - 2, down * height - 2, across * width + 3, down * height + 3)
        )
        changed = base.copy()
        changed.paste((255, 0, 0), place)
        _, after = seen(seer, changed)
        found = layout.within([float(edge) for edge in place])
        most = energy(seer, after - before, layout.grid()).argmax()
        assert layout.vision(0)[most] in found


@pytest.mark.parametrize("size", SIZES)
def test_boxes_lie_side_by_side_on_the_picture(seer, size):
    layout, _ = seen(seer, picture(0, size))
    rows, columns = layout.grid()
    box = layout.box[layout.vision(0)].reshape(rows, columns, 4)
    assert (box[:, :-1, 2] == box[:, 1:, 0]).all()
    assert (box[:-1, :, 3] == box[1:, :, 1]).all()
    assert (box >= 0).all()
    assert (box <= (*size, *size)).all()
    assert np.isnan(layout.box[~layout.mask("vision")]).all()


def test_what_the_crop_cuts_away_no_token_sees(vlm):
    base = picture(0, (96, 48))
    layout, before = seen(vlm, base)
    edge = base.copy()
    edge.paste((255, 0, 0), (0, 0, 16, 48))
    _, after = seen(vlm, edge)
    crops = getattr(vlm.processor.image_processor, "do_center_crop", False)
    assert torch.equal(before, after) == bool(crops)
    assert (len(layout.within((0.0, 0.0, 16.0, 48.0))) == 0) == bool(crops)


def test_the_padding_of_a_wide_picture_has_empty_boxes():
    model, processor = build("llava")
    pad_to_square(processor)
    with vl.HookedVLM(model, processor) as vlm:
        layout, _ = seen(vlm, picture(0, (80, 40)))
    box = layout.box[layout.vision(0)].reshape(4, 4, 4)
    assert (box[[0, 3], :, 1] == box[[0, 3], :, 3]).all()  # above the picture and below it
    assert box[1:3].tolist() == [
        [[20.0 * c, 20.0 * r, 20.0 * c + 20, 20.0 * r + 20] for c in range(4)] for r in range(2)
    ]
    assert len(layout.within((0.0, 0.0, 80.0, 40.0))) == 8


def test_the_towers_own_patches_are_in_the_layouts_order(vlm):
    base, paint = picture(0), picture(9)
    layout = vlm.inputs([base], ["What?"]).layouts[0]
    here = layout.vision(0)

    def embedded(image):
        saved = vlm.run(vlm.inputs([image], ["What?"]), save="vision.hook_embed").saved
        return saved["vision.hook_embed"][0, -len(here) :]  # without CLS, where there is one

    before = embedded(base)
    for token in (1, len(here) - 2):
        box = inside(layout.box[here[token]])
        changed = base.copy()
        changed.paste(paint.crop(box), box[:2])
        assert (embedded(changed) - before).norm(dim=-1).argmax() == token


# Roles: what each position is, whatever the template and the words.


def said(vlm, inputs, role, row=0):
    mask = torch.from_numpy(inputs.layouts[row].mask(role))
    return vlm.processor.tokenizer.decode(inputs.tensors["input_ids"][row, mask])


def words(text):
    return "".join(text.split())


HARD = [
    "What color is the circle?",
    "USER: What? ASSISTANT: red",
    "user",
    "Answer in a word or two.",  # the system prompt's own words
    "<s> </s> <pad> what <unk>",
    "naïve café, 左边是什么? 🟥🔵 — «да»",
    "two\n\nlines\tand  spaces",
    "{{ bos_token }}{% raw %}",
    "?",
]


@pytest.mark.parametrize("system", [None, SYSTEM], ids=["no system", "system"])
@pytest.mark.parametrize("question", HARD)
@pytest.mark.parametrize("images", [0, 1])
def test_the_user_has_said_the_question_and_nothing_else(vlm, question, system, images):
    inputs = vlm.inputs([[picture(0)] * images], [question], system=system)
    layout = inputs.layouts[0]
    assert words(said(vlm, inputs, "user")) == words(question)
    assert words(said(vlm, inputs, "system")) == words(system or "")
    assert words(said(vlm, inputs, "template")) == "USER:ASSISTANT:"
    assert said(vlm, inputs, "bos") == "<s>"
    assert layout.roles.count("bos") == 1
    assert layout.images == images
    assert not layout.mask("assistant", "pad").any()


def test_every_position_has_its_token_as_text(vlm, inputs):
    tokenizer = vlm.processor.tokenizer
    for ids, layout in zip(inputs.tensors["input_ids"].tolist(), inputs.layouts, strict=True):
        for token, text, role in zip(ids, layout.tokens, layout.roles, strict=True):
            assert text == ("" if role == "pad" else tokenizer.decode([token]))


def test_two_images_among_the_words(vlm, monkeypatch):
    with_template(monkeypatch, vlm, CHATML)
    two = [picture(0), picture(1, (60, 30))]
    inputs = vlm.inputs([two], ["First <image> then <image> compare them."])
    layout = inputs.layouts[0]
    rows, columns = layout.grid()
    assert layout.images == 2
    assert layout.grid(1) == (rows, columns)
    assert words(said(vlm, inputs, "user")) == "Firstthencomparethem."
    assert layout.vision(0).max() < layout.vision(1).min()
    assert layout.box[layout.vision(0)].max() <= 40
    assert layout.box[layout.vision(1)].max() > 40
    assert layout.within((30.0, 10.0, 31.0, 11.0), image=1)[0] in layout.vision(1)


def test_samples_of_differing_image_counts_in_one_batch(vlm):
    images = [[], [picture(0)], [picture(1), picture(2)]]
    questions = ["What?", "What?", "This or that?"]
    inputs = vlm.inputs(images, questions)
    assert [layout.images for layout in inputs.layouts] == [0, 1, 2]
    assert inputs.tensors["pixel_values"].shape[0] == 3
    logits = vlm.run(inputs).logits
    for row, (own, question) in enumerate(zip(images, questions, strict=True)):
        alone = vlm.run(vlm.inputs([own], [question])).logits[0, -1]
        assert_close(logits[row, -1], alone)


def test_answers_are_the_assistants_and_end_as_the_template_ends_a_turn(vlm):
    answers = ["red", "to the left, naïvely 🟥"]
    inputs = vlm.inputs([picture(0), picture(1)], list(QUESTIONS), answers=answers, system=SYSTEM)
    prompts = vlm.inputs([picture(0), picture(1)], list(QUESTIONS), system=SYSTEM)
    for row, answer in enumerate(answers):
        assert said(vlm, inputs, "assistant", row) == f" {answer}</s>"
        assert words(said(vlm, inputs, "user", row)) == words(QUESTIONS[row])
        own = [r for r in inputs.layouts[row].roles if r not in ("pad", "assistant")]
        assert own == [r for r in prompts.layouts[row].roles if r != "pad"]
        assert inputs.layouts[row].roles[-1] == "assistant"


def with_template(monkeypatch, vlm, template):
    processor = copy.copy(vlm.processor)
    processor.chat_template = template
    monkeypatch.setattr(vlm, "processor", processor)


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Gemma has no system turn: what the system says opens the user's.
GEMMA = (
    "{{ bos_token }}{% set first = namespace(text='') %}{% for message in messages %}"
    "{% if message.role == 'system' %}{% set first.text = message.content[0].text + '\n\n' %}"
    "{% else %}<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ first.text }}{% set first.text = '' %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text | trim }}{% endif %}{% endfor %}"
    "<end_of_turn>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@pytest.mark.parametrize("system", [None, SYSTEM], ids=["no system", "system"])
@pytest.mark.parametrize("question", ["What color is it?", "user", "assistant\n", "👀<|im_end|>"])
@pytest.mark.parametrize(
    ("template", "before", "around", "end", "starts"),
    [
        (
            CHATML,
            "<|im_start|>system<|im_end|>",
            "<|im_start|>user<|im_end|><|im_start|>assistant",
            "<|im_end|>",
            0,
        ),
        (GEMMA, "", "<start_of_turn>user<end_of_turn><start_of_turn>model", "<end_of_turn>", 1),
    ],
    ids=["chatml", "gemma"],
)
def test_other_templates(vlm, monkeypatch, template, before, around, end, starts, question, system):
    with_template(monkeypatch, vlm, template)
    inputs = vlm.inputs([picture(0)], [question], system=system, answers=["red"])
    assert words(said(vlm, inputs, "user")) == words(question)
    assert words(said(vlm, inputs, "system")) == words(system or "")
    assert words(said(vlm, inputs, "template")) == (before if system else "") + around
    assert words(said(vlm, inputs, "assistant")) == "red" + end
    assert inputs.layouts[0].roles.count("bos") == starts
    assert inputs.layouts[0].images == 1


@pytest.mark.parametrize("by_template", [True, False])
def test_the_start_token_is_written_once_whoever_writes_it(vlm, monkeypatch, by_template):
    """Llama's tokenizer begins every text with it, and so do some models' templates."""
    processor = copy.deepcopy(vlm.processor)
    start = ("<s>", processor.tokenizer.bos_token_id)
    begins = TemplateProcessing(single="<s> $A", special_tokens=[start])
    processor.tokenizer.backend_tokenizer.post_processor = begins
    if not by_template:
        processor.chat_template = processor.chat_template.replace("{{ bos_token }}", "")
    monkeypatch.setattr(vlm, "processor", processor)
    inputs = vlm.inputs([picture(0)], ["What color?"], system=SYSTEM, answers=["red"])
    assert inputs.layouts[0].roles.index("bos") == 0
    assert inputs.tensors["input_ids"][0].tolist().count(start[1]) == 1
    assert words(said(vlm, inputs, "user")) == "Whatcolor?"
    assert said(vlm, inputs, "assistant") == " red</s>"


TURN = "{% for m in messages %}{{ m.role }}: {% for p in m.content %}"
BODY = (
    "{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %}\n{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (TURN + BODY.replace("p.text", "p.text | upper"), "rewrites or moves"),
        (TURN + BODY.replace("p.text", "p.text | replace('color', 'colour')"), "rewrites or moves"),
        (
            TURN + BODY.replace("p.text }}", "p.text }} ({{ p.text | length }})"),
            "rewrites or moves",
        ),
        (TURN + BODY.replace("p.text }}", "p.text }}{{ p.text }}"), "more than once"),
        (TURN + BODY.replace("{{ p.text }}", ""), "drops what the system says"),
        ((TURN + BODY).replace("in messages", "in messages | reverse"), "in another order"),
        ("{{ raise_exception('System role not supported') }}", "System role not supported"),
    ],
    ids=["upper case", "other words", "length", "twice", "dropped", "system last", "refused"],
)
def test_a_template_whose_roles_cannot_be_told_is_refused(vlm, monkeypatch, template, message):
    with_template(monkeypatch, vlm, template)
    with pytest.raises(InputError, match=message):
        vlm.inputs([picture(0)], ["What color is it?"], system=SYSTEM)


def test_an_answer_that_does_not_follow_the_prompt_is_refused(vlm, monkeypatch):
    generation_prompt = "{% if add_generation_prompt %}ANSWER:{% endif %}"
    with_template(monkeypatch, vlm, TURN + BODY + generation_prompt)
    vlm.inputs([picture(0)], ["What?"])
    with pytest.raises(InputError, match="cannot be scored"):
        vlm.inputs([picture(0)], ["What?"], answers=["red"])


def test_a_processor_without_a_template(vlm, monkeypatch):
    with_template(monkeypatch, vlm, None)
    with pytest.raises(UnsupportedModelError, match=r"set processor\.chat_template"):
        vlm.inputs([picture(0)], ["What?"])


# Errors, for the person who made the mistake.


@pytest.mark.parametrize(
    ("images", "prompts", "options", "message"),
    [
        (1, ["<image> or <image>?"], {}, r"2 image placeholder.*1 image"),
        (2, ["<image>, and?"], {}, r"1 image placeholder.*2 image"),
        (0, ["<image>?"], {}, r"1 image placeholder.*0 image"),
        (0, [""], {}, "question is empty"),
        (0, [" \n"], {}, "question is empty"),
        (1, ["What?", "Where?"], {}, "1 entries of images for 2 prompts"),
        (1, ["What?"], {"answers": ["a", "b"]}, "2 answers for 1 samples"),
        (1, ["What?"], {"answers": ["<image>"]}, "answer.*images go in the question"),
        (1, ["What?"], {"system": "Look: <image>"}, "system prompt.*images go in the question"),
        (1, ["What?"], {"padding": "top"}, "there is: left, right"),
        (1, ["What \ue000 is it?"], {}, "private-use"),
    ],
)
def test_inputs_that_do_not_fit_together(vlm, images, prompts, options, message):
    with pytest.raises(InputError, match=message):
        vlm.inputs([[picture(n) for n in range(images)]], prompts, **options)


def test_no_samples_and_no_prompts(vlm):
    with pytest.raises(InputError, match="at least one"):
        vlm.inputs([])
    with pytest.raises(InputError, match="together with prompts"):
        vlm.inputs([picture(0)])
    with pytest.raises(InputError, match="give one each"):
        vlm.inputs(picture(0), ["What?", "Where?"])


@pytest.mark.parametrize("state", ["missing", "empty", "text", "cut off", "a folder"])
def test_an_image_that_cannot_be_read_is_named(vlm, tmp_path, state):
    path = tmp_path / "some picture.png"
    picture(0).save(path)
    whole = path.read_bytes()
    path.unlink()
    if state == "a folder":
        path.mkdir()
    elif state != "missing":
        content = {"empty": b"", "text": b"no picture", "cut off": whole[: len(whole) // 2]}
        path.write_bytes(content[state])
    told = {"missing": "no such file", "empty": "is empty", "a folder": "it is a folder"}
    with pytest.raises(ImageError, match=rf"some picture\.png: .*{told.get(state, 'no readable')}"):
        vlm.inputs([path], ["What?"])


def test_files_functions_and_pictures_are_the_same_inputs(vlm, tmp_path):
    path = tmp_path / "picture.png"
    picture(3).save(path)
    pixels = [
        vlm.inputs([image], ["What?"]).tensors["pixel_values"]
        for image in (picture(3), path, str(path), lambda: picture(3), picture(3).convert("RGBA"))
    ]
    assert all(torch.equal(pixels[0], other) for other in pixels[1:])


def test_one_picture_and_one_prompt_need_no_lists(vlm):
    listed = vlm.inputs([picture(0)], ["What?"])
    bare = vlm.inputs(picture(0), "What?")
    sample = vlm.inputs(vl.Sample("What?", (picture(0),)))
    for name, tensor in listed.tensors.items():
        assert torch.equal(bare.tensors[name], tensor)
        assert torch.equal(sample.tensors[name], tensor)


def test_without_a_processor_only_tensors_will_do(vlm, monkeypatch):
    monkeypatch.setattr(vlm, "processor", None)
    with pytest.raises(InputError, match="inputs_from"):
        vlm.inputs([picture(0)], ["What?"])


# Raw tensors.


def tensors_of(inputs, *without):
    kept = {k: v for k, v in inputs.tensors.items() if k not in ("position_ids", *without)}
    return kept.pop("input_ids"), kept


def test_tensors_and_roles_make_the_same_inputs(vlm, inputs):
    ids, rest = tensors_of(inputs)
    roles = [layout.roles for layout in inputs.layouts]
    made = vlm.inputs_from(ids, **rest, roles=roles)
    assert torch.equal(vlm.run(made).logits, vlm.run(inputs).logits)
    for ours, theirs in zip(made.layouts, inputs.layouts, strict=True):
        assert ours.roles == theirs.roles
        assert (ours.row == theirs.row).all()
        assert (ours.column == theirs.column).all()
    cut = vl.interventions.KnockOut(where=vl.Where(keys="user"))
    assert torch.equal(vlm.run(made, [cut]).logits, vlm.run(inputs, [cut]).logits)


def test_roles_as_spans(vlm):
    inputs = vlm.inputs([picture(0)], [QUESTIONS[0]], system=SYSTEM)
    ids, rest = tensors_of(inputs)
    layout = inputs.layouts[0]
    spans: dict[str, Any] = {"bos": 0}
    for role in ("system", "user"):
        places = layout.positions(role)
        spans[role] = [(int(places[0]), int(places[-1]) + 1)]
    made = vlm.inputs_from(ids, **rest, roles=spans)
    assert made.layouts[0].roles == layout.roles  # images are found, the rest is the template's
    spans["system"] = spans["system"][0]  # one span needs no list
    assert vlm.inputs_from(ids, **rest, roles=spans).layouts[0].roles == layout.roles


def test_without_roles_everything_but_images_is_the_users(vlm, inputs):
    ids, rest = tensors_of(inputs)
    for ours, theirs in zip(vlm.inputs_from(ids, **rest).layouts, inputs.layouts, strict=True):
        assert (ours.mask("vision") == theirs.mask("vision")).all()
        assert (ours.mask("pad") == theirs.mask("pad")).all()
        assert set(ours.roles) <= {"bos", "user", "vision", "pad"}
        with pytest.raises(InputError, match="pass images"):
            ours.within((0.0, 0.0, 5.0, 5.0))


def test_tensors_that_do_not_fit_together(vlm, inputs):
    ids, rest = tensors_of(inputs)
    length = ids.shape[1]
    with pytest.raises(InputError, match=r"the 2 image\(s\) given make"):
        vlm.inputs_from(ids[:1], pixel_values=rest["pixel_values"])
    with pytest.raises(InputError, match=r"the 0 image\(s\) given make 0"):
        vlm.inputs_from(ids)
    with as_users(), pytest.raises(InputError, match="attention_mask is"):
        vlm.inputs_from(
            ids, pixel_values=rest["pixel_values"], attention_mask=torch.ones_like(ids[:, 1:])
        )
    with pytest.raises(InputError, match=f"3 roles for {length} positions"):
        vlm.inputs_from(ids, **rest, roles=["bos", "user", "user"])
    with pytest.raises(InputError, match="roles for 3 samples, but 2"):
        vlm.inputs_from(ids, **rest, roles=[{"user": (1, 3)}] * 3)
    with pytest.raises(InputError, match=rf"user spans 1:999, but there are {length}"):
        vlm.inputs_from(ids, **rest, roles={"user": (1, 999)})
    with pytest.raises(InputError, match="user spans 3:3"):
        vlm.inputs_from(ids, **rest, roles={"user": [(1, 2), (3, 3)]})
    with pytest.raises(UnknownRoleError, match="user"):
        vlm.inputs_from(ids, **rest, roles={"usr": (1, 3)})
    with pytest.raises(InputError, match="vision positions"):
        vlm.inputs_from(ids, **rest, roles={"vision": (0, length)})


# Positions.


@pytest.mark.parametrize("padding", ["left", "right"])
def test_every_sample_counts_its_own_positions_from_zero(vlm, padding):
    inputs = vlm.inputs([picture(0), picture(1)], list(QUESTIONS), padding=padding)
    assert any(layout.mask("pad").any() for layout in inputs.layouts)
    for row, layout in enumerate(inputs.layouts):
        own = torch.from_numpy(~layout.mask("pad"))
        assert inputs.tensors["position_ids"][row, own].tolist() == list(range(int(own.sum())))
        assert (inputs.tensors["attention_mask"][row].bool() == own).all()
        edge = -1 if padding == "left" else 0
        assert own[edge]


def test_appended_tokens_count_on(vlm, inputs):
    grown = inputs.appended(torch.tensor([[5, 6], [7, 8]]))
    assert grown.tensors["input_ids"][:, -2:].tolist() == [[5, 6], [7, 8]]
    for row, layout in enumerate(grown.layouts):
        assert layout.roles[-2:] == ("assistant", "assistant")
        own = ~layout.mask("pad")
        assert grown.tensors["position_ids"][row, -1] == own.sum() - 1
        assert grown.tensors["attention_mask"][row].sum() == own.sum()
    right = vlm.inputs([picture(0), picture(1)], list(QUESTIONS), padding="right")
    with pytest.raises(InputError, match="left-padded"):
        right.appended(torch.tensor([[5], [7]]))
    with pytest.raises(InputError, match="left-padded"):
        vlm.generate(right)


def test_an_input_of_no_image_has_no_grid(vlm):
    layout = vlm.inputs([[]], ["What color is the circle?"]).layouts[0]
    with pytest.raises(EmptySelectionError, match="holds 0"):
        layout.grid()


def test_raw_samples_of_differing_image_counts_get_their_own(vlm):
    pictures = [picture(0), picture(1)], [picture(2)]
    made = vlm.inputs(pictures, ["What is left of it?", "<image> What?"])
    own = ("input_ids", "position_ids")
    raw = vlm.inputs_from(
        made.tensors["input_ids"],
        sizes=[(40, 40)] * 3,
        **{name: x for name, x in made.tensors.items() if name not in own},
    )
    assert [layout.images for layout in raw.layouts] == [2, 1]
    for one, other in zip(raw.layouts, made.layouts, strict=True):
        assert (one.image == other.image).all()
