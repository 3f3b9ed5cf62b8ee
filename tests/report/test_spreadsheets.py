import numpy as np
import pandas as pd
import pytest
import xarray as xr

from vlmlens.plots.arrays import mean_interval
from vlmlens.report import write_tables


@pytest.fixture
def written(tmp_path, results, table):
    """Every table that was written, by name, from CSV and from Parquet."""
    named = results.assign_coords(sample=["a,b", "=1+1", "c", "d"])

    def both(found=named, psi=table, tests=None):
        files = write_tables(found, psi, tmp_path / "tables", tests)
        return {
            file.stem: (pd.read_csv(file), pd.read_parquet(file.with_suffix(".parquet")))
            for file in files
            if file.suffix == ".csv"
        }

    return both


def test_every_number_is_there_and_says_the_same_in_both(written, results, table):
    found = written()
    assert list(found) == ["answers", "samples", "cells", "categories"]
    for csv, parquet in found.values():
        assert list(csv) == list(parquet) and len(csv) == len(parquet)
        for column in csv.dropna(axis=1, how="all").select_dtypes("number"):
            np.testing.assert_allclose(csv[column], pd.to_numeric(parquet[column]), rtol=1e-12)
    answers, _ = found["answers"]
    assert len(answers) == 4 * 3
    assert answers["sample"].unique().tolist() == ["a,b", "=1+1", "c", "d"]
    one = answers[(answers["sample"] == "c") & (answers["permutation"] == "seed 0")].iloc[0]
    assert (one["question"], one["answer"], one["correct"]) == ("What is 2?", "blue", 0)
    categories, _ = found["categories"]
    assert categories["psi"].tolist() == table["psi"].values.tolist()


def test_cells_are_means_with_their_intervals(written, results):
    cells, _ = written()["cells"]
    own = cells[(cells["measurement"] == "cmb") & (cells["layer"] == 1) & (cells["head"] == 2)]
    row = mean_interval(results["cmb"]).isel(layer=1, head=2)
    assert len(own) == 1
    for name in ("mean", "low", "high", "n"):
        assert own[name].item() == pytest.approx(float(row[name]))
    assert own["units"].item() == "fraction"
    whole = cells[cells["measurement"] == "cmb_uniform"]
    assert whole["mean"].tolist() == [pytest.approx(0.9)]


def test_samples_are_averaged_within_themselves(written, results):
    samples, _ = written()["samples"]
    np.testing.assert_allclose(samples["cmb"], results["cmb"].mean(("layer", "head")))
    assert "correct" not in samples  # it has permutations, and stands with the answers


def test_roles_have_a_column_each_and_maps_none(written, results):
    norm = np.array([[10.0, 12.0], [1.0, 3.0]])[None] * np.arange(1, 5)[:, None, None]
    more = xr.Dataset(
        {
            "norm": (("sample", "role", "depth"), norm),
            "map": (("sample", "row", "column"), norm),
        },
        coords={"sample": results["sample"], "role": ["vision", "user"]},
    )
    samples, _ = written(more)["samples"]
    of_numbers = [name for name in samples if name.startswith(("norm", "map"))]
    assert of_numbers == ["norm[role=vision]", "norm[role=user]"]
    assert samples["norm[role=vision]"].tolist() == [11, 22, 33, 44]
    assert samples["norm[role=user]"].tolist() == [2, 4, 6, 8]


def test_corrected_tests_stand_beside_their_cells(written, results):
    tests = xr.Dataset({f"cmb{end}": results["cmb"][0] for end in ("", "_low", "_high", "_n")})
    tests["cmb_p"] = xr.full_like(results["cmb"][0], 0.25)
    cells, _ = written(tests=tests)["cells"]
    of_cmb = cells["measurement"] == "cmb"
    assert (cells.loc[of_cmb, "p_corrected"] == 0.25).all()
    assert cells.loc[~of_cmb, "p_corrected"].isna().all()


def test_tables_without_rows_are_left_out(written):
    assert written(xr.Dataset(), None) == {}
