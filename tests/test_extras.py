"""What needs a library that only an extra brings says so, and begins nothing without it."""

import importlib
import sys
import tomllib
from pathlib import Path

import plotly.graph_objects as go
import pytest
from children import HOME, python
from conftest import picture
from typer.testing import CliRunner

from vlmlens import cli, experiments, live, plots, probes, zoo
from vlmlens.datasets import photo_pairs, shapes_2d
from vlmlens.errors import MissingToolError
from vlmlens.extras import EXTRAS, missing, naming_extra
from vlmlens.live.exploring import refuse_without
from vlmlens.model import HookedVLM
from vlmlens.probes import linear
from vlmlens.zoo import smol, tiny
from vlmlens.zoo.opening import adapters
from vlmlens.zoo.smol import convert

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {one.split(">")[0].split("[")[0] for one in requirements}


@pytest.mark.parametrize("module", EXTRAS)
def test_an_extra_brings_what_its_message_says(module):
    package, extra = EXTRAS[module]
    every = PROJECT["optional-dependencies"]
    assert package in names(every[extra])
    assert extra in every["all"][0].split("[")[1].strip("]").split(",")
    assert package not in names(PROJECT["dependencies"])
    if module not in SKIPPED:
        assert package in names(every["dev"])  # the tests run with all others
        importlib.import_module(module)
    said = str(missing(module, "this"))
    assert f'pip install -e "{HOME}[{extra}]"' in said  # the tests run in a clone


@pytest.fixture
def bare(monkeypatch):
    """No library of an extra is installed."""
    monkeypatch.setattr("vlmlens.extras.find_spec", lambda name: None)
    processing = importlib.import_module("transformers.models.smolvlm.processing_smolvlm")
    monkeypatch.setattr(processing, "num2words", None)
    monkeypatch.delitem(sys.modules, "vlmlens.interop.nnsight", raising=False)
    monkeypatch.setitem(sys.modules, "nnsight", None)  # what an import of it does then is refuse


def test_families_are_listed_where_one_needs_an_extra(bare):
    found = CliRunner().invoke(cli.app, ["families"])
    assert found.exit_code == 0
    rows = {line.split()[0]: line for line in found.output.splitlines() if line}
    assert set(rows) >= set(tiny.TINY)
    assert "[smolvlm]" in rows["smolvlm"] and "clip" in rows["llava"]


def llava():
    return HookedVLM(*tiny.build("llava"))


def seen():
    vlm = llava()
    return vlm.run(vlm.inputs(shapes_2d(2)), save=linear.NEEDS)


#: Too large for every environment of tests; what needs it is skipped where it is missing.
SKIPPED = ("ray",)
DOORS = {
    "photo_pairs": ("sklearn", lambda path: photo_pairs(1, kind="swap")),
    "linear_probe": ("sklearn", lambda path: probes.linear_probe(seen(), "row")),
    "diagnose_all": (
        "sklearn",
        lambda path: experiments.diagnose_all(llava(), shapes_2d(2), progress=False),
    ),
    "a tiny SmolVLM": ("num2words", lambda path: tiny.build("smolvlm")),
    "a video's file": (
        "av",
        lambda path: HookedVLM(*tiny.build("qwen2_vl")).inputs(
            videos=path / "a.mp4", prompts="What moves?"
        ),
    ),
    "export": ("kaleido", lambda path: plots.export(go.Figure(), path / "a.png")),
    "fetch": ("gguf", lambda path: smol.fetch("smol-llava")),
    "a GGUF": ("gguf", lambda path: convert.opened_gguf(path / "a.gguf")),
    "an ONNX": ("onnx", lambda path: convert.tower(path / "a.onnx")),
    "an adapter": ("peft", lambda path: adapters.put_on(None, path, "lora")),
    "OnRay": ("ray", lambda path: experiments.OnRay().share([])),
    "explore": ("starlette", lambda path: live.explore(llava())),
    "its server": ("uvicorn", lambda path: refuse_without("uvicorn")),
    "its sockets": ("websockets", lambda path: refuse_without("websockets")),
    "nnsight": ("nnsight", lambda path: importlib.import_module("vlmlens.interop.nnsight")),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_says_which_extra_it_takes(door, bare, tmp_path, monkeypatch):
    monkeypatch.setenv("VLMLENS_CACHE", str(tmp_path / "cache"))
    module, call = DOORS[door]
    package, extra = EXTRAS[module]
    with pytest.raises(MissingToolError) as refused:
        call(tmp_path)
    assert f"needs {package}, which is not installed" in str(refused.value)
    assert f'[{extra}]"' in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_every_extra_has_a_door():
    assert {module for module, _ in DOORS.values()} == set(EXTRAS)


def test_a_saved_smolvlm_says_which_extra_its_processor_takes(tmp_path, monkeypatch):
    model, processor = tiny.build("smolvlm")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with HookedVLM.from_pretrained(str(tmp_path)) as vlm:
        vlm.inputs([picture()], ["What color is the circle?"])
    processing = importlib.import_module("transformers.models.smolvlm.processing_smolvlm")
    monkeypatch.setattr(processing, "num2words", None)
    with pytest.raises(MissingToolError, match=r"needs num2words.*\[smolvlm\]"):
        zoo.load(str(tmp_path))


def test_other_imports_that_fail_keep_their_own_words():
    with pytest.raises(ImportError, match="something else"), naming_extra("this"):
        raise ImportError("something else is missing")


@pytest.mark.slow
def test_a_model_opens_without_what_only_probes_and_servers_need():
    """wandb is transformer_lens's own requirement, and is not imported either."""
    code = """
import sys
from vlmlens import HookedVLM
HookedVLM.from_pretrained("shapes-base")
print(*[m for m in ("wandb", "sklearn", "num2words", "statsmodels", "plotly", "nnsight")
        if m in sys.modules], sep=",")
"""
    done = python(code)
    assert done.stdout.strip() == ""
