"""The page of features in a browser: its index sorts, and its links lead to their features."""

import numpy as np
import xarray as xr

from vlmlens import plots


def region(number, density, count):
    """A feature that is active nowhere in particular: no crop is drawn."""
    return xr.Dataset(
        {
            "activation": ("rank", []), "sample": ("rank", np.array([], int)),
            "above": ("bin", np.linspace(0, 2, 20)),
            "tokens": ("bin", np.full(20, count)), "density": density, "n": 100,
        },
        attrs={"point": "blocks.0.hook_x", "feature": number},
    )  # fmt: skip


def test_the_index_sorts_by_any_column(opened, tmp_path):
    regions = [region(10, 0.02, 3), region(9, 0.5, 5), region(100, 0.0, 0)]
    marks = xr.Dataset(
        {name: ("label", [0.75, 0.9]) for name in ("auroc", "auroc_low", "auroc_high", "control")},
        {"label": ["red", "blue"]},
        {"point": "blocks.0.hook_x"},
    ).assign(feature=("label", [9, 10]))
    page = opened(plots.write_features(tmp_path / "page.html", [], regions, marks=marks))

    def order(column):
        page.click(f"th:nth-child({column}) button")
        return [int(cell) for cell in page.locator("tbody td:first-child").all_inner_texts()]

    assert order(1) == [9, 10, 100]
    assert order(1) == [100, 10, 9]
    assert order(2) == [9, 10, 100]  # the most frequent first
    assert order(2) == [100, 10, 9]
    assert order(5) == [10, 9, 100]  # what is not known comes last
    assert order(5) == [9, 10, 100]
    assert order(4) == [10, 9, 100]  # blue, red
    page.click('td a:text-is("100")')
    assert page.url.endswith("#feature-100")
