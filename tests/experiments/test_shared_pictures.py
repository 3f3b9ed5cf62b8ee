"""Questions about one picture are one draw: every table says which share theirs."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import picture

from vlmlens import experiments, probes
from vlmlens.datasets import counterfactual_pairs, shapes_2d
from vlmlens.experiments import Answering, Experiment, Probing
from vlmlens.identity import scene, unit
from vlmlens.model import HookedVLM
from vlmlens.probes.steps import LAST_ROWS
from vlmlens.sample import Sample

#: Two pictures: the second is asked about twice, by a file's copy in memory and as it is drawn.
SAMPLES = [
    Sample("What color is the circle?", (picture(0),), "red", id="a"),
    Sample("What color is the square?", (picture(1),), "blue", id="b"),
    Sample("Is the red square left?", (picture(1).copy(),), "yes", id="c"),
]


@pytest.fixture(scope="module")
def shapes():
    with HookedVLM.from_pretrained("shapes-base") as model:
        yield model


def shared(table):
    """Which samples share their picture, whatever the pictures are called."""
    assert table["picture"].dims == ("sample",)
    return np.unique(table["picture"].values, return_inverse=True)[1].tolist()


def test_probes_say_which_samples_share_a_picture(vlm):
    run = vlm.generate(vlm.inputs(SAMPLES), save=[LAST_ROWS], max_new_tokens=2)
    for probe in (
        probes.cross_modality_balance,
        probes.attention_entropy,
        probes.attention_shares,
        probes.paper_shares,
        probes.accuracy,
        probes.answers,
    ):
        names = probe(run)["picture"].values
        assert names[1] == names[2] != names[0]
        assert names[0] == scene(SAMPLES[0])


@pytest.mark.parametrize("measure", [Answering(), Probing(probes=(probes.hidden_norms,))])
def test_experiments_say_so(vlm, measure, tmp_path):
    for folder in (None, tmp_path, tmp_path):
        found = Experiment(vlm, SAMPLES, measure, batch=2).run(folder)
        assert [str(x) for x in found["picture"].values] == [unit(s) for s in SAMPLES]


def test_questions_without_a_picture_are_their_own(vlm):
    blind = [replace(s, images=()) for s in SAMPLES]
    assert len({unit(s) for s in blind}) == 3
    assert not any(scene(s) for s in blind)


def test_sweeps_say_so():
    pairs = counterfactual_pairs(2, kind="swap", category="color_abs")
    clean, corrupted = ([getattr(p, side) for p in pairs] for side in ("clean", "corrupted"))
    with HookedVLM.from_pretrained("shapes-base") as model:
        found = experiments.sweep(
            model,
            [clean[0], clean[1], clean[0]],
            [corrupted[0], corrupted[1], corrupted[0]],
            "blocks.*.hook_resid_post",
            over="role",
        )
    assert shared(found)[0] == shared(found)[2] != shared(found)[1]


@pytest.mark.slow
def test_a_diagnosis_says_so_in_every_table(shapes):
    base = shapes_2d(3)
    asked = [replace(s, id=f"{s.id}-{k}") for s in base for k in range(2)]
    found = experiments.diagnose(shapes, asked, permutations=1, progress=False)
    assert shared(found.results)[::2] == shared(found.results)[1::2]
    assert len(set(shared(found.results))) == 3
