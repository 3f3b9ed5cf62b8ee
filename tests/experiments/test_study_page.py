"""The study's page and the bundled arms' cards say what the stored results say."""

import importlib.util
from pathlib import Path

import pytest

import vlmlens as vl
from vlmlens import zoo
from vlmlens.experiments.study.arms import seeds_of
from vlmlens.experiments.study.bundle import BUNDLED
from vlmlens.experiments.study.card import table
from vlmlens.experiments.study.runs import stored

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("study_page", DOCS / "study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Study()


def test_the_page_has_the_tables_of_the_stored_results(study):
    page = (DOCS / "study.md").read_text()
    for made in (study.accuracy, study.lengths, study.inside, study.untrained):
        assert made() in page, f"run python docs/study.py: {made.__name__} has changed"
    assert all((DOCS / "images" / "study" / f"psi-{arm}.png").exists() for arm in study.seeds)


@pytest.mark.parametrize(("name", "arm"), BUNDLED.items())
def test_an_arm_is_small_and_its_card_is_of_the_stored_results(name, arm):
    folder = zoo.bundled()[name]
    assert sum(p.stat().st_size for p in folder.iterdir()) < 6.3e6
    answers = stored(DOCS / "study")["answers"]
    assert (
        table(answers, seeds_of(answers["model"].values)[arm]) in (folder / "README.md").read_text()
    )


def test_arms_open_by_name_and_differ_in_the_projector_alone():
    kinds = {}
    for name in BUNDLED:
        with vl.HookedVLM.from_pretrained(name) as model:
            config = model.config
            kinds[name] = (bool(getattr(config, "normalize", None)), config.vision_feature_layer)
    layers = [1, 2, 3, 4]
    assert kinds == {
        "shapes-staged": (False, -1),
        "shapes-normalize": (True, -1),
        "shapes-multilayer": (False, layers),
        "shapes-both": (True, layers),
    }
