"""The way that a published set's questions are asked stands in everything that comes of them."""

import json

import numpy as np
import pytest
import xarray as xr
from conftest import build, by_turns
from published_files import PUBLISHED
from typer.testing import CliRunner

from vlmlens import cli, experiments
from vlmlens.datasets import load
from vlmlens.datasets.benchmarks import BENCHMARKS
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for part in build("llava"):
        part.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_sample_knows_its_form(name, tmp_path):
    key, split, _, write = PUBLISHED[name]
    write(tmp_path)
    forms = BENCHMARKS[key].prompts
    for form in ("", *forms):
        found = load(f"{key}:{split}@{tmp_path}", prompt=form)
        assert {sample.form for sample in found} == {f"{key}/{form or next(iter(forms))}"}


@pytest.mark.slow
@pytest.mark.parametrize("form", by_turns(["", "paper", "vlmevalkit"], ["paper"]))
def test_a_command_takes_a_form_and_tells_it(form, saved, tmp_path):
    PUBLISHED["pope, original"][3](tmp_path / "pope")
    out = tmp_path / "results"
    data = f"pope:random@{tmp_path / 'pope'}"
    words = ["diagnose", saved, "--data", data, "--out", out, "--permutations", 1]
    words += ["--max-new-tokens", 2, *(["--prompt", form] if form else [])]
    done = CliRunner().invoke(cli.app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    told = f"pope/{form or 'lmms-eval'}"
    for table in ("results", "psi"):
        assert xr.load_dataset(out / f"{table}.nc").attrs["prompt_form"] == told
    assert json.loads((out / "meta.json").read_text())["prompt_form"] == told
    assert told in (out / "report.html").read_text()
    asked = xr.load_dataset(out / "results.nc")["question"].values
    expected = [sample.question for sample in load(data, prompt=form)]
    np.testing.assert_array_equal(asked, expected)


def test_a_form_that_is_not_there_is_refused_before_a_model_is_opened(tmp_path):
    PUBLISHED["pope, original"][3](tmp_path)
    words = ["diagnose", "no/such-model", "--data", f"pope@{tmp_path}", "--prompt", "papr"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 2
    assert "no prompt form 'papr'" in " ".join(done.output.split())
    assert "paper" in done.output
    done = CliRunner().invoke(cli.app, ["diagnose", "--prompt", "paper"])
    assert done.exit_code == 2
    assert "is a way to ask a published set" in " ".join(done.output.split())


def test_other_samples_have_no_form():
    with HookedVLM(*build("llava")) as model:
        samples = [Sample("What is it?", np.zeros((8, 8, 3), np.uint8), "red", ("red", "blue"))]
        found = experiments.permutation_test(model, samples, permutations=1)
    assert "prompt_form" not in found.attrs
