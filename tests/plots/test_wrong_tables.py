"""Whatever a figure cannot draw is refused in our words, by every public function that draws."""

from inspect import signature

import numpy as np
import pytest
import xarray as xr
from as_users import as_users
from PIL import Image

from vlmlens import plots
from vlmlens.errors import InputError
from vlmlens.probes.statistics import map_test

ELSEWHERE = xr.DataArray(np.arange(8.0).reshape(2, 4), dims=("sample", "elsewhere"), name="other")
WRONG = {
    "an array along something else": ELSEWHERE,
    "one number": xr.DataArray(1.0),
    "words": xr.DataArray(["a", "b"], dims="elsewhere"),
    "a table of tests along something else": map_test(
        xr.DataArray(np.arange(24.0).reshape(12, 2), dims=("sample", "elsewhere"))
    ),
    "a table without anything": xr.Dataset(),
    "a table of something else": ELSEWHERE.to_dataset(),
    "plain numbers": np.zeros((2, 3)),
    "a list": [[0.0, 1.0]],
    "a word": "results.nc",
    "nothing": None,
}
#: The parameter that is a labelled array or a table, and what goes before it.
DRAWN = {
    "atlas": "values", "circuit": "values", "depth": "values", "dose": "values",
    "explorer": "runs", "feature": "regions", "folded": "values", "heads": "values",
    "lens": "table", "norms": "hidden_norm", "overlay": "values", "paths": "values",
    "placed": "values", "psi": "table", "rope": "table", "shares": "values",
    "similarity": "values", "steps": "values", "sweep": "effect", "violins": "values",
    "write_features": "regions",
}  # fmt: skip
#: What is drawn, and cannot be refused for its values.
OTHERS = {"export", "dark", "keep_pictures", "Explorer"}
PICTURE = Image.new("RGB", (60, 40))
GIVEN = {"image": PICTURE, "path": "page.html", "samples": [], "layout": None}


def test_every_public_function_is_held():
    assert set(DRAWN) | OTHERS | {"PLOTS"} == set(plots.__all__) | {"PLOTS"}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", DRAWN)
def test_what_it_cannot_draw_is_refused(name, wrong):
    draw = getattr(plots, name)
    needed = [p.name for p in signature(draw).parameters.values() if p.default is p.empty]
    given = {each: GIVEN[each] for each in needed if each in GIVEN and each != DRAWN[name]}
    bad = [WRONG[wrong]] if name == "write_features" else WRONG[wrong]
    with as_users(), pytest.raises(InputError):
        draw(**given, **{DRAWN[name]: bad})


@pytest.mark.parametrize("name", sorted(set(DRAWN) - {"placed", "write_features"}))
def test_the_error_says_what_is_wanted(name):
    """A dimension, a variable, or the kind of thing."""
    draw = getattr(plots, name)
    needed = [p.name for p in signature(draw).parameters.values() if p.default is p.empty]
    given = {each: GIVEN[each] for each in needed if each in GIVEN and each != DRAWN[name]}
    with as_users(), pytest.raises(InputError, match=r"need|takes|a pattern is"):
        draw(**given, **{DRAWN[name]: 7})
