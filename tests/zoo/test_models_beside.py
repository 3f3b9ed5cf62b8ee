"""The larger models are a distribution of their own; where it is missing, it is named."""

import importlib
import json
import shutil
import tomllib
from pathlib import Path

import pytest
from children import HOME
from typer.testing import CliRunner

import vlmlens as vl
from vlmlens import cli, extras, zoo
from vlmlens.errors import UnfetchedModelError, UnknownModelError, UnsupportedModelError
from vlmlens.zoo import smol
from vlmlens.zoo.opening import homes

TREE = Path(HOME)
WEIGHTS = TREE / "vlmlens/zoo/weights"
BESIDE = tomllib.loads((WEIGHTS / "pyproject.toml").read_text())
BUILT = BESIDE["tool"]["hatch"]["build"]["targets"]


def test_every_model_is_in_one_of_the_two_distributions():
    project = tomllib.loads((TREE / "pyproject.toml").read_text())
    away = {Path(path).name for path in project["tool"]["hatch"]["build"]["exclude"]}
    moved = set(BUILT["wheel"]["only-include"])
    assert away == moved | {"LICENSE", "README.md", "pyproject.toml"}
    assert moved <= set(BUILT["sdist"]["only-include"])
    stay = {path.name for path in WEIGHTS.iterdir() if path.is_dir()} - moved
    assert stay == {"shapes-base", "smol-llava"} and moved | stay == set(homes.published())
    assert BESIDE["project"]["name"] == homes.BESIDE
    assert BUILT["wheel"]["sources"] == {"": homes.MODULE}
    assert (WEIGHTS / "LICENSE").read_text() == (TREE / "LICENSE").read_text()


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """vlmlens as its own wheel brings it, from no clone; and where another could be installed."""
    own, site = tmp_path / "own/weights", tmp_path / "site"
    own.mkdir(parents=True)
    site.mkdir()
    for name in ("shapes-base", "smol-llava", homes.HASHES):
        (own / name).symlink_to(WEIGHTS / name)
    monkeypatch.setattr(homes, "files", lambda package: own.parent)
    monkeypatch.setattr(extras, "_clone", lambda: (None, False))
    monkeypatch.setenv("VLMLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    return site


def test_what_is_not_installed_says_how_it_is(alone, monkeypatch):
    monkeypatch.chdir(alone)
    (alone / "shapes-both").mkdir()  # a folder of that name is not what was asked for
    assert list(zoo.bundled()) == ["shapes-base"]
    for call in (vl.HookedVLM.from_pretrained, zoo.find, zoo.load, zoo.configuration):
        with pytest.raises(UnfetchedModelError, match=r"shapes-both.*pip install vlmlens-models"):
            call("shapes-both")
    with pytest.raises(UnfetchedModelError, match="pip install vlmlens-models"):
        smol.fetch("smol-llava-normalize")
    assert smol.trained("smol-llava").name == "smol-llava"
    with pytest.raises(UnknownModelError, match="shapes-both"):
        zoo.find("shapes-bth")
    said = CliRunner().invoke(cli.app, ["models"]).output.splitlines()
    assert said[0] == "shapes-base"
    assert "shapes-both (pip install vlmlens-models)" in said
    assert "smol-llava (vlmlens fetch smol-llava)" in said
    both = "pip install vlmlens-models; vlmlens fetch smol-llava-normalize"
    assert f"smol-llava-normalize ({both})" in said


def test_what_is_installed_beside_opens_and_is_held_to_its_hash(alone):
    shutil.copytree(WEIGHTS / "shapes-both", alone / homes.MODULE / "shapes-both")
    importlib.invalidate_caches()
    assert list(zoo.bundled()) == ["shapes-base", "shapes-both"]
    with vl.HookedVLM.from_pretrained("shapes-both") as model:
        assert model.cfg.model_name and model.cfg.n_layers == 4
    file = alone / homes.MODULE / "shapes-both/model.safetensors"
    noise = bytearray(file.read_bytes())
    noise[-1000] ^= 1
    file.write_bytes(noise)
    with pytest.raises(UnsupportedModelError, match="install vlmlens-models again"):
        vl.HookedVLM.from_pretrained("shapes-both")


def test_a_clone_holds_all_of_them():
    assert set(zoo.bundled()) | set(smol.NAMES) == set(homes.published())


class Installed:
    def __init__(self, told):
        self.told = told

    def read_text(self, name):
        return self.told


@pytest.mark.parametrize(
    ("told", "extra", "beside"),
    [
        (None, 'pip install "vlmlens[smol]"', "pip install vlmlens-models"),
        (
            {"url": "https://example.org/vlmlens.whl", "archive_info": {}},
            'pip install "vlmlens[smol]"',
            "pip install vlmlens-models",
        ),
        (
            {"url": TREE.as_uri(), "dir_info": {}},
            f'pip install "{TREE}[smol]"',
            f'pip install "{WEIGHTS}"',
        ),
        (
            {"url": "file:///gone/away", "dir_info": {}},
            'pip install "vlmlens[smol]"',
            "pip install vlmlens-models",
        ),
    ],
)
def test_the_command_fits_the_way_vlmlens_was_installed(monkeypatch, tmp_path, told, extra, beside):
    installed = Installed(told and json.dumps(told))
    monkeypatch.setattr(extras, "distribution", lambda name: installed)
    monkeypatch.setattr(vl, "__file__", str(tmp_path / "site-packages/vlmlens/__init__.py"))
    assert extras.command("vlmlens", "smol") == extra
    assert extras.command("vlmlens-models") == beside


def test_in_a_clone_the_command_keeps_its_files_the_ones_that_run():
    assert extras.command("vlmlens", "smol") == f'pip install -e "{TREE}[smol]"'
    assert extras.command("vlmlens-models") == f'pip install "{WEIGHTS}"'
