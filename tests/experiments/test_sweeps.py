"""A sweep is a loop of whole passes, only faster; and it goes on where it stopped."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from closeness import assert_close
from conftest import picture

import vlmlens as vl
from vlmlens.datasets import counterfactual_pairs, shapes_2d
from vlmlens.errors import DataError, EmptySelectionError, InputError
from vlmlens.experiments import sweep
from vlmlens.experiments.pairs.sweeping import Sweeping
from vlmlens.interventions import PatchFrom, RotateRope, Scale, ZeroAblate
from vlmlens.zoo.tiny import build

pytestmark = pytest.mark.versions

QUESTION = "What color is the circle?"
CLEAN = vl.Sample(QUESTION, (picture(0),), answer="red")
OTHER = vl.Sample(QUESTION, (picture(1),), answer="blue")


@pytest.fixture(scope="module")
def llava():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        yield model


def first_tokens(model):
    found = []
    for sample in (CLEAN, OTHER):
        inputs = model.inputs([sample], answers=[sample.answer])
        said = inputs.layouts[0].positions("assistant")[0]
        found.append(int(inputs.tensors["input_ids"][0, said]))
    return found


@pytest.mark.parametrize("over", ["pos", "row", "cell"])
def test_a_sweep_is_a_loop_of_whole_passes(any_vlm, over):
    found = sweep(any_vlm, CLEAN, OTHER, over=over, progress=False)
    clean, other = any_vlm.inputs([CLEAN]), any_vlm.inputs([OTHER])
    right, wrong = first_tokens(any_vlm)

    def gap(run):
        return float(run.logits[0, -1, right] - run.logits[0, -1, wrong])

    source = any_vlm.run(clean, save="blocks.*.hook_resid_pre")
    top, floor = gap(source), gap(any_vlm.run(other))
    assert_close(found["clean"].item(), top, like=source.logits)
    assert_close(found["corrupted"].item(), floor, like=source.logits)
    places = {"pos": vl.positions.At, "row": vl.positions.Row, "cell": vl.positions.Cell}
    dims = ("row", "column") if over == "cell" else (over,)
    cells = found.isel(sample=0).stack(place=dims)
    rng = np.random.default_rng(0)
    for number in rng.choice(cells.sizes["place"], min(3, cells.sizes["place"]), replace=False):
        label = cells["place"].values[number]
        place = places[over](*label)
        for layer in range(any_vlm.layers):
            point = f"blocks.{layer}.hook_resid_pre"
            edit = PatchFrom(point=point, source=source.saved, where=vl.Where(positions=place))
            expected = (gap(any_vlm.run(other, [edit])) - floor) / (top - floor)
            assert cells.isel(layer=layer, place=number).item() == pytest.approx(expected, abs=1e-3)


def test_heads_at_the_last_position(any_vlm):
    where = vl.Where(positions="last", layers=(1, 2))
    found = sweep(
        any_vlm,
        CLEAN,
        OTHER,
        "blocks.*.attn.hook_z",
        over="head",
        where=where,
        score="log_prob",
        normalized=False,
        progress=False,
    )
    assert found.dims == ("sample", "layer", "head")
    assert list(found["layer"].values) == [1, 2]
    right, _ = first_tokens(any_vlm)
    source = any_vlm.run(any_vlm.inputs([CLEAN]), save="blocks.*.attn.hook_z").saved
    other = any_vlm.inputs([OTHER])
    before = any_vlm.run(other).logits[0, -1].log_softmax(-1)
    for layer in (1, 2):
        place = vl.Where(positions="last", heads=1)
        edit = PatchFrom(point=f"blocks.{layer}.attn.hook_z", source=source, where=place)
        said = any_vlm.run(other, [edit]).logits[0, -1].log_softmax(-1)[right]
        assert_close(found.sel(layer=layer, head=1).item(), said - before[right], like=before)


def test_the_last_thing_before_the_head_decides_everything(llava):
    found = sweep(llava, CLEAN, OTHER, "ln_final.hook_normalized", progress=False)
    assert "layer" not in found.dims
    assert found.isel(pos=-1).item() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(found.isel(pos=slice(-1)), 0, atol=1e-4)
    assert list(found["role"].values[:1]) == ["bos"]
    assert (found["image"].values >= 0).sum() == 16


def test_an_edit_in_place_of_patching(llava):
    found = sweep(
        llava,
        [CLEAN],
        edit=ZeroAblate(),
        point="blocks.*.hook_mlp_out",
        over="role",
        score="log_prob",
        progress=False,
    )
    right, _ = first_tokens(llava)
    inputs = llava.inputs([CLEAN])
    edit = ZeroAblate(point="blocks.1.hook_mlp_out", where=vl.Where(positions="vision"))
    cut, intact = (llava.run(inputs, edits).logits[0, -1].log_softmax(-1) for edits in ([edit], []))
    change = found.sel(layer=1, role="vision").item()
    assert_close(change, (cut - intact)[right], like=intact)
    assert found.attrs["units"] == "nats"
    assert found.attrs["edit"] == "ZeroAblate()"


def test_a_score_of_ones_own(llava):
    def largest(logits):
        return logits.max(-1).values

    blank = vl.Sample(QUESTION, (picture(0),))
    found = sweep(llava, blank, edit=ZeroAblate(), over="role", score=largest, progress=False)
    whole = llava.run(llava.inputs([blank])).logits[0, -1].max()
    assert_close(found["clean"].item(), whole)


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_stopped(llava, tmp_path, monkeypatch):
    monkeypatch.setattr(Sweeping, "most", 16)
    whole = sweep(llava, CLEAN, OTHER, progress=False)
    asked = []
    real = type(llava).resume

    def counted(self, prefill, edits, *args, **options):
        asked.append(len(edits))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(self, prefill, edits, *args, **options)

    monkeypatch.setattr(type(llava), "resume", counted)
    with pytest.raises(KeyboardInterrupt):
        sweep(llava, CLEAN, OTHER, folder=tmp_path, progress=False)
    again = sweep(llava, CLEAN, OTHER, folder=tmp_path, progress=False)
    # Other chunks, other shapes: the logits' rounding, divided by the gap that was to be restored.
    logits = llava.run(llava.inputs([CLEAN])).logits
    assert_close(again, whole, like=logits / (whole["clean"] - whole["corrupted"]).item())
    assert sum(asked) == whole.size + 16  # the cells of the chunk that was cut off, twice
    before = len(asked)
    xr.testing.assert_identical(sweep(llava, CLEAN, OTHER, folder=tmp_path, progress=False), again)
    assert len(asked) == before  # nothing was left to do
    sweep(llava, CLEAN, OTHER, folder=tmp_path, score="log_prob", progress=False)
    assert len(asked) > before  # another score is another result


SETTINGS = {
    "point": {"point": "blocks.*.hook_mlp_out"},
    "over": {"over": "row"},
    "where": {"where": vl.Where(positions="last"), "over": "head"},
    "where else": {"where": vl.Where(positions="vision"), "over": "head"},
    "edit": {"edit": Scale(by=0.5)},
    "its field": {"edit": Scale(by=0.25)},
    "score": {"score": lambda logits: logits.max(-1).values},
    "system": {"system": "Be brief."},
    "what is refused": {"allow_nonfinite": True},
}


@pytest.mark.slow
def test_a_folder_answers_for_the_settings_of_its_sweep_alone(llava, tmp_path):
    usual = {"point": "blocks.*.attn.hook_z", "edit": ZeroAblate(), "over": "role"}
    usual |= {"score": "log_prob", "progress": False}
    files = 0
    for setting in ({}, *SETTINGS.values()):
        sweep(llava, CLEAN, folder=tmp_path, **usual | setting)
        before, files = files, len(list(tmp_path.glob("results-*")))
        assert files > before, setting  # else another's cells were read


@pytest.mark.slow
def test_many_pairs_make_one_array(shapes):
    pairs = counterfactual_pairs(3, kind="swap", category="color_rel")
    clean, other = [p.clean for p in pairs], [p.corrupted for p in pairs]
    found = sweep(shapes, clean, other, over="role", progress=False)
    assert found.sizes == {"sample": 3, "layer": 4, "role": 4}
    alone = sweep(shapes, clean[1], other[1], over="role", progress=False)
    np.testing.assert_allclose(found.isel(sample=1), alone.isel(sample=0), atol=1e-4)
    # Whole roles: at layer 0 what differs between the two pictures is in the image alone.
    np.testing.assert_allclose(found.sel(layer=0, role="vision"), 1, atol=1e-3)
    np.testing.assert_allclose(found.sel(layer=0, role="user"), 0, atol=1e-3)
    with pytest.raises(DataError, match="differ in length"):
        sweep(shapes, clean, other, progress=False)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, InputError, "or an edit="),
        ({"corrupted": OTHER, "edit": ZeroAblate()}, InputError, "in place of patching"),
        ({"edit": ZeroAblate(where=vl.Where(heads=1))}, InputError, "placed cell by cell"),
        ({"edit": Scale(point="blocks.0.hook_mlp_out")}, InputError, "placed cell by cell"),
        (
            {"edit": RotateRope(), "score": "log_prob", "over": "role"},
            InputError,
            "knows its points",
        ),
        ({"corrupted": [OTHER, OTHER]}, InputError, "one each"),
        ({"corrupted": OTHER, "over": "word"}, InputError, "there is: pos, role"),
        ({"corrupted": OTHER, "over": "head"}, InputError, "there is no head"),
        ({"corrupted": OTHER, "score": "loss"}, InputError, "log_prob"),
        ({"corrupted": CLEAN}, InputError, "same token"),
        ({"corrupted": CLEAN, "score": "log_prob"}, InputError, "nothing to restore"),
        (
            {"corrupted": OTHER, "over": "row", "where": vl.Where(positions="user")},
            EmptySelectionError,
            "means nothing here",
        ),
        ({"corrupted": vl.Sample(QUESTION, (picture(1),))}, InputError, "has no answer"),
    ],
)
def test_what_a_sweep_refuses(llava, options, error, message):
    with pytest.raises(error, match=message):
        sweep(llava, CLEAN, **options, progress=False)


def test_the_tower_runs_once_for_a_pair_about_one_picture(shapes):
    image = shapes_2d(1)[0].pictures()[0]
    pair = [
        vl.Sample(f"What color is the {what}?", (image,), answer=answer)
        for what, answer in (("circle", "red"), ("square", "blue"))
    ]
    seen = []
    tower = shapes.hf_model.model.vision_tower
    handle = tower.register_forward_hook(lambda *_: seen.append(1))
    try:
        found = sweep(shapes, *pair, where=vl.Where(positions="last"), progress=False)
    finally:
        handle.remove()
    assert len(seen) == 1
    red, blue = (
        int(shapes.processor.tokenizer(f" {s.answer}", add_special_tokens=False)["input_ids"][0])
        for s in pair
    )
    for name, sample in zip(("clean", "corrupted"), pair, strict=True):
        logits = shapes.run(shapes.inputs([sample])).logits[0, -1]
        assert_close(found[name].item(), logits[red] - logits[blue], like=logits)


@pytest.mark.pages
def test_the_page_on_sweeps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "sweeps.md", "exec"), names)
    assert names["one"].dims == ("sample", "layer", "pos")
    assert names["table"]["significant"].dims == ("layer", "head")
    assert names["table"]["mean"].attrs["units"] == "logits"
    assert names["found"].logits.shape[:2] == (4, 1)
    names["model"].close()


def test_an_edit_that_stays_where_it_is_cannot_be_swept(llava):
    class Fixed(ZeroAblate):
        points = ("hook_embed",)

    with pytest.raises(InputError, match="points of its own"):
        sweep(llava, CLEAN, edit=Fixed(), over="role", score="log_prob", progress=False)


def test_a_sweep_leaves_nothing_on(llava):
    sweep(llava, CLEAN, OTHER, over="role", progress=False)
    assert not any(point.watched for point in llava.hook_dict.values())
    assert not torch.is_inference_mode_enabled()
