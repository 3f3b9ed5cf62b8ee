"""A table of a study's answers, small enough to check by eye: what the examples start from."""

import xarray as xr

from vlmlens.study.conditions import CONDITIONS


def example_answers() -> xr.Dataset:
    """Answers of two models to four questions under every condition, as ``measured`` keeps them.

    Both models answer all four intact images rightly; under every other condition the last two
    answers are wrong. So accuracy is 1 and .5, and PSI is 50 %.

    Returns:
        ``correct`` (model, condition, sample), 0 or 1; ``category`` along ``sample``.

    Examples:
        >>> from vlmlens.study import example_answers
        >>> answers = example_answers()
        >>> answers.correct.sel(model="base 0", condition="text only").values.tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    models, categories = ["base 0", "base 1"], ["color_abs", "color_rel"] * 2
    axes = {"model": models, "condition": list(CONDITIONS), "sample": list("abcd")}
    correct = xr.DataArray(1.0, axes, list(axes))
    correct[:, 1:, 2:] = 0
    return xr.Dataset({"correct": correct}, {"category": ("sample", categories)})
