"""Against the model's own clean answers no null can hold: every door shows the share changed."""

import inspect

import numpy as np
import pytest
import xarray as xr

import vlmlens as vl
from vlmlens import experiments, probes
from vlmlens.errors import InputError
from vlmlens.experiments.measures import Answering
from vlmlens.sample import Sample
from vlmlens.zoo.tiny import build

QUESTIONS, PICTURES = 40, 20


@pytest.fixture(scope="module")
def llava():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


def answers(dim, labels, name="correct"):
    """Two questions a picture; the first condition is the clean one, and says what it says."""
    rng = np.random.default_rng(0)
    x = (rng.random((QUESTIONS, len(labels))) < 0.7).astype(float)
    x[:, 0] = 1.0
    if name == "log_prob":
        x = np.log(0.2 + 0.7 * x) + 0.01 * rng.normal(size=x.shape)
    coords = {dim: labels, "picture": ("sample", np.repeat(np.arange(PICTURES), 2))}
    return xr.DataArray(x, dims=("sample", dim), coords=coords, name=name)


SHUFFLES = ("permutation", ["original", "seed 0", "seed 1"])
DOSES = ("dose", [0.0, 0.25, 0.5, 1.0])
CONTROLS = ("control", ["original", "noise", "text only"])
#: Door -> what makes its table of answers, and which variable is the share changed, of what.
DOORS = {
    "position_sensitivity_index": (
        lambda x, **how: probes.position_sensitivity_index(x, **how),
        answers(*SHUFFLES),
        ("psi", 100),
    ),
    "answer_flips": (
        lambda x, **how: probes.answer_flips(x, **how),
        answers(*SHUFFLES),
        None,
    ),
    "dose_response": (
        lambda x, **how: probes.dose_response(x, **how),
        answers(*DOSES),
        ("changed", 1),
    ),
    "dose_response of log_prob": (
        lambda x, **how: probes.dose_response(x, **how),
        answers(*DOSES, name="log_prob"),
        None,
    ),
    "control_table": (
        lambda x, **how: experiments.control_table(x.to_dataset(), **how),
        answers(*CONTROLS),
        ("psi", 100),
    ),
}


def of_tests(table):
    """The variables that are p of something."""
    return [name for name in map(str, table) if name == "p" or name.endswith(("_p", "p_value"))]


@pytest.mark.parametrize("said", ["attribute", "argument"])
@pytest.mark.parametrize("door", DOORS)
def test_no_door_tests_own_answers(door, said):
    make, values, share = DOORS[door]
    gold = make(values, reference="gold")
    assert of_tests(gold) and all(gold[name].notnull().any() for name in of_tests(gold))
    if said == "attribute":
        own = make(values.assign_attrs(reference="own"))
    else:
        own = make(values, reference="own")
    assert all(own[name].isnull().all() for name in of_tests(own))
    assert own.attrs["reference"] == "own" and own.attrs["test"].startswith("none: against")
    if share is not None:
        name, scale = share
        shown = own[name].values.ravel()
        assert (own[f"{name}_low"].values.ravel() <= shown).all()
        assert (shown <= own[f"{name}_high"].values.ravel()).all()
        assert shown[-1] == pytest.approx(scale * (1 - make_mean(values)[-1]), rel=1e-6)


ALL_RIGHT = [door for door in DOORS if not door.endswith("log_prob")]


@pytest.mark.parametrize("door", ALL_RIGHT)
def test_a_table_that_does_not_say_and_may_be_of_own_answers_is_not_tested(door):
    """Every intact answer is right and nothing says against what: no p, and the reason."""
    make, values, _ = DOORS[door]
    assert "reference" not in values.attrs
    unsaid = make(values)
    assert all(unsaid[name].isnull().all() for name in of_tests(unsaid))
    assert unsaid.attrs["test"].startswith("none: every intact answer is right")
    assert "reference='gold'" in unsaid.attrs["test"]
    said = make(values.assign_attrs(reference="gold"))
    assert all(said[name].notnull().any() for name in of_tests(said))
    one_wrong = values.copy()
    one_wrong[0, 0] = 0.0
    tested = make(one_wrong)
    assert all(tested[name].notnull().any() for name in of_tests(tested))


def make_mean(values):
    """The share kept under each condition; under all edits together where the door pools them."""
    kept = values.mean("sample").values
    return [kept[1:].mean()] if values.dims[1] == "permutation" else kept


def test_every_door_with_a_reference_is_held_to_it():
    public = {
        name: getattr(where, name) for where in (probes, experiments) for name in where.__all__
    }
    with_reference = {
        name
        for name, call in public.items()
        if inspect.isfunction(call) and "reference" in inspect.signature(call).parameters
    }
    # These set the attribute, or refuse.
    runs = {"permutation_test", "diagnose", "diagnose_all", "refuse_unscored"}
    assert with_reference - runs == {door.partition(" ")[0] for door in DOORS}


@pytest.mark.parametrize("door", DOORS)
def test_an_unknown_reference_is_refused(door):
    make, values, _ = DOORS[door]
    with pytest.raises(InputError, match="there is: gold, own"):
        make(values, reference="mine")


@pytest.mark.parametrize("own", [True, False])
def test_what_answers_says_against_what(llava, own, tmp_path):
    """Also in a table that was kept, and under doses."""
    samples = [Sample("What?", (), "red", id=str(n)) for n in range(2)]
    for _ in range(2):
        found = experiments.dose_effects(
            llava, samples, [(0.0, ()), (1.0, ())], measure=Answering(own=own), folder=tmp_path
        )
        for name in ("correct", "log_prob"):
            assert found[name].attrs["reference"] == ("own" if own else "gold")
