"""Several turns: transformers' own token ids, everybody's words, every picture in its turn."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from as_users import as_users
from closeness import assert_close
from conftest import build, by_turns, picture
from test_inputs import CHATML, words

import vlmlens as vl
from vlmlens import identity
from vlmlens.conversation import IMAGE, Message
from vlmlens.errors import EmptySelectionError, InputError, UnknownKeywordError
from vlmlens.interventions import KnockOut
from vlmlens.plots.interactive.payload import described
from vlmlens.positions import Role, Turn
from vlmlens.probes.rows import NEEDS, attention_rows
from vlmlens.zoo.tiny import TINY

PICTURES = picture(0), picture(1, (60, 40)), picture(2, (40, 48))


def said(role, *parts):
    return {"role": role, "content": [_part(part) for part in parts]}


def _part(part):
    return (
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image", "image": part}
    )


SHOTS = [
    said("system", "Answer in a word or two."),
    said("user", PICTURES[0], "What color is the circle?"),
    said("assistant", "red"),
    said("user", PICTURES[1], "Is the red square left of the blue star?"),
    said("assistant", "no, naïvely 🟥"),
    said("user", "What color is the circle?"),  # the words of the first turn, and no picture
]
SHORT = [said("user", PICTURES[2])]
ENDED = [said("user", "Is it red?"), said("assistant", "yes")]
#: Words among pictures, and white space around them: for templates that leave all in its place.
MIXED = [
    said("user", "First ", PICTURES[0], " then ", PICTURES[1], " compare them.  "),
    said("assistant", "  they differ\n"),
    said("user", "Now:", PICTURES[2]),
]


def plainly(vlm, chat, **options):
    """What transformers' own processor makes of a conversation."""
    ends = chat[-1]["role"] != "assistant"
    return vlm.processor.apply_chat_template(
        chat,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=ends,
        **options,
    )


def text_of(vlm, inputs, role, turn, row=0):
    layout = inputs.layouts[row]
    mask = torch.from_numpy(layout.mask(role) & (layout.turn == turn))
    return vlm.processor.tokenizer.decode(inputs.tensors["input_ids"][row, mask])


def embedded(vlm, inputs, image, row=0):
    saved = vlm.run(inputs, save="hook_embed", logits=False).saved["hook_embed"]
    return saved[row, inputs.layouts[row].vision(image)]


@pytest.mark.parametrize("chat", [SHOTS, SHORT, ENDED, SHOTS[1:]])
def test_token_ids_are_transformers_own(every_vlm, chat):
    if "paligemma" in every_vlm.name and chat is ENDED:  # its processor wants a picture
        chat = [said("user", PICTURES[0], "Is it red?"), *ENDED[1:]]
    inputs, plain = every_vlm.inputs([chat]), plainly(every_vlm, chat)
    assert inputs.tensors["input_ids"].tolist() == plain["input_ids"].tolist()


def test_everybody_says_their_own_words_in_their_own_turn(every_vlm):
    inputs = every_vlm.inputs([SHOTS])
    layout = inputs.layouts[0]
    assert layout.turns == 3
    turn = -1
    for message in SHOTS:
        turn += message["role"] == "user"
        text = "".join(p.get("text", "") for p in message["content"])
        assert words(text_of(every_vlm, inputs, message["role"], turn)) == words(text)
    assert words(text_of(every_vlm, inputs, "template", 1)).startswith("USER:")
    assert set(layout.turn[layout.mask("bos", "system")]) <= {-1}
    assert (np.diff(layout.turn[~layout.mask("bos")]) >= 0).all()


def test_every_picture_is_in_its_turn_and_its_rows_are_its_own(every_vlm):
    inputs = every_vlm.inputs([SHOTS])
    layout = inputs.layouts[0]
    assert layout.images == 2
    for number, shown in enumerate(PICTURES[:2]):
        assert set(layout.turn[layout.image == number]) == {number}
        twice = every_vlm.inputs([[said("user", shown, shown, "What?")]])  # two, as there are here
        assert layout.sizes[number] == twice.layouts[0].sizes[0] == shown.size
        for name in ("row", "column", "tile"):
            both = (
                getattr(lay, name)[lay.vision(at)]
                for lay, at in ((layout, number), (twice.layouts[0], 0))
            )
            np.testing.assert_array_equal(*both)
        assert_close(embedded(every_vlm, inputs, number), embedded(every_vlm, twice, 0))
    assert not torch.equal(*(embedded(every_vlm, inputs, n)[:1] for n in (0, 1)))


def test_one_turn_is_the_question(every_vlm):
    question, shown = "What color is the circle?", PICTURES[0]
    one = every_vlm.inputs([shown], [question], system="Be brief.", answers=["red"])
    chat = [said("system", "Be brief."), said("user", shown, question)]
    two = every_vlm.inputs([chat], answers=["red"])
    assert one.tensors.keys() == two.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, two.tensors[name]), name
    (a,), (b,) = one.layouts, two.layouts
    assert (a.roles, a.tokens, a.kind, a.spelled) == (b.roles, b.tokens, b.kind, b.spelled)
    np.testing.assert_array_equal(a.turn, b.turn)


def test_batches_agree_with_one_by_one(every_vlm):
    chats = [SHOTS, SHORT, SHOTS[:2]]
    together = every_vlm.inputs(chats)
    logits = every_vlm.run(together).logits[:, -1]
    for row, chat in enumerate(chats):
        alone = every_vlm.inputs([chat])
        own = ~together.layouts[row].mask("pad")
        np.testing.assert_array_equal(together.layouts[row].turn[own], alone.layouts[0].turn)
        assert (together.layouts[row].turn[~own] == -1).all()
        assert_close(logits[row], every_vlm.run(alone).logits[0, -1])


@pytest.mark.parametrize(
    "name", by_turns(["llava", "qwen2_5_vl", "gemma3", "idefics3", "internvl"])
)
def test_pictures_stand_where_they_were_put_among_the_words(name):
    model, processor = build(name)
    with vl.HookedVLM(model, processor) as vlm:
        with pytest.raises(InputError, match="places its images after 1 and 2 and 5 texts"):
            vlm.inputs([MIXED])  # its own template writes a message's pictures first
        processor.chat_template = CHATML.replace("<image>", TINY[name].image)
        inputs, plain = vlm.inputs([MIXED]), plainly(vlm, MIXED)
        assert inputs.tensors["input_ids"].tolist() == plain["input_ids"].tolist()
        layout = inputs.layouts[0]
        first, second, third = (layout.vision(n) for n in range(3))
        assert [set(layout.turn[at]) for at in (first, second, third)] == [{0}, {0}, {1}]
        user = layout.mask("user")
        assert user[: first[0]].any()
        assert user[first[-1] : second[0]].any()
        assert user[second[-1] : third[0]].any()
        assert not user[third[-1] :].any()
        with torch.no_grad():
            theirs = model(**plain).logits
        assert_close(vlm.run(inputs).logits, theirs)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[-1].content[0].text }}", "drops what the system says, 'Answer"),
        (CHATML.replace("messages", "messages | reverse", 1), "in another order"),
        (CHATML.replace("{{ part.text }}", "{{ part.text | upper }}"), "rewrites or moves"),
        (CHATML.replace("<image>", ""), "template leaves them out"),
        ("<image><image>" + CHATML.replace("<image>", ""), "template leaves them out"),
        (
            CHATML + "{% if messages | length > 2 %}{{ raise_exception('one turn') }}{% endif %}",
            "one turn",
        ),
    ],
    ids=["the last alone", "reversed", "rewritten", "dropped", "first of all", "refused"],
)
def test_what_a_template_cannot_do_is_refused_and_said(vlm, monkeypatch, template, message):
    monkeypatch.setattr(vlm.processor, "chat_template", template)
    with as_users(), pytest.raises(InputError, match=message):
        vlm.inputs([SHOTS])


def test_runs_likelihoods_and_generation_are_the_models_own(any_vlm):
    inputs, plain = any_vlm.inputs([SHOTS]), plainly(any_vlm, SHOTS)
    with torch.no_grad():
        theirs = any_vlm.hf_model(**plain).logits
    assert_close(any_vlm.run(inputs).logits, theirs)
    told = any_vlm.hf_model.generate(**plain, max_new_tokens=4, do_sample=False)
    generated = any_vlm.generate(inputs, max_new_tokens=4)
    assert generated.tokens.tolist() == told[:, plain["input_ids"].shape[1] :].tolist()
    last = generated.steps[-1].inputs.layouts[0]
    assert last.turn[-1] == 2
    assert (last.answer() == np.arange(len(last))[-len(last.answer()) :]).all()


def test_the_answer_is_the_last_turns_alone(vlm):
    inputs = vlm.inputs([SHOTS], answers=["red and blue"])
    layout, ids = inputs.layouts[0], inputs.tensors["input_ids"][0]
    at = layout.answer()
    assert words(vlm.processor.tokenizer.decode(ids[at])) == "redandblue</s>"
    assert 0 < len(at) < layout.mask("assistant").sum()
    assert np.array_equal(Role("answer").of(layout).nonzero()[0], at)
    with torch.no_grad():
        logits = vlm.hf_model(**plainly(vlm, [*SHOTS, said("assistant", "red and blue")])).logits[0]
    own = logits[at - 1].log_softmax(-1)[torch.arange(len(at)), ids[at]].sum()
    found = vlm.generate(vlm.inputs([SHOTS]), max_new_tokens=1, answered=[inputs]).scores
    assert_close(found.log_probs[0, 0], own)
    prompt = vlm.inputs([SHOTS]).layouts[0]
    assert not len(prompt.answer())
    with pytest.raises(EmptySelectionError):
        Role("answer").of(prompt)


def test_turns_select_positions(vlm):
    inputs = vlm.inputs([SHOTS])
    layout = inputs.layouts[0]
    for turn in range(3):
        found = (Turn(turn) & "user").of(layout)
        assert np.array_equal(found, layout.mask("user") & (layout.turn == turn))
    assert np.array_equal(Turn(-1).of(layout), layout.turn == 2)
    assert np.array_equal(Turn((0, 1)).of(layout), np.isin(layout.turn, (0, 1)))
    cut = KnockOut(where=vl.Where(queries="last", keys=Turn(0) & "vision"))
    saved = vlm.run(inputs, [cut], save="blocks.0.attn.hook_pattern").saved
    weights = saved["blocks.0.attn.hook_pattern"][0, :, -1]
    gone = torch.from_numpy(layout.mask("vision") & (layout.turn == 0))
    assert weights[:, gone].abs().max() == 0
    assert (weights[:, ~gone] > 0).all()
    with as_users(), pytest.raises(EmptySelectionError, match="turn"):
        vlm.run(inputs, [KnockOut(where=vl.Where(queries="last", keys=Turn(3)))])


def test_a_system_prompt_for_every_sample(vlm):
    each = vlm.inputs([PICTURES[0]] * 3, ["What?"] * 3, system=["Be brief.", None, "Be kind."])
    for row, system in enumerate(["Be brief.", "", "Be kind."]):
        assert words(text_of(vlm, each, "system", -1, row)) == words(system)
    with as_users(), pytest.raises(InputError, match="2 system prompts for 1 samples"):
        vlm.inputs(PICTURES[0], "What?", system=["a", "b"])
    with as_users(), pytest.raises(InputError, match="system prompt of its own"):
        vlm.inputs([SHOTS], system="Be kind.")


def test_what_the_image_processor_is_told(any_vlm):
    """Sizes for one call: the same pixels as transformers', told by name."""
    known = any_vlm.processor.image_processor.valid_kwargs.__annotations__
    told = {"image_mean": [0.1] * 3} | (
        {"do_center_crop": False} if "do_center_crop" in known else {}
    )
    if any_vlm.name == "qwen2_5_vl":
        told["size"] = {"shortest_edge": 20 * 20, "longest_edge": 30 * 30}
    shown = picture(3, (60, 40))
    chat = [said("user", shown, "What?")]
    inputs = any_vlm.inputs([chat], images_kwargs=told)
    plain = plainly(any_vlm, chat, processor_kwargs={"images_kwargs": told})
    assert torch.equal(inputs.tensors["pixel_values"], plain["pixel_values"])
    assert inputs.tensors["input_ids"].tolist() == plain["input_ids"].tolist()
    assert not torch.equal(
        inputs.tensors["pixel_values"][:1], any_vlm.inputs([chat]).tensors["pixel_values"][:1]
    )
    with as_users(), pytest.raises(UnknownKeywordError, match="image_mean"):
        any_vlm.inputs([chat], images_kwargs={"image_means": 1})


def test_the_box_of_a_token_follows_what_the_image_processor_is_told():
    shown = picture(0, (80, 40))
    told = {"do_center_crop": False, "size": {"height": 32, "width": 32}}
    with vl.HookedVLM(*build("llava")) as vlm:
        cropped = vlm.inputs([shown], ["What?"]).layouts[0]
        whole = vlm.inputs([shown], ["What?"], images_kwargs=told).layouts[0]
    assert (cropped.seen(), whole.seen()) == (0.5, 1)
    assert whole.box[whole.vision(0)].max(0).tolist() == [60, 30, 80, 40]


TOOL = {
    "type": "function",
    "function": {
        "name": "crop",
        "description": "Cuts <|image|> out of an image: {'type': 'image'}",
    },
}
WITH_TOOLS = "{% if tools %}Tools: {{ tools | tojson }}\n{% endif %}" + CHATML


def test_tools_are_left_alone(vlm, monkeypatch):
    monkeypatch.setattr(vlm.processor, "chat_template", WITH_TOOLS)
    inputs, plain = vlm.inputs([SHOTS], tools=[TOOL]), plainly(vlm, SHOTS, tools=[TOOL])
    assert inputs.tensors["input_ids"].tolist() == plain["input_ids"].tolist()
    layout = inputs.layouts[0]
    assert layout.images == 2
    assert "Cuts <|image|> out" in vlm.processor.tokenizer.decode(
        inputs.tensors["input_ids"][0, torch.from_numpy(layout.mask("template"))]
    )
    as_a_picture = {"name": "crop", "description": "Cuts <image> in two"}
    with as_users(), pytest.raises(InputError, match="tools hold <image>, which"):
        vlm.inputs([SHOTS], tools=[as_a_picture])
    monkeypatch.setattr(vlm.processor, "chat_template", CHATML)
    with as_users(), pytest.raises(InputError, match="writes nothing of the tools"):
        vlm.inputs([SHOTS], tools=[TOOL])


def test_variables_of_the_template(vlm, monkeypatch):
    template = CHATML + "{% if think %}<think>{% endif %}"
    monkeypatch.setattr(vlm.processor, "chat_template", template)
    inputs = vlm.inputs([SHORT], template_kwargs={"think": True})
    assert inputs.layouts[0].tokens[-1] == ">"
    with as_users(), pytest.raises(InputError, match="does not read thinking"):
        vlm.inputs([SHORT], template_kwargs={"thinking": True})


# Samples that hold a conversation.


def test_a_sample_keeps_pictures_and_words_apart():
    sample = vl.Sample(messages=SHOTS, answer="red", id="a")
    assert sample.question == "What color is the circle?"
    assert sample.images == PICTURES[:2]
    assert [m.images for m in sample.messages] == [0, 1, 0, 1, 0, 0]
    bare = [said("user", "What color is the circle?")]
    bare[0]["content"].insert(0, {"type": "image"})
    assert vl.Sample(messages=bare, images=PICTURES[0]) == vl.Sample(
        messages=[said("user", PICTURES[0], "What color is the circle?")]
    )
    swapped = replace(sample, images=PICTURES[1:])
    assert swapped.messages == sample.messages
    assert swapped.key != sample.key
    assert not sample.without_images().images
    assert sample.without_images().question == sample.question


def test_what_is_said_before_counts_in_what_identifies_a_sample():
    one, other = (
        vl.Sample(messages=[said("user", first), said("assistant", "yes"), said("user", "What?")])
        for first in ("Is it red?", "Is it blue?")
    )
    assert one.question == other.question
    assert one.key != other.key
    assert identity.value(one) != identity.value(other)
    assert hash(one) != hash(other)
    moved = [
        vl.Sample(messages=[said("user", *parts)])
        for parts in ((PICTURES[0], "a", PICTURES[1]), (PICTURES[0], PICTURES[1], "a"))
    ]
    assert moved[0].key != moved[1].key


def test_a_question_after_solved_ones(vlm):
    shots = [
        vl.Sample("What color is the circle?", PICTURES[0], answer="red"),
        vl.Sample("Is it blue?", PICTURES[1], answer="no"),
    ]
    sample = vl.Sample(
        "What is this?", PICTURES[2], answer="green", choices=("green", "red"), id="x"
    )
    asked = sample.after(shots)
    assert (asked.question, asked.answer, asked.id) == ("What is this?", "green", "x")
    by_hand = [
        said("user", PICTURES[0], "What color is the circle?"),
        said("assistant", "red"),
        said("user", PICTURES[1], "Is it blue?"),
        said("assistant", "no"),
        said("user", PICTURES[2], "What is this?"),
    ]
    assert asked.messages == vl.Sample(messages=by_hand).messages
    assert asked.after(shots[:1]).conversation()[0].content == (IMAGE, "What color is the circle?")
    assert vlm.inputs(asked).layouts[0].turns == 3
    assert sample.after([]) is sample
    with pytest.raises(InputError, match="no answer to show"):
        sample.after([replace(shots[0], answer=None)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"messages": [said("tool", "8")]}, r"messages\[0\]: .*there is: system, user, assistant"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\] has no content"),
        ({"messages": [{"role": "user", "content": "a", "tool_calls": []}]}, "holds tool_calls"),
        ({"messages": [{"role": "user", "content": ""}]}, "is empty"),
        ({"messages": [said("assistant", "a")]}, "nothing that the user says"),
        ({"messages": "What?"}, "a list of"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "no model here hears"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
            r"1 video\(s\) stand in messages, and 0 were",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}, "by url"),
        ({"messages": SHOTS, "images": PICTURES[0]}, "in messages and in images="),
        ({"messages": [said("user", "a")], "images": PICTURES[0]}, r"0 image\(s\) stand.*1 were"),
        ({"messages": SHOTS, "question": "Why?"}, "question is 'Why[?]', and the messages' last"),
    ],
)
def test_conversations_that_make_no_sense(options, message):
    with as_users(), pytest.raises(InputError, match=message):
        vl.Sample(**options)


def test_words_that_a_model_would_take_for_a_picture(vlm):
    with as_users(), pytest.raises(InputError, match=r"text of the user.*messages hold them"):
        vlm.inputs([[said("user", PICTURES[0], "What does <image> mean?")]])
    with as_users(), pytest.raises(InputError, match="no answer follows"):
        vlm.inputs([ENDED], answers=["yes"])
    assert vlm.inputs([Message("user", ("What?",)).as_dict()]).layouts[0].turns == 1


# What people see of turns.


@pytest.mark.pages
def test_the_page_runs():
    page = (Path(__file__).parents[3] / "docs" / "conversations.md").read_text()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "conversations.md", "exec"), names)


def test_turns_are_shown(vlm):
    several, one = vlm.inputs([SHOTS]), vlm.inputs([SHORT])
    assert [f"turn {n}</span>" in several._repr_html_() for n in range(4)] == [True] * 3 + [False]
    assert "turn 0" not in one._repr_html_()
    assert "in 3 turns" in repr(several.layouts[0])
    found = attention_rows(vlm.run(several, save=NEEDS))
    np.testing.assert_array_equal(found["turn"], several.layouts[0].turn)
    assert described({"run": found}, "")["turn"] == several.layouts[0].turn.tolist()
    older = described({"run": found.drop_vars("turn")}, "")
    assert set(older["turn"]) == {0}
