"""Norms, updates, turns and likeness of vectors, worked out on paper and against transformers."""

import numpy as np
import pytest
import torch
import xarray as xr
from closeness import assert_close
from hand import layout, run_saving

import vlmlens as vl
from vlmlens import probes
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.probes import embedding, norms, residual, similarity


def stream(letters, states, attn, mlp):
    """States of width 2: h_0, then after every block; and what attention and MLP add, as norms."""
    tensors = {
        "hook_resid_post": [torch.tensor([s]) for s in states[1:]],
        "hook_attn_out": [torch.tensor([a]) for a in attn],
        "hook_mlp_out": [torch.tensor([m]) for m in mlp],
    }
    run = run_saving([letters], tensors)
    saved = dict(run.saved) | {"blocks.0.hook_resid_pre": torch.tensor([states[0]])}
    return vl.Run(run.inputs, run.logits, vl.ActivationCache(saved, {}), "sdpa")


def test_updates_and_turns_worked_out_on_paper():
    """One vision token, (3, 4) -> (3, 0) -> (0, 3); the words beside it stay."""
    states = [
        [[9.0, 9.0], [3.0, 4.0], [1.0, 0.0]],
        [[9.0, 9.0], [3.0, 0.0], [1.0, 0.0]],
        [[9.0, 9.0], [0.0, 3.0], [1.0, 0.0]],
    ]
    found = probes.residual_stream(
        stream("bvu", states, [[0.0, 2.0, 0.0]] * 2, [[0.0, 1.0, 0.0]] * 2)
    )
    vision = found.sel(role="vision").isel(sample=0)
    expected = {
        "rms": [5 / 2**0.5, 3 / 2**0.5],
        "attn_update": [2 / 5, 2 / 3],
        "mlp_update": [1 / 5, 1 / 3],
        "update": [4 / 5, 2**0.5],
        "cos_next": [3 / 5, 0.0],
        "cos_first": [3 / 5, 4 / 5],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(vision[name], values, atol=1e-6, err_msg=name)
    user = found.sel(role="user").isel(sample=0)
    assert user["update"].values.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(user["cos_next"], 1.0)
    assert found.sel(role="system").to_dataarray().isnull().all()


def test_updates_are_those_of_the_real_stream(vlm, inputs):
    run = vlm.run(inputs, save=residual.NEEDS)
    found = probes.residual_stream(run, roles=("vision",))
    whole = vlm.run(inputs, save=["blocks.*.hook_resid_pre", "blocks.*.hook_attn_out"]).saved
    pre = whole.stack("blocks.*.hook_resid_pre")
    added = whole.stack("blocks.*.hook_attn_out").norm(dim=-1) / pre.norm(dim=-1)
    turn = torch.cosine_similarity(pre[1:], pre[:-1], dim=-1)
    for row, own in enumerate(inputs.layouts):
        here = own.mask("vision")
        assert_close(found["attn_update"][row, :, 0], added[:, row, here].mean(-1))
        assert_close(found["cos_next"][row, :-1, 0], turn[:, row, here].mean(-1), like=1.0)


def test_ratio_of_norms_of_every_image():
    values = xr.DataArray(
        [[[2.0, 20.0], [4.0, 4.0]], [[1.0, 100.0], [5.0, np.nan]]],
        dims=("sample", "depth", "role"),
        coords={"role": ["user", "vision"]},
    )
    found = probes.norm_ratio(values)
    np.testing.assert_allclose(found["ratio"], [[10.0, 1.0], [100.0, np.nan]])
    np.testing.assert_allclose(found["log10_ratio"], [[1.0, 0.0], [2.0, np.nan]])
    np.testing.assert_allclose(
        probes.norm_ratio(values, of="user", to="vision")["ratio"][0, 0], 0.1
    )
    with pytest.raises(InputError, match="no norms of system; there is: user, vision"):
        probes.norm_ratio(values, to="system")


def test_token_norms_are_a_vector_for_each_violin():
    run = run_saving([".bvvu"], {})
    saved = {"hook_embed": torch.tensor([[9.0, 1.0, 30.0, 50.0, 2.0]])}
    run = vl.Run(run.inputs, run.logits, vl.ActivationCache(saved, {}), "sdpa")
    found = probes.token_norms(run)
    assert found.values.tolist() == [1.0, 30.0, 50.0, 2.0]  # no padding
    assert found["role"].values.tolist() == ["bos", "vision", "vision", "user"]
    boxes = probes.quartiles(found)
    vision = boxes.sel(role="vision")
    expected = {"n": 2, "mean": 40, "min": 30, "q1": 35, "median": 40, "q3": 45, "max": 50}
    assert {name: vision[name].item() for name in boxes} == expected


def test_vision_tokens_enter_as_the_projector_made_them_and_words_as_the_table_has_them(
    vlm, inputs
):
    run = vlm.run(inputs, save=[*embedding.NEEDS])
    projected = vlm.run(inputs, save="projector.hook_out").saved["projector.hook_out"].norm(dim=-1)
    found = probes.token_norms(run)
    vision = found.values[found["role"].values == "vision"]
    # Sorted: a tower that works in windows is put in order after the projector.
    assert_close(np.sort(vision), np.sort(projected.flatten()), depth=1)
    ids = inputs.tensors["input_ids"][0][inputs.layouts[0].mask("user")]
    table = probes.embedding_norms(vlm)
    assert table.sizes["token"] == vlm.hf_model.get_input_embeddings().num_embeddings
    first = (found["role"] == "user") & (found["of"] == 0)
    assert_close(found.values[first.values], table.values[ids], depth=1)
    caption = probes.embedding_norms(vlm, ["red circle", "red"])
    words = vlm.processor.tokenizer("red circle", add_special_tokens=False)["input_ids"]
    assert_close(caption.values[: len(words)], table.values[words], depth=1)
    assert caption["of"].values.tolist() == [0] * len(words) + [1] * (
        caption.sizes["token"] - len(words)
    )
    with pytest.raises(InputError, match="no token"):
        probes.embedding_norms(vlm, [""])


def embedded(letters, vectors, columns):
    run = run_saving([letters], {}, columns=columns)
    saved = {"hook_embed": torch.tensor([vectors])}
    return vl.Run(run.inputs, run.logits, vl.ActivationCache(saved, {}), "sdpa")


def test_likeness_to_a_patch_and_to_a_word():
    vectors = [[1.0, 1.0], [1.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    run = embedded("bvvvvu", vectors, columns=2)
    found = probes.similarity_map(run, (0, 0))
    assert found.dims == ("sample", "row", "column")
    np.testing.assert_allclose(found[0], [[1.0, 0.0], [-1.0, 2**-0.5]], atol=1e-6)
    word = probes.similarity_map(run, "user")
    np.testing.assert_allclose(word[0], [[0.0, 1.0], [0.0, 2**-0.5]], atol=1e-6)
    np.testing.assert_allclose(probes.similarity_map(run, "last"), word)
    with pytest.raises(EmptySelectionError, match="2 rows, 2 columns"):
        probes.similarity_map(run, (2, 0))
    with pytest.raises(EmptySelectionError, match="image 1"):
        probes.similarity_map(run, (0, 0), image=1)


def test_likeness_of_a_blank_picture_is_one_all_over(vlm):
    """A control: what is the same all over is like itself, but for the tower's places."""
    from conftest import QUESTIONS, picture
    from PIL import Image

    def spread(image):
        run = vlm.run(vlm.inputs([image], [QUESTIONS[0]]), save=similarity.NEEDS)
        return float(probes.similarity_map(run).std())

    assert spread(Image.new("RGB", (40, 40))) < spread(picture(0))


def test_norms_need_no_pixels_to_be_called_l2():
    assert norms.l2(torch.tensor([[3.0, 4.0]])).tolist() == [5.0]
    assert layout("bvu").positions("vision").tolist() == [1]
