"""Pooling takes its turn: what is listed before is pooled, what comes after meets what is left."""

import numpy as np
import pytest
import torch
from closeness import assert_apart, assert_close
from conftest import QUESTIONS, build, picture

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.interventions import (
    CompressVision,
    DropTokens,
    Edit,
    NormalizeVision,
    PermuteVision,
    Scale,
    ZeroAblate,
)
from vlmlens.positions import Row

VISION = vl.Where(positions="vision")
BEFORE = (
    ZeroAblate("hook_embed", VISION),
    Scale("hook_embed", VISION, by=3.0),
    Scale("hook_embed", vl.Where(positions=Row(0)), by=3.0),
    NormalizeVision(kind="match_each"),
    PermuteVision(design="mirror"),
    PermuteVision(seed=2),
    Edit("hook_embed", VISION, by=torch.tanh),
)
COARSE = CompressVision(rows=2, columns=2)


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl", "qwen3_vl", "paligemma"])
def vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


@pytest.fixture(scope="module")
def inputs(vlm):
    return vlm.inputs([picture(0, (96, 96)), picture(1, (96, 96))], list(QUESTIONS))


def pooled(x, layout):
    """The means of the cells of a grid of 2 x 2, by hand."""
    here, (rows, columns) = layout.vision(0), layout.grid()
    cell = layout.row[here] * 2 // rows * 2 + layout.column[here] * 2 // columns
    return torch.stack([x[here[cell == number]].mean(0) for number in range(4)])


def left(run, row):
    """What is at hook_embed where tokens are left."""
    return run.saved["hook_embed"][row, run.inputs.layouts[row].vision(0)]


@pytest.mark.parametrize("edit", BEFORE, ids=str)
def test_what_is_listed_before_is_pooled(vlm, inputs, edit):
    edited = vlm.run(inputs, edit, save="hook_embed").saved["hook_embed"]
    run = vlm.run(inputs, [edit, COARSE], save="hook_embed")
    for row, layout in enumerate(inputs.layouts):
        assert_close(left(run, row), pooled(edited[row], layout), like=edited[row])


@pytest.mark.parametrize("edit", BEFORE[:2], ids=str)
def test_what_is_listed_after_edits_what_is_left(vlm, inputs, edit):
    clean = vlm.run(inputs, COARSE, save="hook_embed")
    run = vlm.run(inputs, [COARSE, edit], save="hook_embed")
    for row in range(len(inputs)):
        wanted = left(clean, row) * getattr(edit, "by", 0.0)
        assert_close(left(run, row), wanted, like=left(clean, row))
    top = vlm.run(
        inputs, [COARSE, Scale("hook_embed", vl.Where(positions=Row(0)), by=3.0)], save="hook_embed"
    )
    scale = torch.tensor([3.0, 3.0, 1.0, 1.0])[:, None]
    assert_close(left(top, 0), left(clean, 0) * scale)


def test_the_projector_comes_before_all_of_it(vlm, inputs):
    """In whatever order they are listed."""
    edit = PermuteVision("projector.hook_out", seed=2)
    try:
        vlm.run(inputs, edit)
    except InputError:
        pytest.skip("its projector's rows are not the sequence's")
    first = vlm.run(inputs, [PermuteVision(seed=2), COARSE]).logits[:, -1]
    for edits in ([edit, COARSE], [COARSE, edit]):
        assert_close(vlm.run(inputs, edits).logits[:, -1], first)


@pytest.mark.parametrize("repeat", [False, True])
def test_a_blur_forgets_the_order_of_what_it_blurs(vlm, inputs, repeat):
    """A deep tower's additions are blurred, too, or they would tell."""
    blur = CompressVision(repeat=repeat)
    once = vlm.run(inputs, blur).logits[:, -1]
    assert_close(vlm.run(inputs, [PermuteVision(seed=1), blur]).logits[:, -1], once)
    assert_apart(vlm.run(inputs, PermuteVision(seed=1)).logits[:, -1], once)


def test_what_was_dropped_is_pooled_by_nobody(vlm, inputs):
    drop = DropTokens(where=vl.Where(positions=Row(0)))
    clean = vlm.run(inputs, save="hook_embed").saved["hook_embed"]
    run = vlm.run(inputs, [drop, Scale("hook_embed", VISION, by=3.0), COARSE], save="hook_embed")
    for row, layout in enumerate(inputs.layouts):
        here, (rows, columns) = layout.vision(0), layout.grid()
        stays = layout.row[here] > 0
        cell = layout.row[here] * 2 // rows * 2 + layout.column[here] * 2 // columns
        means = [
            clean[row, here[stays & (cell == number)]].mean(0) for number in np.unique(cell[stays])
        ]
        assert_close(left(run, row), 3 * torch.stack(means))


def test_pooling_twice_is_refused(vlm, inputs):
    with pytest.raises(InputError, match="pooled already"):
        vlm.run(inputs, [CompressVision(rows=2, columns=2), CompressVision()])


def test_answers_after_it_are_those_of_every_step_anew(vlm):
    """The edit that is listed before it acts on the prompt alone, while tokens are added."""
    inputs = vlm.inputs([picture(0, (96, 96))], [QUESTIONS[0]])
    edits = [NormalizeVision(kind="match_each"), COARSE]
    said = vlm.generate(inputs, edits, max_new_tokens=4, stop=False)
    whole = inputs
    for step in range(4):
        own = vlm.run(whole, edits).logits[:, -1]
        assert own.argmax(-1).tolist() == said.tokens[:, step].tolist()
        whole = whole.appended(said.tokens[:, step : step + 1])
