"""Points that were saved in another way than a probe needs: the right numbers, or a refusal."""

import sys

import numpy as np
import pytest
import xarray as xr
from as_users import as_users
from conftest import build, picture

import vlmlens as vl
from vlmlens import probes
from vlmlens.cache import Save
from vlmlens.errors import VLMLensError

QUESTIONS = ["What color is the circle?", "Is the red square left of the blue star?"]
STREAM = Save("blocks.*.hook_resid_post")
BOXES = [[(0, 0, 20, 40)]] * 2
#: For probes of two pictures.
ROW = {"folds": 2}

#: How each probe is asked that reads what a run saved.
ASKED = {
    "attention_entropy": probes.attention_entropy,
    "attention_rows": probes.attention_rows,
    "attention_shares": probes.attention_shares,
    "cross_modality_balance": probes.cross_modality_balance,
    "head_atlas": probes.head_atlas,
    "head_probe": lambda run: probes.head_probe(run, "row", **ROW),
    "hidden_norms": probes.hidden_norms,
    "image_attention": probes.image_attention,
    "linear_probe": lambda run: probes.linear_probe(run, "row", **ROW),
    "localization_heads": lambda run: probes.localization_heads(run, lowest=2, skip=0),
    "localization_map": lambda run: probes.localization_map(run, [(1, 0)]),
    "modality_dominance": probes.modality_dominance,
    "object_overlap": lambda run: probes.object_overlap(run, BOXES),
    "paper_balance": probes.paper_balance,
    "paper_shares": probes.paper_shares,
    "patch_looks": probes.patch_looks,
    "residual_stream": probes.residual_stream,
    "rope_sensitivity": probes.rope_sensitivity,
    "similarity_map": probes.similarity_map,
    "sink_tokens": probes.sink_tokens,
    "token_norms": probes.token_norms,
}
#: Those whose needs are made for the inputs.
NAMED = {"patch_looks": probes.looks_needs}
#: Not here: of videos, of generations alone, of a model, and of what another probe measured.
ELSEWHERE = {"frame_balance", "word_attention", "embedding_norms", "norm_ratio"}


def summed(x):
    """Another reduction: the last axis is gone."""
    return x.float().sum(-1)


def halved(x):
    """Another reduction, of the very shape that was reduced."""
    return x.float() / 2


def first(x):
    """Another reduction: the second axis is gone."""
    return x[:, 0]


FORMS = [
    *({"rows": rows} for rows in ("last", "vision", 0, (0, 1, -1))),
    *({"reduce": reduce} for reduce in (summed, halved, first)),
    {"rows": "last", "reduce": summed},
    {"rows": "vision", "reduce": halved},
    {},
]


@pytest.fixture(scope="module")
def vlm():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


@pytest.fixture(scope="module")
def inputs(vlm):
    return vlm.inputs([picture(0), picture(1)], QUESTIONS)


def needs_of(name):
    return getattr(sys.modules[probes.PROBES[name].__module__], "NEEDS", ())


def numbers(found):
    """What a probe found, as arrays of numbers by name."""
    tables = found.data_vars if isinstance(found, xr.Dataset) else {"": found}
    return {name: x.values for name, x in tables.items() if x.dtype.kind in "fiub"}


def same(one, other):
    return one.keys() == other.keys() and all(
        x.shape == other[name].shape and np.allclose(x, other[name], atol=1e-5, equal_nan=True)
        for name, x in one.items()
    )


def test_every_probe_with_needs_is_asked():
    assert {name for name in probes.PROBES if needs_of(name)} == {*ASKED, *ELSEWHERE}


@pytest.mark.parametrize("name", ASKED)
def test_what_was_saved_otherwise_is_read_rightly_or_refused(vlm, inputs, name):
    needs = [NAMED[name](inputs)] if name in NAMED else list(needs_of(name))
    clean = numbers(ASKED[name](vlm.run(inputs, save=needs)))
    refused = 0
    for at, need in enumerate(needs):
        for form in FORMS:
            given = list(needs)
            given[at] = Save(need.points, **form)
            if given[at] == need:
                continue
            run = vlm.run(inputs, save=given)
            try:
                with as_users():
                    found = ASKED[name](run)
            except VLMLensError:
                refused += 1
            else:
                assert same(numbers(found), clean), (need, form)
    assert refused


def test_a_lens_reads_its_own_value_alone(vlm, inputs):
    need = probes.lens_needs(vlm, best=2)
    for form in FORMS:
        run = vlm.run(inputs, save=Save(need.points, **form))
        with as_users(), pytest.raises(VLMLensError):
            probes.logit_lens(run, need, vlm.processor.tokenizer)


@pytest.mark.parametrize("rows", ["last", "vision", 0], ids=str)
@pytest.mark.parametrize("probe", [probes.linear_probe, probes.head_probe])
def test_probes_of_all_positions_refuse_a_need_of_some(vlm, inputs, probe, rows):
    point = "blocks.*.attn.hook_z" if probe is probes.head_probe else STREAM.points
    need = Save(point, rows=rows)
    run = vlm.run(inputs, save=need)
    with as_users(), pytest.raises(VLMLensError):
        probe(run, "row", need=need, **ROW)


def test_rows_are_labelled_as_those_that_were_saved(vlm, inputs):
    run = vlm.run(inputs, save=Save("blocks.*.attn.hook_pattern", rows="last"))
    found = probes.attention_rows(run, sample=1, rows=-1)  # the same, said otherwise
    assert found["query"].values.tolist() == [int((~inputs.layouts[1].mask("pad")).sum()) - 1]
    with pytest.raises(VLMLensError, match="is read with rows=0"):
        probes.attention_rows(run, sample=1, rows=0)


def test_other_looks_are_not_taken_for_looks(vlm, inputs):
    need = probes.looks_needs(inputs)
    size = vlm.run(inputs, save=need).saved["blocks.0.attn.hook_pattern"].shape[-1]
    other = Save(need.points, need.rows, lambda x: x.float().mean(-2)[..., :size])
    run = vlm.run(inputs, save=other)
    with pytest.raises(VLMLensError, match="looks_needs"):
        probes.patch_looks(run)


def test_a_save_reads_what_it_asked_for(vlm, inputs):
    whole, summed_up = Save("hook_embed"), Save("hook_embed", reduce=summed)
    saved = vlm.run(inputs, save=whole).saved
    assert saved[whole] is saved["hook_embed"]
    with pytest.raises(VLMLensError, match="run again with the NEEDS"):
        saved[summed_up]
