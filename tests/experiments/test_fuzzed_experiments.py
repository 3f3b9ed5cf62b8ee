"""Whatever an experiment, a data set or the command line is given: it works, or ends in our error.

Annotations are not checked here, as they are not for users.
"""

import pytest
from as_users import as_users
from conftest import build, picture
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner
from whatever import anything, bounded, keywords, some_of, tried

import vlmlens as vl
from vlmlens import cli, datasets, experiments, identity
from vlmlens.experiments.measures import Answering

SAMPLES = [vl.Sample("Is it red?", (picture(0),), "red", ("red", "blue"), id="a")]
OTHERS = [vl.Sample("Is it red?", (picture(1),), "blue", ("red", "blue"), id="b")]


@pytest.fixture(autouse=True)
def unchecked():
    with as_users():
        yield


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory, monkeypatch):
    """A folder that is named by any word is made here."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="module")
def vlm():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


EXPERIMENT = ("samples", "interventions", "dimension", "batch", "max_failed", "names", "measure")


@pytest.mark.slow
@bounded(20)
@given(some_of(EXPERIMENT), anything)
def test_experiment(vlm, options, folder):
    usual = {"samples": SAMPLES, "measure": Answering(max_new_tokens=1)}
    made = tried(lambda: experiments.Experiment(vlm, **{**usual, **options}))
    if made is not None:
        tried(made.run)
    tried(lambda: experiments.Experiment(vlm, **usual).run(folder))


@bounded(15)
@given(some_of(["max_new_tokens", "system", "allow_nonfinite", "banana"]))
def test_measures(vlm, options):
    if isinstance(options.get("max_new_tokens"), int) and options["max_new_tokens"] > 3:
        return
    measure = tried(lambda: Answering(**{"max_new_tokens": 1, **options}))
    if measure is not None:
        tried(lambda: experiments.Experiment(vlm, SAMPLES, measure).run())


SWEEP = ("point", "over", "where", "edit", "score", "normalized", "system", "folder", "progress")


@bounded(20)
@given(anything, some_of([*SWEEP, "banana"]))
def test_sweep(vlm, samples, options):
    usual = {"over": "role", "progress": False}
    tried(lambda: experiments.sweep(vlm, SAMPLES, OTHERS, **{**usual, **options}))
    tried(lambda: experiments.sweep(vlm, SAMPLES, samples, **usual))
    tried(lambda: experiments.sweep(vlm, samples, OTHERS, **usual))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diagnose", "diagnose_all", "permutation_test"])
@bounded(10)
@given(data=st.data())
def test_recipes(vlm, name, data):
    recipe = getattr(experiments, name)
    options = data.draw(some_of(keywords(recipe)))
    for name, most in (("max_new_tokens", 3), ("permutations", 2)):
        if isinstance(options.get(name), int) and options[name] > most:
            return  # as many as that take their time
    samples = data.draw(st.one_of(anything, st.just(SAMPLES), st.just(SAMPLES)))
    usual = {"permutations": 1, "max_new_tokens": 1, "progress": False}
    tried(lambda: recipe(vlm, samples, **{**usual, **options}))


@bounded(30)
@given(anything, some_of(keywords(datasets.load)))
def test_data_sets(name, options):
    for data in (name, "shapes-2d", "nowhere", "pope"):
        tried(lambda data=data: datasets.load(data, **{"samples": 2, **options}))


@bounded(30)
@given(anything)
def test_what_is_identified(value):
    first = tried(lambda: identity.value(value))
    assert tried(lambda: identity.value(value)) == first


FLAGS = ("--delta", "--samples", "--seed", "--batch", "--permutations", "--data", "--scoring")
FLAGS += ("--reference", "--max-failed", "--dtype", "--attention", "--revision", "--device")
FLAGS += ("--question", "--prompt", "--system", "--max-new-tokens", "--tiny", "--json", "--banana")
VALUES = ("nan", "inf", "-1", "0", "1.5", "x", "", "nowhere", "é", "1e99", "/proc", "likelihood")
VALUES += (
    "own",
    "gold",
    "meta",
    "cuda",
    "int8",
    "float16",
    "shapes-2d",
    "pope",
    "\udcff",
    "2" * 400,
)


@pytest.mark.slow
@bounded(40)
@given(
    st.sampled_from(["diagnose", "check", "fetch", "models", "families", "nothing", "--version"]),
    st.sampled_from(["no-such-model", "", "/proc", "é", "shapes-base/x", "..", "\udcff"]),
    st.lists(st.tuples(st.sampled_from(FLAGS), st.sampled_from(VALUES)), max_size=3),
)
def test_the_command_line(tmp_path_factory, command, model, options):
    words = [command]
    if command in ("diagnose", "check", "fetch"):
        words += [model]
    words += [word for pair in options for word in pair]
    if command == "diagnose":  # no model is opened
        words += ["--out", str(tmp_path_factory.mktemp("out") / "results")]
    found = CliRunner().invoke(cli.app, words)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    assert found.exit_code in (0, 1, 2)
    assert "Traceback" not in found.output
