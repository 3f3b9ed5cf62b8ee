"""How likely answers are, from the pass over their prompt."""

from dataclasses import replace

import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, build, picture

import vlmlens as vl
from vlmlens.interventions import DropTokens, KnockOut, MovePositions, PermuteVision, Scale
from vlmlens.model.decoding.likelihood import answer_log_probs
from vlmlens.positions import Cell, Column, Region, Role, Row, chosen
from vlmlens.sample import Sample

pytestmark = pytest.mark.versions

ANSWERS = (["red", "no"], ["yes", "the blue star"])
#: What is dropped of a picture.
VISION = ("vision", Region(), Row(0), Row(-1), Column(0), Cell(0, 0))
#: Layers that remember something else than keys and values.
HYBRID = ("qwen3_5", "qwen3_5_moe", "lfm2_vl")


@pytest.fixture(scope="module")
def samples():
    return [Sample(q, (picture(i),), id=str(i)) for i, q in enumerate(QUESTIONS)]


def one_by_one(every_vlm, samples, answers, edits):
    """The naive way: every answer through the model with its prompt."""
    inputs = every_vlm.inputs(samples, answers=answers)
    run = every_vlm.run(inputs, edits)
    return answer_log_probs(run.logits, run.inputs.tensors["input_ids"], run.inputs.layouts)


def asked(every_vlm, samples, edits=(), **options):
    answered = [every_vlm.inputs(samples, answers=answers) for answers in ANSWERS]
    return every_vlm.generate(
        every_vlm.inputs(samples), edits, max_new_tokens=2, answered=answered, **options
    ).scores


def test_answers_from_the_prompts_pass_are_as_likely_as_through_the_whole_model(every_vlm, samples):
    shuffled = [PermuteVision(seed=1)]
    found = asked(every_vlm, samples, shuffled)
    naive = torch.stack([one_by_one(every_vlm, samples, a, shuffled) for a in ANSWERS])
    assert_close(found.log_probs, naive)
    why = "the model remembers more than keys and values"
    whole = {0: why, 1: why} if every_vlm.config.model_type in HYBRID else {}
    assert dict(found.whole) == whole


@pytest.fixture(scope="module")
def llava():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


@pytest.mark.parametrize(
    ("edit", "shared"),
    [
        (Scale(point="hook_embed", by=2.0, where=vl.Where(positions="vision")), True),
        (KnockOut(where=vl.Where(queries="user", keys="vision")), True),
        (PermuteVision(moves="position ids"), True),
        (MovePositions(shift=3), True),
        (DropTokens(where=vl.Where(positions=(7, 8))), True),
        (Scale(point="blocks.1.hook_mlp_out", by=2.0), False),  # the answer's positions as well
        (Scale(point="hook_embed", by=2.0, where=vl.Where(positions="last")), False),
        (MovePositions(shift=3, rest="follow"), True),
        (MovePositions(scale=2, where=vl.Where(positions=~Role("vision"))), False),
        *((DropTokens(where=vl.Where(positions=gone)), True) for gone in VISION),
        (DropTokens(where=vl.Where(positions=Row(0)), position_ids="reindexed"), True),
    ],
    ids=str,
)
def test_edits_that_may_reach_the_answer_take_the_whole_way_and_say_so(
    llava, samples, edit, shared
):
    found = asked(llava, samples, [edit])
    naive = torch.stack([one_by_one(llava, samples, a, [edit]) for a in ANSWERS])
    assert_close(found.log_probs, naive)
    assert bool(found.whole) is not shared
    assert all("reach" in why for why in found.whole.values())
    if shared:
        assert not torch.allclose(found.log_probs, asked(llava, samples).log_probs)


@pytest.mark.parametrize("gone", ["vision", Row(0), Cell(0, 0)], ids=str)
def test_answers_to_what_is_left_are_as_likely_as_plain_transformers_says(every_vlm, samples, gone):
    """The mask alone hides the tokens from the whole model's pass over prompt and answer."""
    drop = DropTokens(where=vl.Where(positions=gone))
    found = asked(every_vlm, samples, [drop])
    for number, answers in enumerate(ANSWERS):
        given = every_vlm.inputs(samples, answers=answers)
        mask = given.tensors["attention_mask"].clone()
        for row, layout in enumerate(given.layouts):
            mask[row, torch.from_numpy(chosen(layout, gone))] = 0
        with torch.no_grad():
            logits = every_vlm.hf_model(**given.tensors | {"attention_mask": mask}).logits
        expected = answer_log_probs(logits, given.tensors["input_ids"], given.layouts)
        assert_close(found.log_probs[number], expected)
    assert bool(found.whole) is (every_vlm.config.model_type in HYBRID)


def test_an_edit_of_other_samples_asks_nothing_of_this_one(llava):
    """Its tokens are looked for in the samples that it is for: another may have no picture."""
    asks = [Sample("What?", (picture(0),), id="0"), Sample("What?", (), id="1")]
    edit = Scale("hook_embed", vl.Where(positions="vision", samples=0), by=2.0)
    found = asked(llava, asks, [edit])
    naive = torch.stack([one_by_one(llava, asks, answers, [edit]) for answers in ANSWERS])
    assert_close(found.log_probs, naive)
    assert not found.whole
    everywhere = asked(llava, asks, [Scale("hook_embed", vl.Where(samples=0), by=2.0)])
    assert "may reach the answer" in everywhere.whole[0]


def test_what_is_generated_is_the_same_with_and_without_answers(llava, samples):
    inputs = llava.inputs(samples)
    alone = llava.generate(inputs, max_new_tokens=4)
    answered = [llava.inputs(samples, answers=ANSWERS[1])]
    asked = llava.generate(inputs, max_new_tokens=4, answered=answered)
    assert torch.equal(alone.tokens, asked.tokens)
    assert alone.scores.log_probs is None
    for one, other in zip(alone.steps, asked.steps, strict=True):
        assert torch.equal(one.logits, other.logits)


def test_answers_of_other_prompts_are_not_taken_for_their_own(llava, samples):
    questions = [sample.question for sample in samples][::-1]
    asked = [replace(s, question=q) for s, q in zip(samples, questions, strict=True)]
    other = llava.inputs(asked, answers=ANSWERS[0])
    scores = llava.generate(llava.inputs(samples), max_new_tokens=1, answered=[other]).scores
    assert "no continuation" in scores.whole[0]
    expected = one_by_one(llava, asked, ANSWERS[0], ())
    torch.testing.assert_close(scores.log_probs[0], expected)


@pytest.mark.parametrize("change", ["other picture", "the same pictures in another order"])
def test_answers_about_other_pictures_are_not_taken_for_their_own(every_vlm, change):
    """The very same words: nothing but pixels tells the two apart."""
    own = [Sample("What?", (picture(n),), id=str(n)) for n in range(2)]
    other = [
        Sample("What?", (picture(n),), id=str(n)) for n in ((1, 0) if "order" in change else (2, 3))
    ]
    answered = every_vlm.inputs(other, answers=["red", "no"])
    scores = every_vlm.generate(every_vlm.inputs(own), max_new_tokens=1, answered=[answered]).scores
    assert_close(scores.log_probs[0], one_by_one(every_vlm, other, ["red", "no"], ()))
    assert scores.whole
