"""What attention brings from each token, against transformers' own projections."""

import numpy as np
import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, picture
from einops import rearrange

import vlmlens as vl
from vlmlens import probes
from vlmlens.errors import InputError


@pytest.fixture(scope="module")
def inputs(every_vlm):
    return every_vlm.inputs([picture(0), picture(1)], list(QUESTIONS))


def test_by_hand_from_the_pattern_the_values_and_the_projection(every_vlm, inputs):
    """A head's write of one token is what the module itself makes of that head's values alone."""
    found = {by: probes.attention_contribution(every_vlm, inputs, by=by) for by in WAYS}
    layer = int(found["stream"]["layer"][0])
    names = ["attn.hook_pattern", "attn.hook_v", "attn.hook_z"]
    run = every_vlm.run(inputs, save=[f"blocks.{layer}.{name}" for name in names])
    pattern, values = (run.saved[f"blocks.{layer}.{name}"] for name in names[:2])
    heads = pattern.shape[1]
    values = values.repeat_interleave(heads // values.shape[2], dim=2)
    project = every_vlm.hook_dict[f"blocks.{layer}.attn.hook_result"].module
    with torch.no_grad():
        nothing = project(torch.zeros_like(values.flatten(-2)))
        mixed = rearrange(pattern[:, :, -1], "s h k -> s k h 1") * values
        stream = (project(mixed.flatten(-2)) - nothing).norm(dim=-1)
        alone = []
        for head in range(heads):
            one = torch.zeros_like(mixed)
            one[:, :, head] = mixed[:, :, head]
            alone.append((project(one.flatten(-2)) - nothing).norm(dim=-1))
    wanted = {
        "stream": stream,
        "head": torch.stack(alone, 1),
        "value": rearrange(mixed.norm(dim=-1), "s k h -> s h k"),
    }
    there = ~np.stack([layout.mask("pad") for layout in inputs.layouts])
    for by, own in found.items():
        mine = own.sel(layer=layer).transpose("sample", "pos", ...).values[there]
        other = np.moveaxis(wanted[by].numpy(), -1, 1)[there]
        np.testing.assert_allclose(mine, other, rtol=2e-3, atol=1e-5 * np.abs(other).max())
        assert own.isel(sample=0).sel(layer=layer).isnull().any() == (~there[0]).any()
    assert found["stream"]["role"].values[0].tolist() == list(inputs.layouts[0].roles)


WAYS = ("value", "head", "stream")


def test_what_counts_is_not_weight_alone():
    """On the bundled model the first token draws weight that its value does not answer for."""
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        inputs = model.inputs(vl.datasets.shapes_2d(12))
        rows = vl.Save("blocks.*.attn.hook_pattern", rows="last")
        weight = model.run(inputs, save=rows).saved.stack(rows)[..., 0, :].transpose(0, 1)
        taken = probes.attention_contribution(model, inputs, by="head")
        assert_close(taken.fillna(0).values.shape, weight.shape, like=1.0)
        norms = probes.attention_contribution(model, inputs, by="value").fillna(0) / weight.numpy()
        assert norms.where(weight.numpy() > 1e-6).notnull().any()
        stream = probes.attention_contribution(model, inputs)
        assert (stream <= taken.sum("head") + 1e-3).where(stream.notnull(), True).all()
        grid = probes.patch_map(stream.sel(layer=1), inputs)
        assert grid.dims == ("sample", "row", "column")


def test_what_is_refused(every_vlm, inputs):
    with pytest.raises(InputError, match="by="):
        probes.attention_contribution(every_vlm, inputs, by="weight")
    with pytest.raises(InputError, match="one is wanted"):
        probes.attention_contribution(every_vlm, every_vlm.inputs([picture(0)], ["Why?"]), at="all")
