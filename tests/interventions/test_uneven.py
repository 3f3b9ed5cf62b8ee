"""Edits where axes differ: grids that are not square, several tiles, padding, words, empty rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, picture

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.interventions import (
    CompressVision,
    DropTokens,
    InjectAt,
    MovePositions,
    NormalizeVision,
    PermuteVision,
    SetPattern,
    text_norms,
)
from vlmlens.positions import Row
from vlmlens.zoo.tiny import build

EMBED = "hook_embed"


@pytest.fixture(scope="module")
def wide():
    """A model, and inputs whose image has a grid of 4 x 8."""
    with vl.HookedVLM(*build("qwen2_5_vl")) as vlm:
        inputs = vlm.inputs([picture(size=(64, 32))], [QUESTIONS[0]])
        rows, columns = inputs.layouts[0].grid()
        assert rows < columns
        yield vlm, inputs


def grid_of(x, layout):
    return x[0, torch.from_numpy(layout.vision(0))].unflatten(0, layout.grid())


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (1, 4), (4, 1)])
def test_cells_of_a_wide_grid_are_pooled_along_each_axis_by_its_own_length(wide, rows, columns):
    vlm, inputs = wide
    layout = inputs.layouts[0]
    high, across = (n // m for n, m in zip(layout.grid(), (rows, columns), strict=True))
    before = grid_of(vlm.run(inputs, save=EMBED).saved[EMBED], layout)
    means = before.unflatten(1, (columns, across)).unflatten(0, (rows, high)).mean((1, 3))
    for repeat in (True, False):
        edit = CompressVision(rows=rows, columns=columns, repeat=repeat)
        run = vlm.run(inputs, [edit], save=EMBED)
        after = run.saved[EMBED]
        if repeat:
            found = grid_of(after, layout)[::high, ::across]
        else:
            coarse = run.inputs.layouts[0]
            assert coarse.grid() == (rows, columns)
            found = after[0, torch.from_numpy(coarse.vision(0))].unflatten(0, (rows, columns))
        assert_close(found, means)


def test_what_was_dropped_is_in_no_mean_and_no_row_that_is_left(wide):
    vlm, inputs = wide
    layout = inputs.layouts[0]
    before = grid_of(vlm.run(inputs, save=EMBED).saved[EMBED], layout)
    drop = DropTokens(where=vl.Where(positions=Row(0)))
    blur = CompressVision(repeat=True)
    run = vlm.run(inputs, [drop, blur], save=EMBED)
    left = run.inputs.layouts[0]
    gone = layout.vision(0)[layout.row[layout.vision(0)] == 0]
    assert left.grid() == layout.grid() and left.mask("pad")[gone].all()
    assert np.array_equal(left.vision(0), np.setdiff1d(layout.vision(0), gone))
    after = run.saved[EMBED][0, torch.from_numpy(left.vision(0))]
    assert_close(after, before[1:].flatten(0, 1).mean(0).expand_as(after))


def test_those_that_enter_late_see_each_other_before(wide):
    vlm, inputs = wide
    here = torch.from_numpy(inputs.layouts[0].vision(0))
    name = "blocks.0.attn.hook_pattern"
    late, clean = (
        vlm.run(inputs, e, save=name).saved[name][0][:, here] for e in ([InjectAt()], [])
    )
    assert_close(late, clean)


def test_words_move_as_well(wide):
    _, inputs = wide
    layout = inputs.layouts[0]
    here = torch.from_numpy(np.flatnonzero(layout.mask("user")))
    before = inputs.tensors["position_ids"][:, 0]
    for edit, wanted in (
        (MovePositions(where=vl.Where(positions="user"), to="constant"), before[:, here[:1]]),
        (MovePositions(where=vl.Where(positions="user"), shift=3), before[:, here] + 3),
    ):
        after = edit.prepare(inputs).tensors["position_ids"][:, 0]
        assert torch.equal(after[:, here], wanted.expand(-1, len(here)))
        rest = [at for at in range(len(layout)) if at not in here]
        assert torch.equal(after[:, rest], before[:, rest])


def test_ids_of_the_mask_that_stand_beside_threefold_ones_stay(wide):
    _, inputs = wide
    ids = inputs.tensors["position_ids"]
    text = 100 + torch.arange(ids.shape[-1]).expand(1, 1, -1)
    four = replace(inputs, tensors={**inputs.tensors, "position_ids": torch.cat([text, ids])})
    edit = MovePositions(to="constant", rest="follow")
    moved = edit.prepare(four).tensors["position_ids"]
    assert torch.equal(moved[:1], text)
    assert torch.equal(moved[1:], edit.prepare(inputs).tensors["position_ids"])


def test_padding_is_no_place_to_count_from(vlm):
    pictures, edit = [picture(), picture()], MovePositions(where=vl.Where(), scale=2)
    questions = ["Red?", "What is there to the left of the large red square?"]
    batch = vlm.inputs(pictures, questions)
    assert len({np.count_nonzero(own.mask("pad")) for own in batch.layouts}) == 2
    together = vlm.run(batch, [edit]).logits[:, -1]
    for row, question in enumerate(questions):
        single = vlm.inputs(pictures[:1], [question])
        assert_close(together[row], vlm.run(single, [edit]).logits[0, -1])


def test_a_free_shuffle_goes_across_tiles():
    with vl.HookedVLM(*build("llava_next")) as vlm:
        inputs = vlm.inputs([picture(size=(96, 32))], [QUESTIONS[0]])
    layout, key = inputs.layouts[0], inputs.keys[0]
    tile = layout.tile[layout.vision(0)]
    assert len(np.unique(tile)) > 1
    moved = {
        design: tile[PermuteVision(design=design).order(layout, 0, key)] != tile
        for design in ("free", "within rows", "columns")
    }
    assert moved["free"].any()
    assert not moved["within rows"].any() and not moved["columns"].any()


def test_what_a_deep_tower_adds_moves_with_the_tokens_from_the_projector_on():
    with vl.HookedVLM(*build("qwen3_vl")) as vlm:
        inputs = vlm.inputs([picture()], [QUESTIONS[0]])
        points = (EMBED, "projector.hook_out")
        one, other = (vlm.run(inputs, [PermuteVision(p, seed=1)]).logits for p in points)
    assert_close(one, other)


def test_rows_of_zeros_in_the_table_are_no_words():
    model, processor = build("llava")
    with torch.no_grad():
        model.get_input_embeddings().weight[-40:] = 0
    with vl.HookedVLM(model, processor) as vlm:
        inputs = vlm.inputs([picture()], [QUESTIONS[0]])
        here = torch.from_numpy(inputs.layouts[0].vision(0))
        words = vlm.hf_model.get_input_embeddings().weight.detach().norm(dim=-1)
        assert (words == 0).sum() >= 40
        words = words[words > 0]
        assert_close(text_norms(vlm), words)
        norms = {
            kind: vlm.run(inputs, [NormalizeVision(kind=kind)], save=EMBED)
            .saved[EMBED][0, here]
            .norm(dim=-1)
            for kind in ("match_mean", "match_each", "match_distribution")
        }
    assert_close(norms["match_mean"].mean(), words.mean())
    assert_close(norms["match_each"], words.mean().expand(len(here)))
    share = (torch.arange(len(here)) + 0.5) / len(here)
    assert_close(norms["match_distribution"].sort().values, words.quantile(share))


def test_the_first_token_gets_no_weight_where_a_window_hides_it():
    """Rows of weights sum to 1: a query that does not see the token would attend to nothing."""
    name = "blocks.*.attn.hook_pattern"
    with vl.HookedVLM(*build("gemma3")) as vlm:
        inputs = vlm.inputs([picture()], [QUESTIONS[1]])
        window = vlm.config.get_text_config().sliding_window
        assert window < len(inputs.layouts[0])
        for layers in (0, None):
            for run in (vlm.run, vlm.generate):
                with pytest.raises(InputError, match=r"does not see at blocks\.0\.attn"):
                    run(inputs, [SetPattern(where=vl.Where(layers=layers), to="first")])
        for where in (vl.Where(layers=1), vl.Where(queries=range(window))):
            saved = vlm.run(inputs, [SetPattern(where=where, to="first")], save=name).saved
            for rows in saved.values():
                assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]))
