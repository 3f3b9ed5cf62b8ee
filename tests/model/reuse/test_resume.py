"""Resuming is a shortcut and nothing else: the same numbers as whole passes, for less."""

from contextlib import contextmanager

import pytest
import torch
from closeness import assert_close
from conftest import KINDS, QUESTIONS, by_turns, picture

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.interventions import (
    AblateRope,
    Edit,
    KnockOut,
    MovePositions,
    PatchFrom,
    PermuteVision,
    RotateRope,
    Scale,
    ZeroAblate,
)
from vlmlens.model.reuse import batching, resume
from vlmlens.model.reuse.cone import Cone
from vlmlens.zoo.tiny import build

pytestmark = pytest.mark.versions

LAST = vl.Where(positions="last")


@pytest.fixture(scope="module")
def llava():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


def asked(model, question=0, seed=0):
    return model.inputs([picture(seed)], [QUESTIONS[question]])


def cells(model):
    """Edits of many kinds of points, layers and positions, alone and together."""
    last = model.layers - 1
    user, vision = vl.Where(positions="user"), vl.Where(positions="vision")
    made = [
        [Scale(point=f"blocks.{layer}.hook_resid_pre", by=0.5, where=LAST)]
        for layer in range(model.layers)
    ]
    for layer in (0, last):
        made.append([Scale(point=f"blocks.{layer}.hook_mlp_out", by=3.0, where=user)])
        made.append([Scale(point=f"blocks.{layer}.hook_mlp_out", by=3.0, where=vision)])
    made += [
        [ZeroAblate(point="ln_final.hook_normalized", where=vl.Where(positions=-2))],
        [PermuteVision(seed=3)],
        [Scale(point="hook_embed", by=2.0, where=user), made[last][0]],
        [],
    ]
    attending = [name for name in model.hook_dict if name.endswith("attn.hook_attn_scores")]
    block = next(name for name in attending if name.startswith("blocks.")).removesuffix(
        "attn.hook_attn_scores"
    )
    made += [
        [KnockOut(where=vl.Where(layers=int(block.split(".")[1]), queries="user", keys="user"))],
        [Scale(point=f"{block}attn.hook_z", by=0.0, where=vl.Where(heads=1, positions="last"))],
        [Scale(point=f"{block}attn.hook_v", by=2.0, where=user)],
        [Scale(point=f"{block}attn.hook_pattern", by=0.5, where=vl.Where(queries=(-3, -1)))],
    ]
    if f"{block}attn.hook_rot_k" in model.hook_dict:
        made.append([Scale(point=f"{block}attn.hook_rot_k", by=1.5, where=user)])
    # Not the first block of all: a window or a chunk may hide the image from the question there.
    seeing = where_the_question_sees_the_image(model)
    images = vl.Where(layers=seeing, queries="user", keys="vision")
    return [*made, [KnockOut(where=images)], [KnockOut(where=images), made[last][0]]]


def where_the_question_sees_the_image(model) -> int:
    """The first block of them, by the pattern of a clean pass."""
    inputs = asked(model)
    (layout,) = inputs.layouts
    asks, image = (torch.from_numpy(layout.mask(role)) for role in ("user", "vision"))
    for name, pattern in model.run(inputs, save="blocks.*.attn.hook_pattern").saved.items():
        if (pattern[0][:, asks][:, :, image] > 0).any():
            return int(name.split(".")[1])
    raise AssertionError(f"{model.name}: the question never sees the image")


def test_resuming_equals_whole_passes(every_vlm):
    inputs, edits = asked(every_vlm), cells(every_vlm)
    found = every_vlm.resume(every_vlm.prefill(inputs), edits, positions=(-2, -1))
    for number, cell in enumerate(edits):
        whole = every_vlm.run(inputs, cell).logits[0, -2:]
        assert_close(found.logits[number], whole)
    # The shortcut was taken: only what is added on the side is beyond it, by a deep tower of the
    # image's tokens, by embeddings that every block has of its own of whatever enters.
    permuted = every_vlm.layers + 5
    sideways = {permuted} if every_vlm.family.deepstack else set()
    if every_vlm.hook_dict["hook_embed"].tap.stage == "embeds":
        sideways = {permuted, permuted + 1}
    assert set(found.whole) == sideways


def test_a_prefill_after_another_equals_one_alone(every_vlm):
    second, edits = asked(every_vlm, 1), cells(every_vlm)
    alone = every_vlm.prefill(second, "hook_embed")
    after = every_vlm.prefill(
        second, "hook_embed", after=every_vlm.prefill(asked(every_vlm, 0), "hook_embed")
    )
    assert_close(after.logits, alone.logits)
    assert_close(after.saved["hook_embed"], alone.saved["hook_embed"])
    found, same = (every_vlm.resume(each, edits, (-2, -1)).logits for each in (after, alone))
    assert_close(found, same)
    # Images that see themselves both ways, or blocks that remember no keys, share nothing.
    alike = every_vlm.name.startswith(("gemma", "paligemma", "molmo2", "qwen3_5", "lfm2"))
    assert (after.shared == 0) == alike


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", by_turns(KINDS, KINDS[:1]))
def test_dtypes_and_roads(kind, dtype, attention):
    hf_model, processor = build(kind)
    with vl.HookedVLM(hf_model.to(dtype), processor) as model:
        inputs = asked(model)
        edits = cells(model)[: model.layers + 6]
        found = model.resume(model.prefill(inputs, attention=attention), edits)
        for number, cell in enumerate(edits):
            whole = model.run(inputs, cell, attention=attention).logits[0, -1:]
            assert_close(found.logits[number], whole)


def test_two_images(any_vlm):
    inputs = any_vlm.inputs([[picture(0), picture(1)]], ["Here, and there?"])
    edits = cells(any_vlm)
    found = any_vlm.resume(any_vlm.prefill(inputs), edits)
    for number, cell in enumerate(edits):
        whole = any_vlm.run(inputs, cell).logits[0, -1:]
        assert_close(found.logits[number], whole)


def test_patching_and_turning(any_vlm):
    inputs, other = asked(any_vlm), asked(any_vlm, seed=1)
    source = any_vlm.prefill(other, ["blocks.*.hook_resid_pre", "blocks.*.attn.hook_z"]).saved
    whole_source = any_vlm.run(other, save=list(source)).saved
    for name in source:
        assert_close(source[name], whole_source[name])
    image, head = vl.Where(positions="vision"), vl.Where(heads=0, positions=-1)
    edits = [
        [PatchFrom(point="blocks.1.hook_resid_pre", source=source, where=image)],
        [PatchFrom(point="blocks.2.attn.hook_z", source=source, where=head)],
        [RotateRope(delta=2.0, where=vl.Where(layers=1, positions="vision"))],
    ]
    found = any_vlm.resume(any_vlm.prefill(inputs), edits)
    for number, cell in enumerate(edits):
        whole = any_vlm.run(inputs, cell).logits[0, -1:]
        assert_close(found.logits[number], whole)
    assert not found.whole


def test_rows_that_share_their_angles_are_edited_each_for_itself(any_vlm):
    inputs = asked(any_vlm)
    edits = [
        [Scale(point="blocks.1.attn.hook_cos", by=by, where=vl.Where(positions=role))]
        for by, role in ((0.5, "user"), (2.0, "last"), (-1.0, "user"))
    ] + [[AblateRope(where=vl.Where(layers=layer, positions="user"))] for layer in (0, 1)]
    found = any_vlm.resume(any_vlm.prefill(inputs), edits)
    assert not found.whole
    for number, cell in enumerate(edits):
        whole = any_vlm.run(inputs, cell).logits[0, -1:]
        assert_close(found.logits[number], whole)


# ---------------------------------------------------------------- what is not computed


@contextmanager
def counted(modules):
    """How many positions (rows x positions) enter each module while this lasts."""
    seen = [0] * len(modules)

    def hook(number):
        def count(module, args, kwargs):
            x = args[0] if args else next(iter(kwargs.values()))
            seen[number] += x.shape[0] * x.shape[1]

        return count

    handles = [
        module.register_forward_pre_hook(hook(number), with_kwargs=True)
        for number, module in enumerate(modules)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def test_nothing_outside_the_cone_is_computed(llava):
    kept = llava.prefill(asked(llava))
    size = kept.stream[0].shape[1]
    mlps = [block.mlp for block in llava.hf_model.model.language_model.layers]
    tower = llava.hf_model.model.vision_tower
    with counted([*mlps, tower.embeddings, llava.hf_model.lm_head]) as seen:
        llava.resume(kept, [[Scale(point="blocks.1.hook_resid_pre", by=2.0, where=LAST)]])
    assert seen == [0, 1, 1, 0, 1]
    where = vl.Where(positions=vl.positions.Row(2))
    first = int(vl.positions.Row(2).of(kept.inputs.layouts[0]).argmax())
    with counted(mlps) as seen:
        llava.resume(kept, [[Scale(point="blocks.2.hook_mlp_out", by=2.0, where=where)]])
    assert seen == [0, 0, size - first]


def test_rows_join_at_their_own_block(llava):
    mlps = [block.mlp for block in llava.hf_model.model.language_model.layers]
    kept = llava.prefill(asked(llava))
    edits = [[Scale(point=f"blocks.{n}.hook_resid_pre", by=2.0, where=LAST)] for n in (2, 0, 1, 0)]
    with counted(mlps) as seen:
        found = llava.resume(kept, edits)
    assert seen == [2, 3, 4]
    assert found.cones == tuple(Cone(n, kept.stream[0].shape[1] - 1) for n in (2, 0, 1, 0))


def test_the_tower_runs_once_for_questions_about_one_picture(llava):
    edits = cells(llava)[:4]
    with counted([llava.hf_model.model.vision_tower.embeddings]) as seen:
        first = llava.prefill(asked(llava, 0))
        second = llava.prefill(asked(llava, 1), after=first)
        llava.resume(second, edits)
        once = seen[0]
        other = llava.prefill(asked(llava, 1, seed=5), after=second)
    assert second.shared > 0
    assert other.shared == 0
    assert seen[0] == 2 * once


def test_pictures_after_other_words_are_seen_again(llava):
    tensors = asked(llava).tensors
    ids = tensors["input_ids"].clone()
    first = llava.inputs_from(ids.clone(), pixel_values=tensors["pixel_values"])
    ids[0, 1] = ids[0, 2]  # another word, and the picture after it
    second = llava.inputs_from(ids, pixel_values=tensors["pixel_values"])
    found = llava.prefill(second, after=llava.prefill(first))
    assert found.shared == 0
    assert_close(found.logits, llava.run(second).logits[:, -1])


# ---------------------------------------------------------------- what goes wrong


def test_an_edit_that_reads_what_lies_before_its_cone_gets_a_whole_pass(llava):
    def like_the_first(x):
        return x[:, :1].expand_as(x)

    inputs, where = asked(llava), vl.Where(positions="last")
    edits = [[Edit(point="blocks.1.hook_resid_pre", by=like_the_first, where=where)], []]
    found = llava.resume(llava.prefill(inputs), edits)
    assert list(found.whole) == [0]
    assert "before" in found.whole[0]
    assert found.cones[0] is None
    assert_close(found.logits[0], llava.run(inputs, edits[0]).logits[0, -1:])


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (MovePositions(to="constant"), "changes the inputs"),
        (Scale(point="projector.hook_out", by=2.0), "before the language model"),
        (Scale(point="vision.blocks.0.hook_mlp_out", by=2.0), "before the language model"),
        (Scale(point="hook_logits", by=2.0), "hook_logits"),
    ],
)
def test_what_cannot_be_resumed_is_run_whole_and_said(llava, edit, why):
    inputs = asked(llava)
    found = llava.resume(llava.prefill(inputs), [[], [edit]])
    assert why in found.whole[1]
    assert_close(found.logits[1], llava.run(inputs, [edit]).logits[0, -1:])


def test_batches_are_halved_and_no_cell_is_lost(llava, monkeypatch):
    kept, edits = llava.prefill(asked(llava)), cells(llava)
    whole = llava.resume(kept, edits).logits
    real, sizes, done = resume._one_pass, [], []

    def small(*given):
        *_, rows = given
        sizes.append(len(rows))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return real(*given)

    monkeypatch.setattr(resume, "_one_pass", small)
    found = llava.resume(kept, edits, progress=done.append)
    assert_close(found.logits, whole)
    assert max(sizes) > 1
    assert sum(done) == len(edits)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken(items):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(batching.in_batches(broken, [1, 2, 3], 2))
    assert list(batching.in_batches(sum, [1, 2, 3], 2)) == [3, 3]


def test_what_a_prefill_refuses(llava):
    pair = llava.inputs([picture(0), picture(1)], list(QUESTIONS))
    with pytest.raises(InputError, match="one sample"):
        llava.prefill(pair)
    with pytest.raises(InputError, match=r"projector\.hook_out cannot be kept"):
        llava.prefill(asked(llava), "projector.hook_out")
    kept = llava.prefill(asked(llava))
    llava.add_hook("blocks.0.hook_mlp_out", lambda x, hook: x)
    try:
        for call in (lambda: llava.prefill(asked(llava)), lambda: llava.resume(kept, [[]])):
            with pytest.raises(InputError, match="hooks are on"):
                call()
    finally:
        llava.reset_hooks()


def test_the_model_is_left_as_it_was_after_an_error(llava):
    def broken(x):
        raise ZeroDivisionError

    inputs = asked(llava)
    before = llava.run(inputs).logits
    kept = llava.prefill(inputs)
    with pytest.raises(ZeroDivisionError):
        llava.resume(kept, [[Edit(point="blocks.2.hook_resid_pre", by=broken, where=LAST)]])
    assert torch.equal(llava.run(inputs).logits, before)
    assert all("forward" not in b.__dict__ for b in llava.hf_model.model.language_model.layers)
    assert not any(point.watched for point in llava.hook_dict.values())
