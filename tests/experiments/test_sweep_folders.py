"""What a sweep leaves in a folder is read back and taken out, cell by cell."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import vlmlens as vl
from vlmlens.cli import app
from vlmlens.datasets import counterfactual_pairs
from vlmlens.errors import DataError
from vlmlens.experiments import Answering, Experiment, read, sweep


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


@pytest.fixture(scope="module")
def swept(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    pairs = counterfactual_pairs(12, kind="swap", category="color_rel")
    pairs = [p for p in pairs if p.clean.question.startswith("What color is above")][:2]
    assert len(pairs) == 2
    clean, corrupted = [p.clean for p in pairs], [p.corrupted for p in pairs]
    how = {"normalized": False, "folder": folder, "progress": False}
    return folder, sweep(model, clean, corrupted, over="pos", **how), (clean, corrupted, how)


def test_a_folder_of_one_sweep_is_read_as_its_map(swept):
    folder, table, _ = swept
    for given in (folder, str(folder)):
        xr.testing.assert_identical(read(given)["effect"].drop_attrs(), table.drop_attrs())


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_cells_are_exported_with_their_layer_and_place(swept, tmp_path, ending):
    folder, table, _ = swept
    path = tmp_path / f"cells.{ending}"
    said = CliRunner().invoke(app, ["export", str(folder), str(path)])
    assert said.exit_code == 0 and f"{table.size:,} rows" in said.output
    rows = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    assert len(rows) == table.size and set(rows["point"]) == {"blocks.*.hook_resid_pre"}
    back = rows.set_index(["sample", "layer", "pos"])["value"].to_xarray()
    for at, name in enumerate(table["sample"].values):
        np.testing.assert_allclose(back.sel(sample=name), table[at], rtol=1e-12)
    last = rows[rows["pos"] == rows["pos"].max()]
    assert set(last["token"]) == {str(table["token"].values[-1])}


@pytest.mark.slow
def test_several_maps_say_which_row_is_of_which(swept, model, tmp_path):
    _, _, (clean, corrupted, how) = swept
    other = tmp_path / "both"
    first = sweep(model, clean, corrupted, over="pos", **how | {"folder": other})
    point = "blocks.*.attn.hook_z"
    second = sweep(model, clean, corrupted, point, over="head", **how | {"folder": other})
    with pytest.raises(DataError, match=r"holds 2 maps, .*name one of the files in"):
        read(other)
    path = tmp_path / "cells.csv"
    CliRunner().invoke(app, ["export", str(other), str(path)])
    rows = pd.read_csv(path)
    assert rows.groupby("point").size().to_dict() == {
        "blocks.*.hook_resid_pre": first.size,
        point: second.size,
    }
    assert rows.groupby("map").ngroups == 2
    heads = rows[rows["point"] == point]
    assert heads["pos"].isna().all() and heads["head"].notna().all()


def test_a_folder_that_is_no_table_is_not_to_be_deleted(model, tmp_path):
    asked = Experiment(model, vl.datasets.shapes_2d(2), Answering(max_new_tokens=1))
    asked.run(tmp_path / "kept", progress=None)
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "results.nc")
    for folder, said in [
        (tmp_path / "kept", r"is a folder, .*nothing is computed anew"),
        (tmp_path, r"a folder of tables, results\.nc: name one"),
        (tmp_path / "gone.nc", "there is no file"),
    ]:
        with pytest.raises(DataError, match=said) as caught:
            read(folder)
        assert "delete" not in str(caught.value)
