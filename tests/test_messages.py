"""Slips that ended in somebody else's error, or in a wall of numbers."""

import numpy as np
import pytest
import torch
from as_users import as_users
from conftest import build, picture

import vlmlens as vl
from vlmlens import experiments, probes
from vlmlens.cache import Save
from vlmlens.errors import InputError, UnknownPointError, VLMLensError
from vlmlens.experiments.measures import Answering, Diagnosing
from vlmlens.interventions import ZeroAblate

PATTERN = "blocks.*.attn.hook_pattern"


@pytest.fixture(scope="module")
def vlm():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


@pytest.fixture(scope="module")
def inputs(vlm):
    return vlm.inputs([picture(0), picture(1)], ["What color is it?", "Is it red?"])


@pytest.fixture(autouse=True)
def unchecked():
    with as_users():
        yield


def test_what_one_probe_asked_for_is_not_handed_to_another(vlm, inputs):
    asked = [Save(PATTERN, rows="last"), Save(PATTERN, rows=0), Save(PATTERN)]
    asked.append(Save(PATTERN, rows="last", reduce=torch.sqrt))
    for kept in asked:
        saved = vlm.run(inputs, save=kept).saved
        assert len(saved.stack(kept)) == vlm.layers
        for other in asked:
            if other != kept:
                with pytest.raises(InputError, match="was saved with rows="):
                    saved.stack(other)


def test_a_probe_reads_its_own_needs_or_says_whose_there_are(vlm, inputs):
    run = vlm.run(inputs, save=Save(PATTERN, rows=0))
    with pytest.raises(InputError, match="run again with the NEEDS"):
        probes.cross_modality_balance(run)


@pytest.mark.parametrize(
    "points", ["hook_embed", "vision.blocks.*.hook_resid_post", PATTERN, "projector.hook_out"]
)
def test_a_lens_is_of_streams_of_blocks(vlm, points):
    with pytest.raises(InputError, match="is no stream of a block"):
        probes.lens_needs(vlm, points=points)
    with pytest.raises(UnknownPointError):
        probes.lens_needs(vlm, points="blocks.*.hook_resid_pots")


def test_results_print_what_was_said_and_no_numbers(vlm, inputs):
    said = vlm.generate(inputs, max_new_tokens=2, save="hook_embed")
    run = vlm.run(inputs, save="hook_embed")
    for shown in (repr(said), repr(run), repr(vlm.hook_dict[PATTERN.replace("*", "0")])):
        assert len(shown) < 300 and "tensor(" not in shown
    assert said.texts[0] in repr(said)
    assert "batch head query key" in repr(vlm.hook_dict)


def sweep(vlm, **options):
    one = vl.Sample("What is it?", (picture(0),), answer="red")
    return experiments.sweep(vlm, one, point="blocks.0.hook_resid_pre", progress=False, **options)


def test_a_sweep_patches_or_edits(vlm):
    with pytest.raises(InputError, match="in place of patching: pass it, or what is patched"):
        sweep(vlm, corrupted=vl.Sample("?", (picture(1),), answer="blue"), edit=ZeroAblate())
    with pytest.raises(InputError, match="pass corrupted samples"):
        sweep(vlm)


@pytest.mark.parametrize(
    "score",
    [
        lambda logits: logits.mean(),
        lambda logits: float(logits[0, 0]),
        lambda logits: logits,
        lambda logits: None,
        lambda logits: np.zeros(3),
    ],
)
def test_a_score_is_one_number_a_row(vlm, score):
    with pytest.raises(InputError, match="one number a row is wanted"):
        sweep(vlm, edit=ZeroAblate(), score=score)


def test_tokens_by_text_one_a_sample(vlm, inputs):
    from vlmlens.model.reading.unembed import directions

    words = [vlm.processor.tokenizer.decode([i]) for i in (269, 225)]
    ids = [vlm.processor.tokenizer.encode(w, add_special_tokens=False) for w in words]
    if all(len(own) == 1 for own in ids):
        assert torch.equal(directions(vlm, words), directions(vlm, torch.tensor(ids)[:, 0]))
    for wrong in (["red", None], 10**6, -1, 1.5, [True], {"a": 1}):
        with pytest.raises(VLMLensError):
            directions(vlm, wrong)


@pytest.mark.parametrize("kind", [Answering, Diagnosing])
def test_measures_take_numbers(kind):
    for wrong in (2.5, "8", None):
        with pytest.raises(InputError, match="max_new_tokens="):
            kind(max_new_tokens=wrong)
    assert kind(max_new_tokens=np.int64(3)) == kind(max_new_tokens=3)
