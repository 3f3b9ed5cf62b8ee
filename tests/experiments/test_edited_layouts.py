"""What is measured of an edited run is about the tokens that it has, whoever measures it."""

import numpy as np
import pytest
import torch
from closeness import assert_close
from conftest import by_turns, picture
from edited import EDITS, Pooling, dropping

import vlmlens as vl
from vlmlens import experiments, probes
from vlmlens.errors import EmptySelectionError, InputError, VLMLensError
from vlmlens.experiments import Choosing, Harvesting, Looking, Measure
from vlmlens.interventions import CompressVision
from vlmlens.positions import Row, Text, chosen
from vlmlens.zoo.tiny import build

POINT = "blocks.1.hook_resid_post"


SAMPLES = [
    vl.Sample("What color?", (picture(0), picture(1)), "red", ("red", "blue"), id="a"),
    vl.Sample("Is it left?", (picture(2), picture(3)), "no", ("yes", "no"), id="b"),
]
#: Every measure, as it is asked here.
MEASURES = {
    "Answering": experiments.Answering(max_new_tokens=2),
    "Choosing": Choosing(form="per-token", width=2),
    "Comparing": experiments.Comparing(),
    "Diagnosing": experiments.Diagnosing(max_new_tokens=2),
    "Harvesting": Harvesting(points=(POINT,), dtype="float32"),
    "Looking": Looking(max_new_tokens=2, bands=2, system="Be brief."),
    "Probing": experiments.Probing(probes=(probes.attention_entropy, probes.hidden_norms)),
    "Reciting": experiments.Reciting(),
}


@pytest.fixture(scope="module", params=by_turns(["llava", "qwen2_5_vl"], ["llava"]))
def vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


def kinds(of=Measure):
    for kind in of.__subclasses__():
        yield from (kind, *kinds(kind))


def test_every_measure_is_asked():
    here = {kind.__name__ for kind in kinds() if kind.__module__.startswith("vlmlens.experiments.")}
    assert here == set(MEASURES)


def outcome(measure):
    """A table, or why there is none."""
    try:
        return measure()
    except VLMLensError as error:
        return f"{type(error).__name__}: {error}"


def again(edit):
    """What an edit still has to do where its inputs were prepared: pooling, no dropping."""
    pools = isinstance(edit, CompressVision)
    return (Pooling(rows=edit.rows, columns=edit.columns),) if pools else ()


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("name", MEASURES)
def test_an_edit_is_measured_as_the_inputs_that_it_makes(vlm, monkeypatch, name, edit):
    """In the second run the inputs are the edit's from the start: nobody knows others."""
    measure, edit = MEASURES[name], EDITS[edit]
    found = outcome(lambda: measure(vlm, SAMPLES, (edit,)))
    real = vlm.inputs

    def made(*args, **kwargs):
        return edit.prepare(real(*args, **kwargs))

    with monkeypatch.context() as patched:
        patched.setattr(vlm, "inputs", made)
        if name == "Comparing":  # its clean run is of other inputs then
            with_them = vlm.run(made(SAMPLES, answers=["red", "no"]), again(edit))
            assert_close(found["log_prob"].values, probes.answer_log_prob(with_them).values)
            return
        expected = outcome(lambda: measure(vlm, SAMPLES, again(edit)))
    if isinstance(found, str) or isinstance(expected, str):
        assert found == expected
        return
    assert set(found) == set(expected)
    assert {name: x.dims for name, x in found.items()} == {n: x.dims for n, x in expected.items()}
    for each in found:
        one, other = found[each].values, expected[each].values
        if one.dtype.kind in "fc":
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-3, err_msg=str(each))
        else:
            np.testing.assert_array_equal(one, other, err_msg=str(each))


def test_looking_says_something_of_dropped_and_of_pooled_tokens(vlm):
    for edit in ("the second picture", "pooled", "pooled to one"):
        found = MEASURES["Looking"](vlm, SAMPLES, (EDITS[edit],))
        assert found["patch_own"].notnull().all()
        run = vlm.run(
            vlm.inputs(SAMPLES, system="Be brief."), EDITS[edit], "blocks.0.hook_resid_pre"
        )
        for row, layout in enumerate(run.inputs.layouts):
            x = run.saved["blocks.0.hook_resid_pre"][row, torch.from_numpy(layout.mask("vision"))]
            x = torch.nn.functional.normalize(x, dim=-1)
            pairs = [float(x[i] @ x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]
            assert_close(found["vision_similarity"].values[row], np.mean(pairs), like=1.0)
            assert found["vision_sinks"].values[row] <= len(x)


def test_pictures_of_two_sizes_pooled_alike_are_looked_at():
    with vl.HookedVLM(*build("qwen2_5_vl")) as vlm:
        sizes = [vl.Sample("Left?", picture(i, (56 + 28 * i, 56)), id=str(i)) for i in range(2)]
        assert "patch_own" not in Looking(max_new_tokens=1, bands=2)(vlm, sizes, ())
        edit = CompressVision(rows=1, columns=2)
        found = Looking(max_new_tokens=1, bands=2)(vlm, sizes, (edit,))
        assert found["patch_own"].notnull().all()


def test_without_a_system_prompt_nothing_is_weighed_against_it(vlm):
    """As in a run that was asked without one."""
    one = [vl.Sample("What color?", picture(i), "red", id=str(i)) for i in range(2)]
    looking = MEASURES["Looking"]
    assert vlm.inputs(one, system="Be brief.").layouts[0].mask("system").any()
    assert "cmb_system" in looking(vlm, one, ())
    found = looking(vlm, one, (dropping("system"),))
    assert "cmb_system" not in found and "cmb" in found


ROWS = {"all": None, "vision": "vision", "a row": Row(0), "another": Row(1), "last": "last"}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("rows", ROWS)
def test_harvested_is_what_a_run_of_these_edits_has(vlm, edit, rows):
    rows, edit = ROWS[rows], EDITS[edit]
    how = Harvesting(points=(POINT,), rows=rows, dtype="float32")
    run = vlm.run(vlm.inputs(SAMPLES), edit, POINT)
    layouts = run.inputs.layouts
    try:
        wanted = [~lay.mask("pad") if rows is None else chosen(lay, rows) for lay in layouts]
    except EmptySelectionError as error:
        with pytest.raises(EmptySelectionError) as said:
            how(vlm, SAMPLES, (edit,))
        assert str(said.value) == str(error)
        return
    found = how(vlm, SAMPLES, (edit,))
    for row, (layout, mask) in enumerate(zip(layouts, wanted, strict=True)):
        own = found.isel(sample=row, token=slice(int(found["tokens"][row])))
        at = np.flatnonzero(mask)
        assert_close(own[POINT].values, run.saved[POINT][row, torch.from_numpy(at)])
        assert own["role"].values.tolist() == [layout.roles[i] for i in at]
        for name in ("image", "row", "column"):
            assert own[name].values.tolist() == getattr(layout, name)[at].tolist()
        np.testing.assert_array_equal(own["box"].values, layout.box[at].astype("f4"))
        counted = [chosen(layout, int(i)).nonzero()[0].item() for i in own["position"].values]
        assert counted == at.tolist()


def test_nothing_is_harvested_of_tokens_that_are_all_gone(vlm, tmp_path):
    found = experiments.harvest(
        vlm, SAMPLES, POINT, folder=tmp_path, edits=[dropping("vision")], progress=False
    )
    assert "vision" not in set(found.dataset()["role"].values)
    with pytest.raises(EmptySelectionError, match="vision"):
        Harvesting(points=(POINT,), rows="vision")(vlm, SAMPLES, (dropping("vision"),))


def test_logits_of_a_cell_are_those_of_its_own_positions(vlm):
    """Where a cell's edit takes tokens out, a selection means what is left, or is refused."""
    inputs = vlm.inputs(SAMPLES[:1])
    prefill = vlm.prefill(inputs)
    for positions in ("last", "user", Row(1), (-2, -1)):
        cell = [dropping(Row(0))]
        found = vlm.resume(prefill, [[], cell], positions)
        assert set(found.whole) == {1}
        run = vlm.run(inputs, cell, logits=positions)
        assert_close(found.logits[1], run.logits[0])
    for positions, kind in (("vision", InputError), (Row(0), EmptySelectionError)):
        with pytest.raises(kind):
            vlm.resume(prefill, [[dropping(Row(0))]], positions)
    answered = vlm.inputs(SAMPLES[:1], answers=["a red one"])
    prompt = len(inputs.layouts[0])
    cell = [dropping(prompt - 1)]  # its last token, which foretells the answer's first
    found = vlm.resume(vlm.prefill(answered), [cell], experiments.readings.Telling())
    run = vlm.run(answered, cell)
    assert_close(found.logits[0], run.logits[0, torch.from_numpy(run.inputs.layouts[0].telling())])


def test_a_choice_has_the_tokens_that_are_left_of_it(vlm):
    asked = [vl.Sample("Which?", picture(0), "red on red", ("red on red", "blue"), id="a")]
    form = Choosing(form="per-token", width=2)
    whole = form(vlm, asked, ())["choice_tokens"].values[0]
    layout = vlm.inputs(asked, answers=["red on red"]).layouts[0]
    assert len(layout.answer()) == whole[0]
    cut = dropping(Text("on"))
    without = [vl.Sample("Which one is on it?", picture(0), "red on red", asked[0].choices)]
    found = form(vlm, without, (cut,))
    left = cut.prepare(vlm.inputs(without, answers=["red on red"])).layouts[0]
    assert found["choice_tokens"].values[0, 0] == len(left.answer()) < whole[0]
