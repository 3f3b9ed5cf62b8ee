"""An edit of attention that nobody pays, and of a step that never comes, raises."""

from functools import partial

import pytest
import torch
from conftest import QUESTIONS, picture

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions import Edit, KnockOut, Scale, ScaleAttention, ZeroAblate

PATTERN = "blocks.*.attn.hook_pattern"


@pytest.fixture(scope="module")
def vlm(every_vlm):
    return every_vlm


@pytest.fixture(scope="module")
def inputs(vlm):
    return vlm.inputs([picture(0), picture(1)], list(QUESTIONS))


def attention(vlm):
    """Whether the language model's blocks have scores to edit."""
    return any(name.endswith("hook_attn_scores") for name in vlm.hook_dict if name[0] == "b")


def hide(mask):
    return torch.full_like(mask, -torch.inf)


def edits(where):
    return [
        *(KnockOut(where=where), ScaleAttention(by=2.0, where=where), ZeroAblate(PATTERN, where)),
        Edit("blocks.*.attn.hook_mask", where, by=hide),
    ]


@pytest.fixture(scope="module")
def patterns(vlm, inputs):
    return vlm.run(inputs, save=PATTERN).saved


def seen(saved, inputs, queries, keys):
    """Which samples have a query that sees a key, by the patterns of a clean run."""
    found = []
    for row, layout in enumerate(inputs.layouts):
        q, k = (vl.positions.chosen(layout, wanted) for wanted in (queries, keys))
        found.append(any(bool((x[row][:, q][:, :, k] > 0).any()) for x in saved.values()))
    return found


PAIRS = (("vision", "last"), ("last", "vision"), (0, -1))


@pytest.mark.parametrize(("queries", "keys"), PAIRS)
def test_keys_that_no_query_sees_raise_and_no_others(vlm, inputs, patterns, queries, keys):
    where = vl.Where(queries=queries, keys=keys)
    possible = seen(patterns, inputs, queries, keys)
    for edit in edits(where):
        if all(possible):
            vlm.run(inputs, edit)
        else:
            row = possible.index(False)
            for door in (vlm.run, vlm.generate):
                with pytest.raises(EmptySelectionError, match=f"in sample {row} no query"):
                    door(inputs, edit)


@pytest.mark.parametrize(("queries", "keys"), PAIRS)
def test_resuming_asks_the_same(any_vlm, queries, keys):
    vlm = any_vlm
    alone = vlm.inputs([picture(0)], [QUESTIONS[0]])
    kept = vlm.prefill(alone)
    possible = all(seen(vlm.run(alone, save=PATTERN).saved, alone, queries, keys))
    for edit in edits(vl.Where(queries=queries, keys=keys)):
        other = KnockOut(where=vl.Where(queries="last", keys=1))
        if possible:
            vlm.resume(kept, [[other], [edit]])
        else:
            with pytest.raises(EmptySelectionError, match="no query that is meant sees"):
                vlm.resume(kept, [[other], [edit]])


@pytest.mark.parametrize(("by", "does"), [(torch.zeros_like, True), (torch.clone, False)])
def test_a_mask_that_shows_hidden_keys_is_an_edit_and_one_that_stays_is_none(any_vlm, by, does):
    vlm = any_vlm
    alone = vlm.inputs([picture(0)], [QUESTIONS[0]])
    edit = Edit("blocks.*.attn.hook_mask", vl.Where(queries=1, keys="last"), by=by)
    doors = (
        partial(vlm.run, alone, edit),
        partial(vlm.generate, alone, edit),
        partial(vlm.resume, vlm.prefill(alone), [[], [edit]]),
    )
    for door in doors:
        if does:
            door()
        else:
            with pytest.raises(EmptySelectionError, match="the mask stays as it was"):
                door()


def test_a_mask_that_is_no_number_is_seen_in_the_logits(vlm, inputs):
    """0 times minus infinity hides nothing, and is not passed over."""
    assert vlm.run(inputs, Scale("blocks.1.attn.hook_mask", by=0.0)).logits.isnan().any()


def test_a_step_that_never_comes_raises(any_vlm, monkeypatch):
    vlm = any_vlm
    inputs = vlm.inputs([picture(0), picture(1)], list(QUESTIONS))
    name = "blocks.0.hook_resid_post"
    free = vlm.generate(inputs, max_new_tokens=3, stop=False)
    # What the first sample says at step 1 ends an answer from now on; the other may go on.
    monkeypatch.setattr(vlm.hf_model.generation_config, "eos_token_id", int(free.tokens[0, 1]))
    lengths = vlm.generate(inputs, max_new_tokens=3).lengths.tolist()
    assert lengths[0] == 2 or free.tokens[0, 0] == free.tokens[0, 1]
    for step in range(3):
        edit = Scale(name, vl.Where(steps=step), by=1)
        short = [row for row, length in enumerate(lengths) if length <= step]
        if short:
            last = lengths[short[0]] - 1
            with pytest.raises(InputError, match=f"of sample {short[0]} ended with step {last}"):
                vlm.generate(inputs, edit, max_new_tokens=3)
            other = [row for row in range(2) if row not in short]
            if other:
                meant = Scale(name, vl.Where(steps=step, samples=other), by=1)
                vlm.generate(inputs, meant, max_new_tokens=3)
        else:
            vlm.generate(inputs, edit, max_new_tokens=3)
        vlm.generate(inputs, edit, max_new_tokens=3, stop=False)
