"""What is lost without heads, against edits written by hand, and what the controls are."""

import re

import pytest
import xarray as xr
from as_users import as_users
from conftest import build
from experiments.test_effects import SAMPLES

import vlmlens as vl
from vlmlens import experiments
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions import Scale, ZeroAblate
from vlmlens.select import Where


@pytest.fixture(scope="module")
def llava():
    with vl.HookedVLM(*build("llava")) as model:
        yield model


def read(said):
    """Layers and heads, as the coordinate names them."""
    return [tuple(map(int, pair)) for pair in re.findall(r"L(\d+) H(\d+)", str(said))]


def test_it_is_the_effect_of_knocking_out_these_heads(llava, tmp_path):
    last = llava.layers - 1
    found = experiments.head_effects(
        llava, SAMPLES, [(last, 1), (0, 0)], controls=3, folder=tmp_path
    )
    assert found.intervention.values[:2].tolist() == ["original", "without"]
    assert read(found.heads[1].item()) == [(0, 0), (last, 1)]
    for name, said in zip(found.intervention.values[1:], found.heads.values[1:], strict=True):
        cuts = [ZeroAblate(f"blocks.{at}.attn.hook_z", Where(heads=n)) for at, n in read(said)]
        alone = experiments.causal_effects(llava, SAMPLES, {str(name): cuts})
        mine = found.sel(intervention=["original", name]).drop_vars("heads")
        xr.testing.assert_allclose(mine, alone)
    again = experiments.head_effects(
        llava, SAMPLES, [(0, 0), (last, 1)], controls=3, folder=tmp_path
    )
    xr.testing.assert_equal(found, again)


def test_controls_are_as_many_other_heads_of_the_same_layers(llava):
    chosen = [(0, 0), (0, 2), (1, 1)]
    found = experiments.head_effects(llava, SAMPLES[:1], chosen, controls=2, seed=1)
    controls = [read(said) for said in found.heads.values[2:]]
    assert len({tuple(each) for each in controls}) == len(controls) == 2
    for each in controls:
        assert sorted(layer for layer, _ in each) == [0, 0, 1]
        assert len(set(each)) == 3 and not set(each) & set(chosen)
    others = experiments.head_effects(llava, SAMPLES[:1], chosen, controls=2, seed=2)
    assert others.heads.values.tolist() != found.heads.values.tolist()


def test_of_few_sets_all_are_tried(llava):
    count = llava.cfg.n_heads
    found = experiments.head_effects(llava, SAMPLES[:1], [(1, 0)], controls=50)
    tried = [read(said) for said in found.heads.values[2:]]
    assert sorted(tried) == [[(1, head)] for head in range(1, count)]
    assert experiments.head_effects(llava, SAMPLES[:1], [(1, 0)], controls=0).sizes == {
        "intervention": 2,
        "sample": 1,
    }


def test_another_edit_is_made_of_every_head(llava):
    found = experiments.head_effects(llava, SAMPLES, [(0, 1)], controls=0, edit=Scale(by=0.5))
    cut = Scale("blocks.0.attn.hook_z", Where(heads=1), by=0.5)
    alone = experiments.causal_effects(llava, SAMPLES, {"without": [cut]})
    xr.testing.assert_allclose(found.drop_vars("heads"), alone)


@pytest.mark.parametrize(
    ("heads", "options", "kind", "said"),
    [
        ([], {}, InputError, "name at least one"),
        ([(0, 1), (0, 1)], {}, InputError, r"\(0, 1\) twice"),
        ([0], {}, InputError, "heads"),
        ([(0, 1, 2)], {}, InputError, "a pair of layer and head"),
        ([(9, 0)], {}, EmptySelectionError, "no layer 9: there are"),
        ([(0, 64)], {}, EmptySelectionError, "no head 64: there are"),
        ([(0, 0), (0, 1), (0, 2)], {}, InputError, "not as many others.*controls=0"),
        ([(0, 0)], {"controls": -1}, InputError, "controls"),
        ([(0, 0)], {"edit": ZeroAblate(where=Where(heads=1))}, InputError, "placed head by head"),
    ],
)
def test_what_cannot_be_is_refused(llava, heads, options, kind, said):
    with as_users(), pytest.raises(kind, match=said):
        experiments.head_effects(llava, SAMPLES[:1], heads, **options)
