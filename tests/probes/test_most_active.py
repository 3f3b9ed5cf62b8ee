"""Where a feature is most active, against loops; what a direction writes, against the head."""

import numpy as np
import pytest
import torch
from as_users import as_users
from closeness import assert_close
from conftest import build

import vlmlens as vl
from vlmlens.datasets import shapes_2d
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.layout import EDGES

POINT = "blocks.1.mlp.hook_post"


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM.from_pretrained("shapes-base") as vlm:
        yield vlm


@pytest.fixture(scope="module")
def runs(model):
    samples = shapes_2d(6)
    return [model.run(model.inputs(samples[at : at + 3]), save=POINT) for at in (0, 3)]


def tokens(runs, feature, role):
    """Every token of a role: (activation, sample, position)."""
    found, sample = [], 0
    for run in runs:
        for layout, own in zip(run.inputs.layouts, run.saved[POINT], strict=True):
            found += [
                (own[at, feature].item(), sample, at)
                for at, is_role in enumerate(layout.roles)
                if is_role == role
            ]
            sample += 1
    return found


@pytest.mark.parametrize("role", ["vision", "user"])
def test_the_most_active_tokens_are_those_of_a_loop(runs, role):
    every = tokens(runs, 7, role)
    found = vl.probes.most_active(runs, POINT, 7, positions=role, count=10, apart=False)
    wanted = sorted((t for t in every if t[0] > 0), key=lambda t: -t[0])[:10]
    got = zip(found.activation.values, found.sample.values, found.position.values, strict=True)
    assert [tuple(each) for each in got] == wanted
    assert set(found.role.values) == {role}
    values = np.array([value for value, *_ in every])
    assert float(found.density) == (values > 0).mean()
    assert int(found.n) == len(values)
    assert int(found.tokens.sum()) == (values > 0).sum()
    layout = runs[int(found.sample[0]) // 3].inputs.layouts[int(found.sample[0]) % 3]
    at = int(found.position[0])
    assert found.token[0] == layout.tokens[at]
    box = [float(found[edge][0]) for edge in EDGES]
    np.testing.assert_array_equal(box, layout.box[at])


def test_apart_is_one_token_of_a_sample(runs):
    found = vl.probes.most_active(runs, POINT, 7)
    best = {}
    for value, sample, _ in tokens(runs, 7, "vision"):
        best[sample] = max(best.get(sample, 0.0), value)
    assert dict(zip(found.sample.values, found.activation.values, strict=True)) == {
        sample: value for sample, value in best.items() if value > 0
    }
    assert (np.diff(found.activation) <= 0).all()


def test_a_feature_that_is_never_active_has_no_tokens(model, runs):
    silent = model.run(model.inputs(shapes_2d(2)), vl.interventions.ZeroAblate(POINT), save=POINT)
    found = vl.probes.most_active(silent, POINT, 0)
    assert found.sizes["rank"] == 0
    assert float(found.density) == 0
    figure = vl.plots.feature(shapes_2d(2), found, found)
    assert not figure.layout.images


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3"])
def test_what_a_direction_writes_is_what_the_head_makes_of_it(name):
    """The model's own norm and head, of the direction at the norm's own scale."""
    with vl.HookedVLM(*build(name), name=name) as vlm:
        norm = vlm.hf_model.get_submodule(vlm.family.final_norm)
        head = vlm.hf_model.get_submodule(vlm.family.lm_head)
        size = vlm.config.get_text_config().hidden_size
        direction = torch.randn(size, generator=torch.Generator().manual_seed(0))
        found = vl.probes.direction_words(vlm, direction, count=5)
        with torch.no_grad():
            scale = direction.pow(2).mean().sqrt()  # which the norm divides by
            logits = head(norm(direction[None]))[0] * scale
    logits = (logits - logits.mean()).double()
    assert_close(torch.from_numpy(found.raises.values), logits.topk(5).values, like=logits)
    assert_close(torch.from_numpy(found.lowers.values), -(-logits).topk(5).values, like=logits)
    tokenizer = vlm.processor.tokenizer
    assert found.raised[0] == tokenizer.decode([int(logits.argmax())])


def test_the_bundled_feature_of_red_raises_red(model):
    dictionary = vl.interop.sae.load("shapes-base")
    samples = shapes_2d(24)
    acts = f"{dictionary.point}.hook_sae_acts_post"
    with model.splice(dictionary.point, dictionary):
        run = model.run(model.inputs(samples), save=acts)
    found = vl.probes.most_active(run, acts, 165, count=6)
    for one in range(found.sizes["rank"]):
        picture = samples[int(found.sample[one])].pictures()[0].convert("RGB")
        box = [round(float(found[edge][one])) for edge in EDGES]
        pixels = np.asarray(picture.crop(tuple(box)), float).reshape(-1, 3)
        assert (pixels[:, 0] - pixels[:, 1:].max(1) > 80).any()  # some of it is red
    assert vl.probes.direction_words(model, dictionary.W_dec[165], 1).raised[0].item() == " red"


def test_slips_are_named(model, runs):
    with as_users():
        with pytest.raises(InputError, match="feature=9999"):
            vl.probes.most_active(runs, POINT, 9999)
        with pytest.raises(EmptySelectionError):
            vl.probes.most_active(runs, POINT, 0, positions="pad")
        with pytest.raises(InputError, match="one number a channel"):
            vl.probes.direction_words(model, torch.zeros(3))
        whole = model.run(model.inputs(shapes_2d(1)), save="blocks.1.attn.hook_pattern")
        with pytest.raises(InputError, match="batch, pos, feature"):
            vl.probes.most_active(whole, "blocks.1.attn.hook_pattern", 0)
