"""RoPE turned or taken away, and position ids moved: the two are the same thing twice."""

from dataclasses import replace

import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, picture
from hypothesis import given
from hypothesis import strategies as st

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions import AblateRope, MovePositions, RotateRope
from vlmlens.positions import Cell, Role
from vlmlens.zoo.tiny import build

VISION = vl.Where(positions="vision")
STEPS = st.integers(-8, 8).map(lambda n: n / 4)


def difference(a, b):
    return float((a - b).abs().max())


def own(run):
    """Logits where no padding is, whose own hidden rows mean nothing."""
    rows = [torch.from_numpy(~layout.mask("pad")) for layout in run.inputs.layouts]
    return torch.cat([logits[mask] for logits, mask in zip(run.logits, rows, strict=True)])


def close(a, b):
    assert_close(own(a), own(b))


@given(first=STEPS, second=STEPS)
def test_turns_add_up(vlm, inputs, first, second):
    two = vlm.run(inputs, [RotateRope(delta=d, where=VISION) for d in (first, second)])
    close(two, vlm.run(inputs, [RotateRope(delta=first + second, where=VISION)]))


@given(delta=STEPS)
def test_turning_everything_by_the_same_changes_nothing(vlm, inputs, delta):
    close(vlm.run(inputs, [RotateRope(delta=delta)]), vlm.run(inputs))


@given(delta=STEPS)
def test_a_turn_is_a_shift_of_position_ids(vlm, inputs, delta):
    turned = vlm.run(inputs, [RotateRope(delta=delta, where=VISION)])
    close(turned, vlm.run(inputs, [MovePositions(shift=delta)]))


def test_turning_the_image_alone_changes_something(vlm, inputs):
    turned = vlm.run(inputs, [RotateRope(delta=1.0, where=VISION)])
    assert difference(own(turned), own(vlm.run(inputs))) > 1e-3


def test_without_rope_every_position_is_the_first(vlm):
    inputs = vlm.inputs([picture()], [QUESTIONS[0]])
    size = len(inputs.layouts[0])
    everywhere = MovePositions(to=(0,) * size, where=vl.Where(positions=range(size)))
    bare = vlm.run(inputs, [AblateRope()])
    close(bare, vlm.run(inputs, [everywhere]))
    assert difference(own(bare), own(vlm.run(inputs))) > 1e-3


def test_keys_without_rope_are_the_keys_before_it(vlm, inputs):
    names = ["blocks.1.attn.hook_k", "blocks.1.attn.hook_rot_k"]
    where = vl.Where(layers=1, positions="vision", heads=0)
    before = vlm.run(inputs, save=names).saved
    after = vlm.run(inputs, [AblateRope(of="keys", where=where)], save=names[1]).saved
    mask = where.mask(before.axes[names[0]], before[names[0]].shape, inputs.layouts)
    mask = mask.expand_as(before[names[0]])
    assert_close(after[names[1]][mask], before[names[0]][mask])
    assert torch.equal(after[names[1]][~mask], before[names[1]][~mask])


def test_planes_turn_one_by_one(vlm, inputs):
    name = "blocks.0.attn.hook_rot_q"
    before = vlm.run(inputs, save=name).saved[name]
    fast = RotateRope(planes=0, delta=1.0)
    after = vlm.run(inputs, [fast], save=name).saved[name]
    half = before.shape[-1] // 2
    moved = (after != before).flatten(0, 2).any(0)
    assert moved.nonzero().flatten().tolist() == [0, half]
    angle = torch.tensor(1.0)  # the fastest plane turns by one radian a step
    turned = before[..., 0] * angle.cos() - before[..., half] * angle.sin()
    assert_close(after[..., 0], turned)
    every = [RotateRope(planes=(0.0, 0.5)), RotateRope(planes=(0.5, 1.0))]
    close(vlm.run(inputs, every), vlm.run(inputs, [RotateRope(planes=range(half))]))


def test_a_head_that_shares_its_keys_is_not_guessed_at(vlm, inputs):
    text = vlm.config.get_text_config()
    one_head = RotateRope(where=vl.Where(heads=1, positions="vision"))
    if text.num_attention_heads == text.num_key_value_heads:
        assert difference(vlm.run(inputs, [one_head]).logits, vlm.run(inputs).logits) > 1e-4
        return
    with pytest.raises(InputError, match="4 heads share 2 key heads"):
        vlm.run(inputs, [one_head])
    vlm.run(inputs, [RotateRope(of="queries", where=vl.Where(heads=3))])
    with pytest.raises(EmptySelectionError, match="no kv_head 3: there are 2"):
        vlm.run(inputs, [RotateRope(of="keys", where=vl.Where(heads=3))])


# MovePositions.


def ids(inputs, edit, row=0):
    moved = edit.prepare(inputs)
    return moved.tensors["position_ids"][row][torch.from_numpy(inputs.layouts[row].vision(0))]


def test_maps_of_position_ids(vlm, inputs):
    layout = inputs.layouts[1]
    here = layout.vision(0)
    own = inputs.tensors["position_ids"][1][torch.from_numpy(here)]
    first, row, column = own[0], *(torch.from_numpy(x[here]) for x in (layout.row, layout.column))
    expected = {
        MovePositions(): own,
        MovePositions(to="raster"): own,
        MovePositions(to="constant"): first.expand_as(own),
        MovePositions(to="row"): first + row,
        MovePositions(to="column", shift=-1): first + column - 1,
        MovePositions(scale=2): first + 2 * (own - first),
        MovePositions(scale=0.5): first + (own - first) / 2,
        MovePositions(to=tuple(float(n) for n in range(len(own)))[::-1]): own.flip(0),
    }
    for edit, wanted in expected.items():
        torch.testing.assert_close(ids(inputs, edit, 1), wanted, check_dtype=False), edit
    rest = torch.from_numpy(~layout.mask("vision"))
    before = inputs.tensors["position_ids"][1][rest]
    for edit in expected:
        assert torch.equal(edit.prepare(inputs).tensors["position_ids"][1][rest].to(before), before)
    assert ids(inputs, MovePositions(scale=0.5)).dtype == torch.float32
    assert ids(inputs, MovePositions(scale=3)).dtype == torch.int64


def test_what_follows_may_close_the_gap(vlm, inputs):
    edit = MovePositions(to="constant", rest="follow")
    layout = inputs.layouts[0]
    moved = edit.prepare(inputs).tensors["position_ids"][0].tolist()
    last = layout.vision(0)[-1]
    assert moved[last + 1 :] == list(range(moved[last] + 1, moved[last] + len(layout) - last))


def test_threefold_ids_move_by_axis(vlm):
    """mRoPE's ids are (3, batch, pos): time, height, width."""
    flat = vlm.inputs([picture()], [QUESTIONS[0]])
    one = flat.tensors["position_ids"]
    inputs = replace(flat, tensors={**flat.tensors, "position_ids": torch.stack([one] * 3)})
    here = torch.from_numpy(flat.layouts[0].vision(0))
    moved = MovePositions(to="constant", axis="height").prepare(inputs).tensors["position_ids"]
    assert torch.equal(moved[[0, 2]], inputs.tensors["position_ids"][[0, 2]])
    assert (moved[1, 0, here] == one[0, here[0]]).all()
    every = MovePositions(to="constant", rest="follow").prepare(inputs).tensors["position_ids"]
    assert torch.equal(every[0], every[1])
    assert every[0, 0, here[-1] + 1] == one[0, here[0]] + 1
    with pytest.raises(InputError, match="not threefold"):
        vlm.run(flat, [MovePositions(axis="time")])


@pytest.mark.parametrize("size", [(64, 32), (32, 96)])
def test_a_raster_counts_row_by_row_on_grids_that_are_not_square(size):
    with vl.HookedVLM(*build("qwen2_5_vl")) as vlm:
        inputs = vlm.inputs([picture(size=size)], [QUESTIONS[0]])
    layout = inputs.layouts[0]
    rows, columns = layout.grid()
    assert rows != columns
    here = torch.from_numpy(layout.vision(0))
    moved = MovePositions(to="raster").prepare(inputs).tensors["position_ids"][-3:, 0, here]
    assert torch.equal(moved - moved[:, :1], torch.arange(rows * columns).expand(3, -1))


def test_ids_that_cannot_be_moved(vlm, inputs):
    with pytest.raises(InputError, match="for every layer and step"):
        MovePositions(where=vl.Where(layers=1))
    with pytest.raises(InputError, match="3 ids for"):
        vlm.run(inputs, [MovePositions(to=(0.0, 1.0, 2.0))])
    with pytest.raises(InputError, match="is for tokens with a row and a column"):
        vlm.run(inputs, [MovePositions(to="row", where=vl.Where(positions="user"))])
    with pytest.raises(InputError, match="there is: own, constant"):
        MovePositions(to="spiral")
    with pytest.raises(EmptySelectionError, match="assistant"):
        vlm.run(inputs, [MovePositions(where=vl.Where(positions="answer"))])


def test_one_sample_may_move_alone(vlm, inputs):
    edit = MovePositions(shift=3, where=vl.Where(samples=1, positions=Role("vision") & Cell(0, 0)))
    moved = edit.prepare(inputs).tensors["position_ids"] - inputs.tensors["position_ids"]
    assert moved.nonzero().tolist() == [[1, int(inputs.layouts[1].vision(0)[0])]]
