"""The study's page and the bundled arms' cards say what the stored results say."""

import importlib.util
from pathlib import Path

import pytest

import vlmlens as vl
from vlmlens import zoo
from vlmlens.errors import DataError
from vlmlens.study.arms import seeds_of
from vlmlens.study.bundle import BUNDLED
from vlmlens.study.card import card, reading, table
from vlmlens.study.runs import stored

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("study_page", DOCS / "study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Study()


@pytest.mark.pages
def test_the_page_has_the_tables_of_the_stored_results(study):
    page = (DOCS / "study.md").read_text()
    for made in (study.accuracy, study.forms, study.lengths, study.inside, study.untrained):
        assert made() in page, f"run python docs/study.py: {made.__name__} has changed"
    assert all((DOCS / "images" / "study" / f"psi-{arm}.png").exists() for arm in study.seeds)


@pytest.mark.slow
def test_forms_are_of_all_questions_about_places(study):
    counted = {row[0]: int(row[1]) for row in table_rows(study.forms())}
    assert counted["edge"] + counted["quadrant"] == 96  # absolute
    assert counted["neighbour"] + counted["side"] + counted["yes_no"] == 96  # relative
    assert study.share("yes_no") == f"{counted['yes_no']} of 96"
    base = study.answers["correct"].sel(condition="original", model=study.seeds["base"])
    about = [str(c).endswith("_abs") for c in base["category"].values]
    accuracy = {row[0]: float(row[2].split()[0]) for row in table_rows(study.forms())}
    absolute = (
        accuracy["edge"] * counted["edge"] + accuracy["quadrant"] * counted["quadrant"]
    ) / 96
    assert absolute == pytest.approx(float(base.isel(sample=about).mean()), abs=1e-3)


def table_rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n")[2:]]


def test_what_a_language_model_reads_is_told_by_form_and_its_read_outs_are_not():
    forms = {"listed/color_abs/edge": 0.4, "listed/shape_abs/edge": 0.6, "listed/place": 1.0}
    forms |= {"drawn/grid/row": 0.25, "drawn/color_abs/edge": 1.0, "drawn/place": 0.5}
    assert reading(forms) == "listed: edge 0.50; drawn: edge 1.00, row 0.25"


def test_a_card_of_runs_without_a_text_stage_is_refused(tmp_path, vlm):
    answers = stored(DOCS / "study")["answers"]
    with pytest.raises(DataError, match="taught on text"):
        card("shapes-staged", "base", answers, [], tmp_path / "base-kept-x1-0", vlm)


@pytest.mark.slow
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
