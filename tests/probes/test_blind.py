"""Blind controls on a trained model: what is said of the image goes when the image does."""

import numpy as np
import pytest
from conftest import picture
from sklearn.neighbors import KNeighborsClassifier

import vlmlens as vl
from vlmlens import experiments, probes
from vlmlens.datasets import shapes_2d
from vlmlens.errors import InputError
from vlmlens.experiments import blinded, linear_table
from vlmlens.experiments.looking import boxes_of, named_boxes
from vlmlens.interventions import PermuteVision
from vlmlens.probes import linear
from vlmlens.probes.statistics import map_test
from vlmlens.probes.steps import LAST_ROWS

COUNT = 36


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


@pytest.fixture(scope="module")
def samples():
    return shapes_2d(COUNT, seed=11)


def overlap(model, asked, boxes):
    run = model.run(model.inputs(asked), save=LAST_ROWS)
    return probes.object_overlap(run, boxes)


@pytest.mark.slow
def test_heads_find_objects_that_are_there_only(model, samples):
    """The same boxes on another sample's picture: attention no longer prefers them."""
    boxes = boxes_of(samples)
    seen = overlap(model, samples, boxes)
    other = overlap(model, blinded(samples, "other picture"), boxes)
    gap = map_test(seen["mass"] - other["mass"])
    assert bool((gap["significant"] & (gap["mean"] > 0)).any())
    sighted = map_test(seen["lift"], 1.0)
    blind = map_test(other["lift"], 1.0)
    assert float(sighted["mean"].max()) > float(blind["mean"].max())


@pytest.mark.slow
def test_an_answer_needs_its_picture(model, samples):
    found = experiments.controls(model, samples, ["text only", "noise"])
    table = experiments.control_table(found).sel(category="overall")
    assert (table["accuracy"] > 0.7).all()
    assert (table["accuracy_permuted"] < 0.5).all()
    assert (table["p_value"] < 0.001).all()
    assert (table["psi_low"] > 20).all()


@pytest.mark.slow
def test_a_model_that_sees_nothing_has_no_position_to_lose(model, samples):
    """Shuffling the tokens of a blank picture: hardly an answer changes."""
    blank = blinded(samples, "blank")
    seen, blind = (
        experiments.permutation_test(model, asked, permutations=2, progress=False)
        for asked in (samples, blank)
    )
    intact, shuffled = (
        probes.position_sensitivity_index(x["correct"]).sel(category="overall")
        for x in (seen, blind)
    )
    assert intact["psi_low"] > 0
    assert abs(shuffled["accuracy"] - shuffled["accuracy_permuted"]) < 0.1
    falls = []
    for table in (seen, blind):
        log_prob = table["log_prob"]
        fall = log_prob.sel(permutation="original") - log_prob.sel(permutation="seed 0")
        falls.append(fall.values)
    assert falls[0].mean() > 3 * abs(falls[1].mean())
    assert intact["p_value"] < 0.05 < shuffled["p_value"]


def test_color_is_read_off_patches_of_its_own_picture_only(model, samples):
    """Labels of one picture, tokens of another: the probe falls to its control."""
    asked = samples[:24]

    def score(shown):
        run = model.run(model.inputs(shown), save=linear.NEEDS)
        labels = [
            [
                label.split(" ")[-1]
                for label in probes.labels_in_boxes(layout, named_boxes(sample, "color"))
            ]
            for layout, sample in zip(run.inputs.layouts, asked, strict=True)
        ]
        return probes.linear_probe(run, labels, folds=3)

    seen, blind = score(asked), score(blinded(asked, "other picture"))
    assert (seen["accuracy_low"] > seen["control"] + 0.2).all()
    assert (blind["accuracy_high"] < seen["accuracy_low"]).all()


def test_no_picture_is_in_both_halves_whichever_samples_show_it(vlm):
    """A classifier that remembers what it was shown knows nothing of labels thrown by coin."""
    rng, shown = np.random.default_rng(0), [picture(number) for number in range(8)]
    need = vl.Save("blocks.0.hook_resid_pre")  # where a picture's tokens are the same in each place
    one = vlm.inputs([vl.Sample("Which?", (shown[0],))]).layouts[0].mask("vision").sum()
    thrown = {id(each): rng.choice(["a", "b"], one).tolist() for each in shown}

    def probed(sets):
        samples = [vl.Sample("Which?", tuple(pictures)) for pictures in sets]
        run = vlm.run(vlm.inputs(samples), save=need)
        labels = [[x for each in sample.images for x in thrown[id(each)]] for sample in samples]
        remembers = KNeighborsClassifier(1)
        found = probes.linear_probe(run, labels, need=need, classifier=remembers)
        return found["accuracy"].item()

    pairs = list(zip(shown[::2], shown[1::2], strict=True))
    assert probed([*pairs, *(pair[::-1] for pair in pairs)]) < 0.7  # 1 where they are remembered
    assert probed([*pairs, *((pair[1], pair[1]) for pair in pairs)]) < 0.7
    with pytest.raises(InputError, match="none in common"):
        probed([(shown[0], each) for each in shown[1:]])


def test_row_and_column_are_read_off_noise_too(model, samples):
    """Not every probe is about the picture: a patch's place is in its position embedding."""
    found = linear_table(model, blinded(samples[:16], "noise"))
    assert found["label"].values.tolist() == ["row", "column"]
    assert (found["accuracy_low"].isel(layer=0) > found["majority"].isel(layer=0) + 0.3).all()


@pytest.mark.slow
def test_shuffling_moves_what_is_said(model, samples):
    """And does so for some questions far more than for others: the mean is not the median."""
    edits = {"shuffled": [PermuteVision(seed=0)]}
    found = experiments.causal_effects(model, samples[:12], edits)
    kl = found["kl"].sel(intervention="shuffled")
    assert float(kl.mean()) > 0.1
    assert float(found["correct"].sel(intervention="shuffled").mean()) < 1
    assert (found["kl"].sel(intervention="original") == 0).all()
