"""Tuned lens: at the identity it is the logit lens, trained it is nearer to the model's answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from as_users import as_users
from closeness import assert_apart, assert_close
from conftest import QUESTIONS, picture

import vlmlens as vl
from vlmlens import plots, probes
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import harvest, tune_lens
from vlmlens.positions import Role
from vlmlens.probes.statistics import mean_map

STREAMS = "blocks.*.hook_resid_post"


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        yield model


@pytest.fixture(scope="module")
def kept(shapes, tmp_path_factory):
    """Streams at the words, of pictures that no test asks about."""
    asked = vl.datasets.shapes_2d(96, split="train")
    folder = tmp_path_factory.mktemp("acts")
    return harvest(shapes, asked, STREAMS, folder=folder, rows=~Role("vision"), progress=False)


@pytest.fixture(scope="module")
def lens(shapes, kept):
    return tune_lens(shapes, kept, epochs=8, size=64, progress=False)


def asked_of(model):
    return model.inputs([picture(0), picture(1)], list(QUESTIONS))


def turning(model, seed=0):
    """A lens of random translators."""
    start = probes.TunedLens.identity(model)
    drawn = torch.Generator().manual_seed(seed)
    moved = torch.randn(start.weight.shape, generator=drawn)
    return probes.TunedLens(start.weight + 0.1 * moved, torch.randn_like(start.bias) / 10)


def test_at_the_identity_it_is_the_logit_lens(every_vlm):
    inputs, words = asked_of(every_vlm), every_vlm.processor.tokenizer
    need = probes.lens_needs(every_vlm, best=2, targets=(5,))
    same = probes.TunedLens.identity(every_vlm)
    needs = probes.tuned_lens_needs(every_vlm, same, best=2, targets=(5,))
    plain = probes.logit_lens(every_vlm.run(inputs, save=need), need, words)
    tuned = probes.logit_lens(every_vlm.run(inputs, save=needs), needs, words)
    assert plain.sizes == tuned.sizes and list(plain) == list(tuned)
    for name in ("log_prob", "target_log_prob"):
        assert_close(tuned[name].values, plain[name].values, like=10.0)
    for name in ("role", "layer", "sample", "target"):
        assert (tuned[name] == plain[name]).all()


def test_a_translator_is_what_plain_torch_makes_of_it(any_vlm):
    """The norm and the unembedding of transformers, on streams that torch's own hooks saw."""
    inputs, lens = asked_of(any_vlm), turning(any_vlm)
    needs = probes.tuned_lens_needs(any_vlm, lens, best=1, targets=(3, 4))
    found = probes.logit_lens(any_vlm.run(inputs, save=needs), needs)["target_log_prob"]
    hf, family, seen = any_vlm.hf_model, any_vlm.family, []
    for block in hf.get_submodule(family.lm_layers):
        block.register_forward_hook(lambda m, a, out: seen.append(out), always_call=False)
    with torch.no_grad():
        hf(**inputs.tensors, use_cache=False)
        for layer, x in enumerate(seen):
            x = x[0] if isinstance(x, tuple) else x
            if layer < len(lens.weight):
                x = torch.einsum("ij,bpj->bpi", lens.weight[layer], x) + lens.bias[layer]
            logits = hf.get_submodule(family.lm_head)(hf.get_submodule(family.final_norm)(x))
            log_p = logits.log_softmax(-1)[..., [3, 4]]
            there = ~np.stack([lay.mask("pad") for lay in inputs.layouts])
            own = found.isel(layer=layer).values
            assert_close(own[there], log_p.numpy()[there], like=logits)
    for block in hf.get_submodule(family.lm_layers):
        block._forward_hooks.clear()


@pytest.mark.slow
def test_trained_it_is_nearer_to_the_answer_on_pictures_it_never_saw(shapes, lens):
    inputs = shapes.inputs(vl.datasets.shapes_2d(48))
    plain, tuned = (probes.lens_divergence(shapes, inputs, own) for own in (None, lens))
    gained = mean_map(plain - tuned)
    assert gained.attrs["n_units"] == 48
    assert (gained["low"][:-1] > 0).all(), gained["low"].values
    assert_close(tuned[:, -1].values, np.zeros(48), like=10.0)
    assert (tuned.mean("sample").diff("layer") < 0).all()  # later blocks are nearer


def test_divergence_is_that_of_two_distributions(shapes, lens):
    from scipy.special import rel_entr

    inputs = shapes.inputs(vl.datasets.shapes_2d(2))
    need = probes.lens_needs(shapes, best=418, rows="last")
    needs = probes.tuned_lens_needs(shapes, lens, best=418, rows="last")
    for own, wanted in ((need, None), (needs, lens)):
        table = probes.logit_lens(shapes.run(inputs, save=own), own).isel(pos=0)
        order = table["token"].argsort(axis=-1)
        p = np.exp(np.take_along_axis(table["log_prob"].values, order.values, -1).astype(float))
        kl = rel_entr(p[:, -1:], p).sum(-1)
        assert_close(probes.lens_divergence(shapes, inputs, wanted).values, kl, like=10.0)


def test_training_is_told_by_its_seed(shapes, kept, lens):
    one, again, other = (
        tune_lens(shapes, kept, epochs=1, size=256, seed=seed, progress=False) for seed in (1, 1, 9)
    )
    assert torch.equal(again.weight, one.weight) and torch.equal(again.bias, one.bias)
    assert_apart(other.weight, one.weight)
    losses = np.array(lens.made["losses"])
    assert losses.shape == (8, 3) and (losses[-1] < 0.7 * losses[0]).all()
    assert lens.made["tokens"] == len(kept) and lens.made["model"] == shapes.name


def test_losses_begin_at_the_logit_lenss(shapes, kept):
    """A rate that moves nothing: the mean over all rows is what plain torch says it is."""
    still = tune_lens(shapes, kept, epochs=1, rate=1e-12, progress=False).made["losses"][0]
    rows = [torch.cat(list(kept.tensors(f"blocks.{n}.hook_resid_post"))).float() for n in range(4)]
    hf, family = shapes.hf_model, shapes.family
    with torch.no_grad():
        logits = [
            hf.get_submodule(family.lm_head)(hf.get_submodule(family.final_norm)(x)) for x in rows
        ]
    log_p = [x.log_softmax(-1) for x in logits]
    wanted = [
        torch.nn.functional.kl_div(x, log_p[-1], log_target=True, reduction="batchmean").item()
        for x in log_p[:-1]
    ]
    assert_close(still, wanted, like=10.0)


def test_every_kind_of_model_can_be_tuned(any_vlm, tmp_path):
    asked = [vl.Sample(word, (picture(n),), id=f"q{n}") for n, word in enumerate(QUESTIONS)]
    kept = harvest(any_vlm, asked, STREAMS, folder=tmp_path, dtype="float32", progress=False)
    lens = tune_lens(any_vlm, kept, epochs=6, size=64, rate=3e-3, progress=False)
    losses = np.array(lens.made["losses"])
    assert (losses[-1] < losses[0]).all()


def test_it_is_drawn_as_the_logit_lens_is(shapes, lens):
    run = shapes.run(
        inputs := shapes.inputs(vl.datasets.shapes_2d(1)),
        save=(needs := probes.tuned_lens_needs(shapes, lens, best=1)),
    )
    table = probes.logit_lens(run, needs, shapes.processor.tokenizer).isel(rank=0)
    grids = table[["word", "log_prob"]].map(probes.on_image, args=(run,))
    assert isinstance(grids, xr.Dataset)
    fig = plots.lens(inputs.samples[0].pictures()[0], grids.isel(sample=0))
    assert len(fig.layout.sliders[0].steps) == 4


def test_a_file_gives_back_what_was_kept(lens, tmp_path):
    lens.save(tmp_path / "lens.safetensors")
    back = probes.TunedLens.load(tmp_path / "lens.safetensors")
    assert torch.equal(back.weight, lens.weight) and torch.equal(back.bias, lens.bias)
    assert back.made == lens.made
    with pytest.raises(DataError, match="no file"):
        probes.TunedLens.load(tmp_path / "other")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(DataError, match="no tuned lens"):
        probes.TunedLens.load(tmp_path / "text")


def test_what_is_no_lens_of_this_model_is_refused(shapes, lens, kept, tmp_path):
    short = probes.TunedLens(lens.weight[:2], lens.bias[:2])
    with pytest.raises(InputError, match="of 3 blocks of width 128"):
        probes.tuned_lens_needs(shapes, short)
    with pytest.raises(InputError, match="of 3 blocks"):
        probes.lens_divergence(shapes, shapes.inputs(vl.datasets.shapes_2d(1)), short)
    with pytest.raises(InputError, match="at least one word"):
        probes.tuned_lens_needs(shapes, lens, best=0)
    with as_users(), pytest.raises(InputError, match="d_model d_model"):
        replace(lens, bias=lens.bias[0])
    with as_users(), pytest.raises(InputError, match="takes a TunedLens, as"):
        probes.tuned_lens_needs(shapes, "lens.safetensors")
    one = harvest(
        shapes,
        vl.datasets.shapes_2d(2),
        "blocks.3.hook_resid_post",
        folder=tmp_path,
        progress=False,
    )
    with pytest.raises(InputError, match=r"has no blocks\.0\.hook_resid_post"):
        tune_lens(shapes, one, progress=False)
    with pytest.raises(InputError, match="rate=0"):
        tune_lens(shapes, kept, rate=0, progress=False)
    with as_users(), pytest.raises(InputError, match="takes a Harvest, as"):
        tune_lens(shapes, str(tmp_path), progress=False)
    with pytest.raises(InputError, match="pass that very value"):
        probes.logit_lens(shapes.run(shapes.inputs(vl.datasets.shapes_2d(1))), [])
