"""Attention on the image's grid: whose row, which word, which objects, which way."""

import numpy as np
import pytest
import torch
from closeness import assert_close
from hand import attending, generation, layout, run_saving
from scipy.stats import mannwhitneyu

import vlmlens as vl
from vlmlens import probes
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.probes import attention_maps, cmb, entropy
from vlmlens.probes.atlas import LOOKS
from vlmlens.probes.attention_maps import word_steps

#: A 2 x 2 grid, 10 pixels a patch; image attention 0.8 of the whole.
ROW = [0.1, 0.4, 0.2, 0.1, 0.1, 0.1]


def on_two_by_two(row=ROW):
    return attending(["bvvvvu"], [[row]], columns=2)


def test_attention_lies_where_the_patches_are():
    found = probes.image_attention(on_two_by_two())
    assert found.dims == ("sample", "layer", "head", "row", "column")
    np.testing.assert_allclose(found.squeeze(), [[0.4, 0.2], [0.1, 0.1]])
    wide = attending(["bvvvvu", "bbvvuu"], [[ROW], [[0, 0, 0.3, 0.7, 0, 0]]], columns=2)
    both = probes.image_attention(wide)
    np.testing.assert_allclose(both[1].squeeze(), [[0.3, 0.7], [np.nan, np.nan]])


class Letters:
    """A tokenizer of single letters: id 0 is ``a``."""

    def decode(self, ids, skip_special_tokens=False):
        return "".join(chr(97 + i) for i in ids)


def say(*ids):
    """A generation of these tokens, whose attention moves on by one patch a step."""
    steps = []
    for n in range(len(ids)):
        row = np.full(6 + n, 0.05)
        row[1 + n] = 0.6
        steps.append(attending(["bvvvvu" + "a" * n], [[row.tolist()]], columns=2))
    made = generation(*steps, lengths=[len(ids)])
    return vl.Generation(made.inputs, torch.tensor([ids]), made.lengths, (), made.steps)


def test_the_word_decides_the_step():
    run = say(3, 0, 1)  # "dab"
    tokenizer = Letters()
    assert word_steps(run, tokenizer, "d") == [0]
    assert word_steps(run, tokenizer, "ab") == [1, 2]
    found = probes.word_attention(run, tokenizer, "a")
    np.testing.assert_allclose(found["attention"].squeeze(), [[0.05, 0.6], [0.05, 0.05]])
    read = probes.word_attention(run, tokenizer, "a", reads=True)
    np.testing.assert_allclose(read["attention"].squeeze(), [[0.05, 0.05], [0.6, 0.05]])
    both = probes.word_attention(run, tokenizer, "ab")
    np.testing.assert_allclose(both["attention"].squeeze(), [[0.05, 0.325], [0.325, 0.05]])
    p = np.array([0.05, 0.6, 0.05, 0.05]) / 0.75
    assert found["entropy"].item() == pytest.approx(-(p * np.log2(p)).sum() / 2)
    with pytest.raises(InputError, match="did not say 'x'; it said 'dab'"):
        probes.word_attention(run, tokenizer, "x")
    with pytest.raises(InputError, match="no step reads it"):
        probes.word_attention(run, tokenizer, "b", reads=True)


def test_a_words_row_is_that_of_one_pass(vlm, inputs):
    """What predicts the second word is the last row of one pass over prompt and first word."""
    run = vlm.generate(inputs, save=cmb.NEEDS, max_new_tokens=2, stop=False)
    step = probes.image_attention(run.steps[1])
    once = vlm.run(inputs.appended(run.tokens[:, :1]), save=cmb.NEEDS)
    assert_close(step, probes.image_attention(once), like=1.0)


def test_attention_on_objects_worked_out_on_paper():
    """The object is the left column: 0.4 + 0.1 of 0.8; half the patches."""
    found = probes.object_overlap(on_two_by_two(), [[(0, 0, 10, 20)]])
    assert found["mass"].item() == pytest.approx(0.5 / 0.8)
    assert found["area"].item() == 0.5
    assert found["lift"].item() == pytest.approx(1.25)
    assert found["hit"].item() == 1.0
    inside, outside = [0.4, 0.1], [0.2, 0.1]
    u = mannwhitneyu(inside, outside).statistic
    assert found["auroc"].item() == pytest.approx(u / 4)
    missed = probes.object_overlap(on_two_by_two(), [[(10, 0, 20, 5), (12, 12, 13, 13)]])
    assert missed["hit"].item() == 0.0
    assert missed["mass"].item() == pytest.approx(0.3 / 0.8)
    everywhere = probes.object_overlap(on_two_by_two(), [[(0, 0, 20, 20)]])
    assert everywhere["lift"].item() == pytest.approx(1.0)
    assert np.isnan(everywhere["auroc"].item())
    blind = probes.object_overlap(on_two_by_two([1.0, 0, 0, 0, 0, 0]), [[(0, 0, 10, 20)]])
    assert all(np.isnan(blind[name].item()) for name in ("mass", "hit", "lift", "auroc"))
    with pytest.raises(EmptySelectionError, match="no patch of sample 0"):
        probes.object_overlap(on_two_by_two(), [[]])
    with pytest.raises(InputError, match="give a list for each"):
        probes.object_overlap(on_two_by_two(), [])


def test_where_a_head_looks_worked_out_on_paper():
    found = probes.head_atlas(on_two_by_two())
    assert found["share"].item() == pytest.approx(0.8)
    assert found["row"].item() == pytest.approx((0.6 * 0.25 + 0.2 * 0.75) / 0.8)
    assert found["column"].item() == pytest.approx((0.5 * 0.25 + 0.3 * 0.75) / 0.8)
    assert found["peak"].item() == pytest.approx(0.5)
    row, column = found["row"].item(), found["column"].item()
    p = np.array([[0.4, 0.2], [0.1, 0.1]]) / 0.8
    y, x = np.array([[0.25], [0.75]]), np.array([[0.25, 0.75]])
    spread = np.sqrt((p * ((y - row) ** 2 + (x - column) ** 2)).sum())
    assert found["spread"].item() == pytest.approx(spread)
    assert found["entropy"].item() == pytest.approx(-(p * np.log2(p)).sum() / 2)
    ours = probes.attention_entropy(on_two_by_two())
    assert found["entropy"].item() == pytest.approx(ours.item())
    point = probes.head_atlas(on_two_by_two([0, 0, 0, 0, 0.5, 0.5]))
    assert [point[n].item() for n in ("row", "column", "spread")] == pytest.approx([0.75, 0.75, 0])
    with_boxes = probes.head_atlas(on_two_by_two(), [[(0, 0, 10, 20)]])
    assert with_boxes["hit"].item() == 1.0
    nothing = probes.head_atlas(on_two_by_two([1.0, 0, 0, 0, 0, 0]))
    assert nothing["share"].item() == 0.0
    assert all(np.isnan(nothing[n].item()) for n in ("row", "column", "spread", "entropy", "peak"))


@pytest.mark.parametrize("columns", [3, 2])
def test_rows_and_columns_of_a_grid_that_is_not_square(columns):
    """All weight on the last patch of the first row, of two by three and of three by two."""
    weights = [0.0] * 8
    weights[columns] = 1.0
    found = probes.head_atlas(attending(["bvvvvvvu"], [[weights]], columns=columns))
    assert found["row"].item() == pytest.approx(0.5 / (6 // columns))
    assert found["column"].item() == pytest.approx((columns - 0.5) / columns)


def test_which_way_patches_look_worked_out_on_paper():
    """A 2 x 2 grid; every patch looks at the first one, half of it, and half at itself."""
    rows = torch.zeros(1, 1, 4, 6)
    for query in range(4):
        rows[0, 0, query, 1] += 0.4
        rows[0, 0, query, 1 + query] += 0.4
        rows[0, 0, query, 0] = 0.2
    own = (layout("bvvvvu", columns=2),)
    looks = probes.looks_needs(vl.Inputs({}, own)).reduce.by(rows, own)
    run = run_saving(["bvvvvu"], {"attn.hook_pattern": [looks]}, columns=2)
    found = probes.patch_looks(run)
    expected = {
        "right": -(0 + 0.5 + 0 + 0.5) / 4,
        "down": -(0 + 0 + 0.5 + 0.5) / 4,
        "distance": (0 + 0.5 + 0.5 + 0.5 * 2**0.5) / 4,
        "to_left": 1 / 4,
        "to_right": 0.0,
        "above": 1 / 4,
        "below": 0.0,
        "own": (1 + 3 * 0.5) / 4,
        "share": 0.8,
    }
    assert set(expected) == set(LOOKS) == set(found)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value), name


def test_patches_look_as_the_whole_pattern_says(vlm, inputs):
    found = probes.patch_looks(vlm.run(inputs, save=probes.looks_needs(inputs)))
    whole = vlm.run(inputs, save="blocks.*.attn.hook_pattern").saved
    whole = whole.stack("blocks.*.attn.hook_pattern")
    for index, own in enumerate(inputs.layouts):
        here = own.positions("vision")
        part = whole[:, index][:, :, here][..., here]
        assert part.shape[-1] == part.shape[-2]
        assert_close(found["share"][index], part.sum(-1).mean(-1), like=1.0)
        p = part / part.sum(-1, keepdim=True)
        dx = own.column[here][None, :] - own.column[here][:, None]
        expected = (p * torch.from_numpy(dx)).sum(-1).mean(-1)
        assert_close(found["right"][index], expected, like=1.0)
    later = whole.triu(1).abs().max() > 0
    assert bool((found["below"] > 1e-6).any()) == later  # causal, or images that see all of them
    with pytest.raises(EmptySelectionError, match="looks_needs"):
        probes.patch_looks(vlm.run(inputs, save=cmb.NEEDS))


def test_these_probes_read_the_same_row():
    assert attention_maps.NEEDS == entropy.NEEDS == cmb.NEEDS
