"""What commands say at their end: each thing once, and in words."""

import re
from types import SimpleNamespace

import xarray as xr
from as_users import as_users
from typer.testing import CliRunner

import vlmlens as vl
from vlmlens.cli import app
from vlmlens.cli.tables import psi_table
from vlmlens.experiments import Answering, Experiment


def told(folder):
    return CliRunner().invoke(app, ["status", str(folder)], env={"COLUMNS": "200"}).output


def test_status_says_each_version_and_no_setting_that_tells_nothing_apart(tmp_path):
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        samples = vl.datasets.shapes_2d(2)
        Experiment(model, samples, Answering(max_new_tokens=1)).run(tmp_path)
        said = told(tmp_path)
        assert "Answering" in said and "Answering(" not in said
        made = next(line for line in said.splitlines() if line.startswith("made by"))
        assert len(re.findall(r"torch \d", made)) == 1
        assert not re.search(r"(\S+) \1(?!\S)", made.replace(",", " "))
        Experiment(model, samples, Answering(max_new_tokens=2)).run(tmp_path)
    assert "Answering(" in told(tmp_path)  # two of one name: their settings tell them apart


def diagnosis(low, p):
    """Of one category; everything but the interval's low end and p is right and the same."""
    values = {"n": 40, "units": 40, "accuracy": 0.9, "accuracy_permuted": 0.78, "psi": 12.9}
    values |= {"psi_low": low, "psi_high": 28.0, "p_value": p}
    psi = xr.Dataset({name: ("category", [x]) for name, x in values.items()})
    psi = psi.assign_coords(category=["color_rel"]).assign_attrs(unit="picture")
    attrs = {"reference": "gold", "model": "m", "answered": 1, "rule": "letter/6"}
    return SimpleNamespace(psi=psi, results=xr.Dataset(attrs=attrs))


def test_a_row_whose_interval_and_p_disagree_says_what_each_is_of():
    with as_users():
        split, agree, nothing = (
            str(psi_table(diagnosis(*each)).caption)
            for each in ((-1.1, 0.046), (4.0, 0.046), (-1.1, 0.3))
        )
    assert "color_rel: one of interval and p shows an effect" in split
    assert "undecided" not in agree + nothing
    assert "graded by letter/6, a fixed rule and its version" in agree
