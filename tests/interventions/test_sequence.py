"""Edits of what is in the sequence: dropped, pooled, injected late; and of how long tokens are."""

import numpy as np
import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, picture

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError, UnknownPointError
from vlmlens.interventions import (
    CompressVision,
    DropTokens,
    InjectAt,
    KnockOut,
    NormalizeVision,
    PermuteVision,
    Scale,
    text_norms,
)
from vlmlens.positions import Row, Text

EMBED = "hook_embed"
SYSTEM = vl.Where(positions="system")


def without(vlm, inputs, gone, position_ids):
    """The logits of a sequence that never held these text tokens, by plain transformers."""
    kept = torch.from_numpy(~gone)
    tensors = {
        name: inputs.tensors[name][:, kept]
        for name in ("input_ids", "attention_mask", "position_ids")
    }
    if position_ids == "reindexed":
        tensors["position_ids"] = torch.arange(int(kept.sum()))[None]
    pixels = {"pixel_values": inputs.tensors["pixel_values"]}
    return vlm.hf_model(**tensors, **pixels).logits, kept


@pytest.mark.parametrize("position_ids", ["kept", "reindexed"])
def test_dropped_tokens_might_never_have_been(vlm, position_ids):
    inputs = vlm.inputs([picture()], [QUESTIONS[0]], system="Answer in a word or two.")
    drop = DropTokens(where=SYSTEM, position_ids=position_ids)
    run = vlm.run(inputs, [drop])
    theirs, kept = without(vlm, inputs, inputs.layouts[0].mask("system"), position_ids)
    assert_close(run.logits[:, kept], theirs)
    assert run.inputs.layouts[0].roles.count("system") == 0
    assert float((run.logits[:, -1] - vlm.run(inputs).logits[:, -1]).abs().max()) > 1e-3


def test_dropped_vision_tokens_are_keys_that_nobody_sees(vlm, inputs):
    drop = vlm.run(inputs, [DropTokens(where=vl.Where(positions=Row(0)))])
    cut = vlm.run(inputs, [KnockOut(where=vl.Where(keys=Row(0), queries=~Row(0)))])
    for row, layout in enumerate(drop.inputs.layouts):
        own = torch.from_numpy(~layout.mask("pad"))
        assert_close(drop.logits[row, own], cut.logits[row, own])
        rows, columns = inputs.layouts[row].grid()
        assert layout.roles.count("vision") == (rows - 1) * columns == len(layout.vision(0))


def test_dropped_tokens_stay_away_while_decoding(vlm, inputs):
    drop = [DropTokens(where=vl.Where(positions="vision"))]
    told = vlm.generate(
        inputs, drop, max_new_tokens=3, stop=False, save="blocks.*.attn.hook_pattern"
    )
    for step in told.steps:
        for row, layout in enumerate(inputs.layouts):
            vision = torch.from_numpy(layout.vision(0))
            rows = step.saved.stack("blocks.*.attn.hook_pattern")[:, row, :, -1]
            assert (rows[..., vision] == 0).all()


def test_what_cannot_be_dropped(vlm, inputs):
    with pytest.raises(InputError, match="the last token cannot be dropped"):
        vlm.run(inputs, [DropTokens(where=vl.Where(positions="last"))])
    with pytest.raises(InputError, match="which tokens go"):
        DropTokens()
    with pytest.raises(InputError, match="there is: kept, reindexed"):
        DropTokens(where=SYSTEM, position_ids="lost")
    with pytest.raises(EmptySelectionError, match="no tokens spell 'blue'"):
        vlm.run(
            vlm.inputs([picture()], [QUESTIONS[0]]),
            [DropTokens(where=vl.Where(positions=Text("blue")))],
        )


# CompressVision.


def pooled(x, grid, coarse):
    """Cell means by hand, as (rows, columns, d_model)."""
    cells = x.reshape(*grid, -1)
    rows, columns = (np.arange(n) * m // n for n, m in zip(grid, coarse, strict=True))
    return torch.stack(
        [
            torch.stack([cells[rows == r][:, columns == c].mean((0, 1)) for c in range(coarse[1])])
            for r in range(coarse[0])
        ]
    )


@pytest.mark.parametrize("coarse", [(1, 1), (2, 3), (2, 2)])
def test_every_token_of_a_cell_is_its_mean(vlm, inputs, coarse):
    before = vlm.run(inputs, save=EMBED).saved[EMBED]
    blur = CompressVision(rows=coarse[0], columns=coarse[1], repeat=True)
    after = vlm.run(inputs, [blur], save=EMBED).saved[EMBED]
    for row, layout in enumerate(inputs.layouts):
        here, grid = layout.vision(0), layout.grid()
        means = pooled(before[row, torch.from_numpy(here)], grid, coarse)
        down = torch.from_numpy(layout.row[here] * coarse[0] // grid[0])
        across = torch.from_numpy(layout.column[here] * coarse[1] // grid[1])
        assert_close(after[row, torch.from_numpy(here)], means[down, across])
        rest = torch.from_numpy(~layout.mask("vision"))
        assert torch.equal(after[row, rest], before[row, rest])


def test_a_compressed_image_is_a_coarse_grid(vlm, inputs):
    run = vlm.run(inputs, [CompressVision(rows=2, columns=2)], save=EMBED)
    before = vlm.run(inputs, save=EMBED).saved[EMBED]
    for row, (layout, whole) in enumerate(zip(run.inputs.layouts, inputs.layouts, strict=True)):
        assert layout.grid() == (2, 2)
        assert len(layout.vision(0)) == layout.roles.count("vision") == 4
        x = run.saved[EMBED][row, torch.from_numpy(layout.vision(0))]
        means = pooled(before[row, torch.from_numpy(whole.vision(0))], whole.grid(), (2, 2))
        assert_close(x, means.reshape(4, -1))
        box = whole.box[whole.vision(0)]
        assert_close(layout.box[layout.vision(0)][0, :2], box[:, :2].min(0), like=box)
        assert_close(layout.box[layout.vision(0)][-1, 2:], box[:, 2:].max(0))


def test_to_its_own_grid_it_is_nothing(vlm, inputs):
    rows, columns = inputs.layouts[0].grid()
    for repeat in (True, False):
        same = CompressVision(rows=rows, columns=columns, repeat=repeat)
        assert torch.equal(vlm.run(inputs, [same]).logits, vlm.run(inputs).logits)


def test_one_token_is_the_sequence_with_one_token(vlm):
    """Pooled to 1 x 1 and reindexed: the image is one token, right after which the text goes on."""
    inputs = vlm.inputs([picture()], [QUESTIONS[0]])
    one = CompressVision(rows=1, columns=1, position_ids="reindexed")
    run = vlm.run(inputs, [one], save=EMBED)
    own = torch.from_numpy(~run.inputs.layouts[0].mask("pad"))
    x = run.saved[EMBED][:, own]
    ids = torch.arange(x.shape[1])[None]
    mask = torch.ones_like(ids)
    alone = vlm.hf_model.get_submodule("model.language_model")(
        inputs_embeds=x, attention_mask=mask, position_ids=ids
    )
    theirs = vlm.hf_model.lm_head(alone.last_hidden_state)
    assert_close(run.logits[:, own], theirs)


def test_grids_that_cannot_be_pooled(vlm, inputs):
    with pytest.raises(InputError, match="cannot be pooled to 9 x 9"):
        vlm.run(inputs, [CompressVision(rows=9, columns=9)])
    with pytest.raises(InputError, match="where image and text meet"):
        CompressVision(point="projector.hook_out")


# InjectAt.


def test_an_image_that_enters_late(vlm, inputs):
    names = ["hook_embed", "blocks.*.hook_resid_pre", "blocks.*.attn.hook_pattern"]
    run = vlm.run(inputs, [InjectAt(layer=1)], save=names)
    clean = vlm.run(inputs, save=names)
    for row, layout in enumerate(inputs.layouts):
        vision = torch.from_numpy(layout.mask("vision"))
        entered = run.saved["blocks.1.hook_resid_pre"][row]
        assert torch.equal(entered[vision], run.saved["hook_embed"][row, vision])
        blind = run.saved["blocks.0.attn.hook_pattern"][row, :, ~vision]
        assert (blind[..., vision] == 0).all()
        sees = run.saved["blocks.1.attn.hook_pattern"][row, :, -1]
        assert (sees[..., vision] > 0).all()
    # Up to the block, the words are what they would be without the image.
    gone = vlm.run(inputs, [DropTokens(where=vl.Where(positions="vision"))], save=names)
    user = torch.from_numpy(inputs.layouts[0].mask("user"))
    words = [r.saved["blocks.1.hook_resid_pre"][0, user] for r in (run, gone, clean)]
    assert_close(words[0], words[1])
    assert float((words[0] - words[2]).abs().max()) > 1e-3


def test_blocks_that_cannot_be_entered(vlm, inputs):
    with pytest.raises(UnknownPointError):
        vlm.run(inputs, [InjectAt(layer=vlm.layers)])
    with pytest.raises(InputError, match="counted from 1"):
        InjectAt(layer=0)


# NormalizeVision.


def lengths(vlm, inputs, edits):
    x = vlm.run(inputs, edits, save=EMBED).saved[EMBED]
    return torch.stack(
        [x[r, torch.from_numpy(lay.vision(0))] for r, lay in enumerate(inputs.layouts)]
    )


def test_the_papers_formula(vlm, inputs):
    x = lengths(vlm, inputs, [])
    y = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    y = 0.83 * y * (1.22 / y.norm(dim=-1, keepdim=True)).clamp(max=1)
    found = lengths(vlm, inputs, [NormalizeVision(kind="paper")])
    assert_close(found, y)
    assert_close(found.norm(dim=-1), torch.full(found.shape[:2], 1.0126))


def test_lengths_are_those_of_words(vlm, inputs):
    words = vlm.hf_model.get_input_embeddings().weight.detach().norm(dim=-1)
    words = words[words > 0]
    assert_close(text_norms(vlm), words)
    before = lengths(vlm, inputs, [])
    after = {
        kind: lengths(vlm, inputs, [NormalizeVision(kind=kind)])
        for kind in ("match_mean", "match_each", "match_distribution")
    }
    for x in after.values():  # directions stay
        assert_close(torch.cosine_similarity(x, before, dim=-1), torch.ones(x.shape[:2]))
    assert_close(after["match_mean"].norm(dim=-1).mean(-1), words.mean().expand(2))
    ratio = after["match_mean"].norm(dim=-1) / before.norm(dim=-1)
    assert_close(ratio, ratio[:, :1].expand_as(ratio))  # the skew stays
    assert_close(after["match_each"].norm(dim=-1), words.mean().expand(before.shape[:2]))
    found = after["match_distribution"].norm(dim=-1)
    assert torch.equal(found.argsort(-1), before.norm(dim=-1).argsort(-1))
    share = (torch.arange(found.shape[1]) + 0.5) / found.shape[1]
    assert_close(found[0].sort().values, words.quantile(share))


def test_words_are_left_alone_and_the_projector_will_do(vlm, inputs):
    edit = NormalizeVision(kind="paper")
    x, y = (vlm.run(inputs, e, save=EMBED).saved[EMBED] for e in ([], [edit]))
    rest = torch.from_numpy(~inputs.layouts[1].mask("vision"))
    assert torch.equal(x[1, rest], y[1, rest])
    early = NormalizeVision(kind="paper", point="projector.hook_out")
    assert torch.equal(vlm.run(inputs, [early]).logits, vlm.run(inputs, [edit]).logits)
    louder = Scale(point=EMBED, where=vl.Where(positions="vision"), by=7.0)
    assert_close(vlm.run(inputs, [louder, edit]).logits, vlm.run(inputs, [edit]).logits)


def test_an_image_is_needed(vlm):
    blind = vlm.inputs([[]], [QUESTIONS[0]])
    for edit in (NormalizeVision(), CompressVision(), PermuteVision(design="mirror")):
        with pytest.raises(EmptySelectionError, match="no vision tokens"):
            vlm.run(blind, [edit])
