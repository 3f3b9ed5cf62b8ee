"""Function vectors: heads against plain patches, and a task that is carried where nobody asks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from as_users import as_users
from closeness import assert_close
from conftest import picture

import vlmlens as vl
from vlmlens.datasets.shapes import entries
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.experiments import function_vector
from vlmlens.interventions import MeanAblate
from vlmlens.probes.statistics import mean_map

LAST = vl.Where(positions="last")


def shape_and_color(count, split):
    """The same pictures, asked for the shape at an edge, and for the color with that answer."""
    asked = []
    for entry in entries(4 * count, split=split, categories=("shape_abs",)):
        if entry.question.form == "edge":
            shape = replace(entry.sample(), choices=())
            question = shape.question.replace("shape", "color")
            asked.append((shape, replace(shape, question=question, id=f"{shape.id} color")))
    return zip(*asked[:count], strict=True)


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        yield model


@pytest.fixture(scope="module")
def found(shapes):
    task, prompts = shape_and_color(16, "train")
    return function_vector(shapes, task, prompts[:6], heads=3, progress=False)


def right(shapes, samples, *edits):
    """Whether the answer's first token is the likeliest, sample by sample."""
    inputs = shapes.inputs(samples)
    tokens = [shapes.to_single_token(f" {sample.answer}") for sample in samples]
    logits = shapes.run(inputs, edits, logits="last").logits[:, -1]
    return (logits.argmax(-1) == torch.tensor(tokens)).double().numpy()


@pytest.mark.slow
def test_it_carries_the_task_where_random_heads_do_not(shapes, found):
    """Asked for a color, the bundled model names the shape, in part of fresh pictures."""
    import xarray as xr

    _, fresh = shape_and_color(24, "test")
    own = right(shapes, fresh, found.edit(layer=0, by=2.0))
    chance = [right(shapes, fresh, found.random(seed).edit(layer=0, by=2.0)) for seed in (1, 2)]
    assert right(shapes, fresh).sum() == 0  # without it nobody names a shape
    gained = mean_map(xr.DataArray(own - np.mean(chance, 0), dims="sample"))
    assert gained["low"] > 0


def test_one_head_carries_most_of_it(found):
    mean = mean_map(found.effects)
    assert mean.sizes == {"layer": 4, "head": 4}
    best = mean.sel(layer=found.heads[0][0], head=found.heads[0][1])
    assert best["mean"] == mean["mean"].max() > 0.1
    assert best["low"] > 0


def test_effects_are_those_of_patches_run_one_by_one(any_vlm):
    """The mean in a head's place, by an intervention that knows nothing of all this."""
    task = [vl.Sample("What shape is it?", (picture(n),), id=f"t{n}") for n in range(3)]
    prompts = [vl.Sample("What is it?", (picture(n),), answer="red", id=f"p{n}") for n in (3, 4)]
    if any_vlm.family.model_type == "gemma3":
        with pytest.raises(UnsupportedModelError, match="norms what heads write"):
            function_vector(any_vlm, task, prompts, heads=1, progress=False)
        return
    found = function_vector(any_vlm, task, prompts, heads=2, batch=2, progress=False)
    points = ["blocks.*.attn.hook_z", "blocks.*.attn.hook_result"]
    saved = any_vlm.run(any_vlm.inputs(task), save=points).saved
    own = any_vlm.inputs([prompts[1]], answers=["red"])
    token = own.tensors["input_ids"][0, own.layouts[0].positions("assistant")[0]]
    inputs = any_vlm.inputs([prompts[1]])
    clean = any_vlm.run(inputs).logits[0, -1].softmax(-1)[token]
    for layer, head in [(0, 1), (any_vlm.layers - 1, 0)]:
        where = vl.Where(positions="last", heads=head)
        put = MeanAblate(f"blocks.{layer}.attn.hook_z", where, source=saved, over="last")
        p = any_vlm.run(inputs, put).logits[0, -1].softmax(-1)[token]
        assert_close(found.effects.sel(layer=layer, head=head)[1], p - clean, like=1.0)
    writes = torch.stack(
        [
            saved[f"blocks.{layer}.attn.hook_result"][:, -1].mean(0)[head]
            for layer, head in found.heads
        ]
    )
    assert_close(found.vector, writes.sum(0), like=writes)
    order = found.effects.mean("sample").values.ravel()
    assert order[found.heads[0][0] * found.effects.sizes["head"] + found.heads[0][1]] == order.max()
    assert len(found.random(1).heads) == 2


def test_what_is_no_task(shapes):
    task, prompts = shape_and_color(1, "train")
    with pytest.raises(InputError, match="heads=17"):
        function_vector(shapes, task, prompts, heads=17, progress=False)
    with pytest.raises(InputError, match="no answer"):
        function_vector(shapes, task, [replace(prompts[0], answer=None)], progress=False)
    with as_users(), pytest.raises(InputError, match="task"):
        function_vector(shapes, task[0], prompts, progress=False)
