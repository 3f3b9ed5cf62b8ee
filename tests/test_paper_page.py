"""The page that maps the paper's figures to calls runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import build

import vlmlens as vl

pytestmark = pytest.mark.pages

PAGE = Path(__file__).parents[1] / "docs" / "paper.md"
ROWS = ("F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F10")


def test_every_row_is_one_call_on_a_model_of_another_kind():
    """Packed images, three axes of RoPE, grouped heads."""
    opened = 'vl.HookedVLM.from_pretrained("shapes-base")'
    assert PAGE.read_text().count(opened) == 1
    with vl.HookedVLM(*build("qwen2_5_vl"), name="tiny") as model:
        names: dict = {"MODEL": model}
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(block.replace(opened, "MODEL"), str(PAGE), "exec"), names)
    assert names["average"].sizes == {"layer": 3, "head": 2}
    assert np.isfinite(names["psi"]["accuracy"]).all()
    assert np.isfinite(names["balance"]).all()


@pytest.fixture(scope="module")
def ran():
    """Everything that the page's code leaves behind, run in order."""
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_every_row_has_its_section():
    sections = re.findall(r"^## (F\d+) ", PAGE.read_text(), re.MULTILINE)
    assert tuple(sections) == ROWS


def test_what_the_page_computes_is_what_it_says(ran):
    assert 0 <= float(ran["psi"]["accuracy"].sel(category="overall")) <= 1
    assert ran["lines"].count("\n") >= 12 * 3 - 1
    vision, captions = ran["violins"]
    assert {"vision", "user"} <= set(vision["role"].values.tolist())
    assert float(vision["mean"].sel(role="vision")) > 10 * float(captions["mean"][0])
    assert {"cmb", "cmb_low", "cmb_p"} <= set(ran["summary"])
    np.testing.assert_allclose(ran["pies"]["share"].sum("part"), 1.0, atol=1e-5)
    np.testing.assert_allclose(ran["shares"].sum("role"), 1.0, atol=1e-5)
    assert ran["average"].dims == ("layer", "head")
    assert ran["against_even"].attrs["correction"].startswith("family-wise")
    assert float(ran["ratio"].isel(depth=0).mean()) > 1  # vision tokens are far longer at first
    assert ran["csv"].startswith("depth,role")
    assert ran["seen"]["attention"].dims == ("layer", "head", "row", "column")
    assert isinstance(ran["blind"], xr.Dataset)
    table = ran["experiments"].control_table(ran["blind"]).sel(category="overall")
    assert float(table["accuracy"].max()) > float(table["accuracy_permuted"].max())
