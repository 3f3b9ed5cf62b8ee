"""The command line: what it writes, what it prints, and how it fails."""

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from children import python
from conftest import picture
from transformers import LlavaForConditionalGeneration
from typer.testing import CliRunner

import vlmlens
from vlmlens import cli, families
from vlmlens.cli import tables
from vlmlens.errors import DataError
from vlmlens.experiments import Cell
from vlmlens.report.compatibility import page
from vlmlens.zoo import tiny

HEAVY = ("torch", "transformers", "transformer_lens", "xarray", "plotly", "scipy")


def loaded_by(code: str) -> set[str]:
    """Which heavy libraries are loaded after this code ran in a Python of its own."""
    code += f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = python(code)
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy():
    help_of = """
import sys
from vlmlens import cli
sys.argv = ["vlmlens", "diagnose", "--help"]
try:
    cli.run()
except SystemExit as end:
    assert not end.code
"""
    assert loaded_by(help_of) == set()


@pytest.mark.parametrize(
    "command", [[], ["diagnose"], ["compare"], ["models"], ["check"], ["families"]]
)
def test_every_command_has_help(command):
    found = CliRunner().invoke(cli.app, [*command, "--help"])
    assert found.exit_code == 0
    assert "Usage" in found.output


def test_what_there_is():
    found = CliRunner().invoke(cli.app, ["families"])
    assert found.exit_code == 0
    head, *lines = found.output.partition("\n\n")[0].splitlines()
    assert head.split() == ["family", "tower", "points", "language", "model", "points", "RoPE"]
    rows = {line.split()[0]: line.split(maxsplit=5)[1:] for line in lines}
    assert list(rows) == list(tiny.TINY)
    assert rows["llava"] == ["clip", "25", "llama", "30", "position"]
    assert rows["qwen2_vl"] == ["qwen2_vl", "26", "qwen2_vl", "30", "time, height, width"]
    assert CliRunner().invoke(cli.app, ["models"]).exit_code == 0


def test_families_are_listed_where_one_is_laid_out_otherwise(monkeypatch):
    """As the thinkers of Omni are in transformers 5.20."""
    moved = replace(families.FAMILIES["llava"], vision_layers="model.elsewhere")
    monkeypatch.setitem(families.FAMILIES, "llava", moved)
    monkeypatch.setattr(tiny, "TINY", {name: tiny.TINY[name] for name in ("llava", "gemma3")})
    found = CliRunner().invoke(cli.app, ["families"])
    assert found.exit_code == 0
    rows = {line.split()[0]: line for line in found.output.splitlines() if line}
    assert "should be at model.elsewhere.0" in rows["llava"]
    assert "position" in rows["gemma3"]


@pytest.mark.slow
def test_a_check_tells_points_and_laws_and_writes_them(vlmlens_says, tmp_path):
    path = tmp_path / "new" / "audits.json"
    code, said, _ = vlmlens_says("check", "--tiny", "llava", "--json", path)
    assert code == 0
    assert "tiny llava (llava); transformers " in said
    assert "FAIL" not in said
    (written,) = json.loads(path.read_text())
    assert written["model"] == "tiny llava"
    assert written["holds"]
    laws = [line for line in said.splitlines() if line.startswith("ok")]
    assert len(laws) == len(written["invariants"])
    assert "| llava | 0 | 0 | " in page([path])


@pytest.mark.slow
def test_a_check_of_a_folder_is_that_of_the_model_in_it(vlmlens_says, saved):
    code, said, _ = vlmlens_says("check", saved, "--device", "cpu", "--dtype", "float32")
    assert code == 0
    assert f"{saved} (llava); transformers " in said


@pytest.mark.slow
def test_a_check_of_all_says_which_does_not_hold(vlmlens_says, tmp_path, monkeypatch):
    """The status tells it, though the last one holds."""
    few = {name: tiny.TINY[name] for name in ("llava/siglip-qwen2", "paligemma")}
    monkeypatch.setattr(tiny, "TINY", few)
    wrong = dict(families.BLOCKS["qwen2"]) | {"hook_mlp_out": families.Tap("mlp.up_proj", "in")}
    monkeypatch.setitem(families.BLOCKS, "qwen2", wrong)
    code, said, _ = vlmlens_says("check", "--tiny", "all", "--json", tmp_path / "audits.json")
    assert code == 1
    assert said == "llava/siglip-qwen2: DOES NOT HOLD\npaligemma: holds\n"
    assert "missed**" in page([tmp_path / "audits.json"])


@pytest.mark.slow
def test_a_check_goes_on_after_a_family_that_cannot_be_run(vlmlens_says, tmp_path, monkeypatch):
    few = {name: tiny.TINY[name] for name in ("llava", "paligemma")}
    monkeypatch.setattr(tiny, "TINY", few)

    def broken(*args, **kwargs):
        raise AttributeError("no attribute 'image_outputs'\nand more of it")

    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", broken)
    path = tmp_path / "audits.json"
    code, said, _ = vlmlens_says("check", "--tiny", "all", "--json", path)
    assert code == 1
    told = "FAILED: AttributeError: no attribute 'image_outputs'"
    assert said == f"llava: {told}\npaligemma: holds\n"
    one, other = json.loads(path.read_text())
    assert not one["holds"] and other["holds"]
    assert one["error"] in told
    shown = page([path])
    assert "| llava | **failed** 1 | **failed** 1 |" in shown
    assert "1. AttributeError: no attribute 'image_outputs'\n" in shown
    assert "| paligemma | 0 | 0 |" in shown
    assert vlmlens_says("check", "--tiny", "llava")[:2] == (1, f"tiny llava: {told}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what to check: a MODEL, or --tiny FAMILY"),
        (["{model}", "--tiny", "llava"], "say what to check"),
        (["--tiny", "lava"], "llava"),
        (["no-such-model"], "no model 'no-such-model'"),
    ],
)
def test_a_check_of_nothing_is_refused(vlmlens_says, saved, words, message):
    code, said, told = vlmlens_says("check", *[word.format(model=saved) for word in words])
    assert code == 2
    assert said == ""
    assert told.startswith("error: ")
    assert message in told


SMALL = ("--permutations", 1, "--max-new-tokens", 1)


def test_a_diagnosis_is_written_printed_and_resumed(saved, tmp_path, vlmlens_says, monkeypatch):
    out = tmp_path / "results"
    words = ("diagnose", saved, "--samples", 12, "--out", out, "--batch", 8, *SMALL)
    code, said, _ = vlmlens_says(*words)
    assert code == 0
    assert "overall" in said
    assert "PSI % [95 %]" in said
    assert str(out / "report.html") in said
    assert {p.name for p in out.iterdir()} == {
        "results.nc",
        "psi.nc",
        "report.html",
        "meta.json",
        "cells",
        "tables",
        "attended.nc",
    }
    assert 'id="attended"' in (out / "report.html").read_text()
    assert len(pd.read_csv(out / "tables" / "answers.csv")) == 12 * 2
    results, psi = (xr.load_dataset(out / f"{name}.nc") for name in ("results", "psi"))
    assert results.sizes["sample"] == 12
    assert results["permutation"].values.tolist() == ["original", "seed 0"]
    variables = {"cmb", "alpha_v", "delta_g_v", "delta_alpha_v", "hidden_norm", "correct"}
    assert variables <= set(results)
    assert psi["category"].values[0] == "overall"
    assert psi["n"].values[0] == 12
    meta = json.loads((out / "meta.json").read_text())
    assert meta["model"] == str(saved)
    assert meta["reference"] == "gold"
    assert meta["vision_tokens"] == 16
    assert meta["versions"]["vlmlens"] == vlmlens.__version__
    assert meta["command"].startswith("vlmlens diagnose")
    assert "<html" in (out / "report.html").read_text()[:500]

    def not_again(cell):
        raise AssertionError("this cell is done")

    monkeypatch.setattr(Cell, "run", not_again)
    code, again, _ = vlmlens_says(*words)
    assert code == 0
    assert again == said
    for name, before in (("results", results), ("psi", psi)):
        xr.testing.assert_equal(xr.load_dataset(out / f"{name}.nc"), before)


@pytest.mark.slow
def test_all_of_it_is_written_and_printed(saved, tmp_path, vlmlens_says):
    out = tmp_path / "all"
    words = ("diagnose", saved, "--all", "--samples", 6, "--out", out, *SMALL)
    code, said, _ = vlmlens_says(*words)
    assert code == 0
    tables = {"summary", "flips", "doses", "designs", "causal", "controls", "linear", "embedding"}
    for name in tables | {"shown"}:
        assert f"{name}: {out / name}.nc" in said
        assert (out / f"{name}.nc").is_file()
    assert "image_entropy" in said
    assert "of 12 (null" in " ".join(said.split())  # 3 layers x 4 heads
    summary = xr.load_dataset(out / "summary.nc")
    assert {"cmb", "cmb_low", "cmb_high", "cmb_p", "cmb_significant"} <= set(summary)


@pytest.mark.slow
def test_a_folder_of_ones_own_images(saved, tmp_path, vlmlens_says):
    photos = tmp_path / "photos [2024]"
    photos.mkdir()
    for n in range(3):
        picture(n, (50, (30, 40, 50)[n])).save(photos / f"{n}.png")
    (photos / "notes.txt").write_text("no picture")
    out = tmp_path / "results"
    question = "What color is the circle?"
    words = ("diagnose", saved, "--data", photos, "--question", question, "--out", out)
    code, said, told = vlmlens_says(*words, *SMALL)
    assert code == 0
    assert "own answers" in " ".join(said.split())
    assert f"3 samples of {photos}" in told.replace("\n", "")
    results = xr.load_dataset(out / "results.nc")
    assert results["sample"].values.tolist() == ["0.png", "1.png", "2.png"]
    assert results["question"].values.tolist() == [question] * 3
    assert (results["correct"].sel(permutation="original") == 1).all()
    assert results.attrs["reference"] == "own"
    assert "accuracy" not in said
    # What the model is not shown, and what was not read, is said and kept.
    assert "is shown 60 to 80 % of the picture in 2 of 3 samples" in " ".join(said.split())
    assert "of the picture in 2 of 3 samples" in (out / "report.html").read_text()
    np.testing.assert_allclose(results["seen"], [0.6, 0.8, 1.0], atol=0.01)
    assert results.attrs["left_out"] == "1: notes.txt"


@pytest.mark.slow
def test_one_missing_answer_is_left_out_by_name(saved, tmp_path, vlmlens_says):
    rows = ["image,question,answer"]
    for n in range(4):
        picture(n, (50, 30)).save(tmp_path / f"{n}.png")
        rows.append(f"{n}.png,What color is the circle?,{'' if n == 2 else 'red'}")
    (tmp_path / "questions.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "results"
    code, said, _ = vlmlens_says("diagnose", saved, "--data", tmp_path, "--out", out, *SMALL)
    assert code == 0
    flat = " ".join(said.split())
    assert "1 of 4 questions have no right answer" in flat and "2.png" in flat
    assert "accuracy" in flat and "own answers" not in flat
    assert xr.load_dataset(out / "psi.nc")["n"][0] == 3
    page = (out / "report.html").read_text()
    assert "1 of 4 questions have no right answer" in page


@pytest.mark.slow
def test_questions_about_one_picture_are_said_to_be(saved, tmp_path, vlmlens_says):
    picture(0, (50, 30)).save(tmp_path / "one.png")
    rows = [f"one.png,What color is the {what}?,red" for what in ("circle", "square", "line")]
    (tmp_path / "questions.csv").write_text("\n".join(["image,question,answer", *rows]) + "\n")
    out = tmp_path / "results"
    code, said, _ = vlmlens_says("diagnose", saved, "--data", tmp_path, "--out", out, *SMALL)
    assert code == 0 and "3 questions about 1 picture" in " ".join(said.split())
    page = (out / "report.html").read_text()
    assert "3 questions about 1 picture" in page
    for shown in (" ".join(said.split()), page):  # and what there is to beware of
        assert "Beware: overall: only 1 picture: " in shown and "no interval" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{model}", "--data", "{here}/nothing"], "no data set"),
        (["{model}", "--data", "{here}/[/red] [odd]"], "[/red] [odd]"),
        (["{model}", "--samples", "0"], "0 samples asked for"),
        (["no-such-model", "--samples", "2"], "no model 'no-such-model'"),
        (["{here}", "--samples", "2"], "without config.json"),
        (["{model}", "--samples", "2", "--dtype", "float33"], "dtype='float33'"),
        (["{model}", "--samples", "2", "--device", "nowhere"], "device='nowhere'"),
        (["{model}", "--samples", "2", "--delta", "0", *map(str, SMALL)], "delta=0"),
        (["{model}", "--data", "{here}/damaged"], "0.png"),
    ],
)
def test_mistakes_are_told_in_one_line(saved, tmp_path, vlmlens_says, words, message):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "0.png").write_bytes(b"")
    words = [word.format(model=saved, here=tmp_path) for word in words]
    out = tmp_path / "results"
    code, said, told = vlmlens_says("diagnose", *words, "--out", out)
    assert code == 2
    assert said == ""
    lines = [line for line in told.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert told.splitlines()[-1] == lines[0]
    assert "Traceback" not in told
    assert not list(tmp_path.glob("results/*.*"))


def test_a_message_of_several_lines_is_told_in_one(vlmlens_says, monkeypatch):
    def fail(*args, **kwargs):
        raise DataError("first [line]\nsecond [/] line")

    monkeypatch.setattr("vlmlens.datasets.load", fail)
    code, _, told = vlmlens_says("diagnose")
    assert code == 2
    assert told == "error: first [line] second [/] line\n"


def test_errors_that_are_not_ours_keep_their_traceback(vlmlens_says, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("vlmlens.datasets.load", fail)
    monkeypatch.setattr(sys, "argv", ["vlmlens", "diagnose"])
    with pytest.raises(ZeroDivisionError):
        cli.app(standalone_mode=False)


def test_results_go_into_a_folder(vlmlens_says, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, _, told = vlmlens_says("diagnose", "--out", tmp_path / "file")
    assert code == 2
    assert "is a file" in " ".join(told.replace("│", " ").split())
    assert (tmp_path / "file").read_text() == "mine"
    code, _, told = vlmlens_says("diagnose", "--out", "")
    assert code == 2
    assert "names no folder" in " ".join(told.replace("│", " ").split())


def test_unknown_options_are_refused(vlmlens_says):
    code, _, told = vlmlens_says("diagnose", "--permutatoins", "3")
    assert code == 2
    assert "permutatoins" in told


def test_the_version(vlmlens_says):
    assert vlmlens_says("--version") == (0, f"vlmlens {vlmlens.__version__}\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diagnose", "--data", "nowhere"], "no data set 'nowhere'"),
        (["diagnose", "--delta", "nan"], "--delta=nan"),
        (["diagnose", "--delta", "inf"], "--delta=inf"),
        (["diagnose", "--revision", "main"], "--revision is for models of the hub"),
        (["diagnose", "{here}", "--trust-remote-code"], "--trust-remote-code is for models of"),
        (["diagnose", "--attention", "flash"], "--attention='flash'; there is: sdpa, eager"),
        (["diagnose", "--seed", "-1"], "greater than or equal to 0"),
        (["check", "--tiny", "llava", "--dtype", "float16"], "dtype: a tiny model is made here"),
    ],
)
def test_what_can_be_known_is_told_before_torch_is_loaded(tmp_path, words, message):
    words = ["vlmlens", *(word.format(here=tmp_path) for word in words)]
    code = f"""
import sys
from vlmlens import cli
sys.argv = {words}
try:
    cli.run()
except SystemExit as end:
    assert end.code == 2
"""
    code += f"\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = python(code)
    told = " ".join(done.stderr.replace("│", " ").split())
    assert message in told
    assert "Traceback" not in told
    if words[1] == "diagnose":
        assert not {"torch", "transformers"} & set(done.stdout.split())


def test_likelihood_without_choices_is_known_before_the_model_is_opened(
    vlmlens_says, tmp_path, monkeypatch
):
    picture(0).save(tmp_path / "a.png")

    def opened(*args, **kwargs):
        raise AssertionError("a model was opened")

    monkeypatch.setattr(vlmlens.HookedVLM, "from_pretrained", opened)
    code, _, told = vlmlens_says("diagnose", "--data", tmp_path, "--scoring", "likelihood")
    assert code == 2
    assert "needs choices with the answer among them" in told


@pytest.mark.parametrize(
    ("stumble", "code", "told"),
    [
        (
            KeyboardInterrupt(),
            130,
            "interrupted; what is finished is kept: run the same command again",
        ),
        (OSError(28, "No space left on device", "results.nc"), 2, "error: No space left on device"),
        (PermissionError(13, "Permission denied", "x"), 2, "error: Permission denied: x"),
    ],
)
def test_interrupts_and_full_disks_end_in_one_line(vlmlens_says, monkeypatch, stumble, code, told):
    def fail(*args, **kwargs):
        raise stumble

    monkeypatch.setattr("vlmlens.datasets.load", fail)
    found, _, said = vlmlens_says("diagnose")
    assert found == code
    assert said.startswith(told)
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_two_diagnoses_are_compared(tmp_path, vlmlens_says):
    for model in ("shapes-base", "shapes-normalize"):
        words = ("diagnose", model, "--samples", 6, "--out", tmp_path / model, "--quiet", *SMALL)
        assert vlmlens_says(*words)[0] == 0
    folders = [tmp_path / "shapes-base", tmp_path / "shapes-normalize"]
    code, said, told = vlmlens_says("compare", *folders, "--out", tmp_path / "both")
    assert (code, told) == (0, "")
    assert said.startswith("#1  shapes-base\n#2  shapes-normalize\n")
    assert "#2 less #1, paired" in said
    assert str(tmp_path / "both" / "compare.html") in said
    table = pd.read_csv(tmp_path / "both" / "compare.csv").set_index(["measure", "model"])
    norms = [xr.load_dataset(folder / "results.nc")["hidden_norm"] for folder in folders]
    ratios = [n.isel(depth=0).sel(role="vision") / n.isel(depth=0).sel(role="user") for n in norms]
    found = table.loc[("norm_first", "shapes-normalize")]
    assert found["difference"] == pytest.approx(float((ratios[1] - ratios[0]).mean()), rel=1e-5)
    assert found["p"] == 2 / 2**6  # all six pictures agree, which is exact
    assert found["paired"] and found["n"] == 6
    again = vlmlens_says(
        "diagnose", "shapes-normalize", "--samples", 6, "--out", tmp_path / "longer", "--quiet",
        "--permutations", 1, "--max-new-tokens", 2,
    )  # fmt: skip
    assert again[0] == 0
    code, said, told = vlmlens_says("compare", folders[0], tmp_path / "longer")
    assert (code, said) == (2, "")
    assert "max_new_tokens is 1 in shapes-base, 2 in shapes-normalize" in told


def test_the_version_is_that_of_the_package():
    said = CliRunner().invoke(cli.app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"vlmlens {vlmlens.__version__}\n")


def test_a_model_that_lacks_its_tools_is_not_downloaded(vlmlens_says, monkeypatch, tmp_path):
    def download(*args, **kwargs):
        raise AssertionError("something was downloaded")

    monkeypatch.setenv("VLMLENS_CACHE", str(tmp_path))
    monkeypatch.setattr("vlmlens.extras.find_spec", lambda name: None)
    monkeypatch.setattr("vlmlens.zoo.smol.fetch_parts", download)
    code, _, told = vlmlens_says("fetch", "smol-llava")
    assert code == 2
    assert "pip install" in told and '[smol]"' in told
    assert told.strip().endswith("nothing was downloaded")


def test_no_line_of_help_ends_in_the_middle(vlmlens_says):
    _, said, _ = vlmlens_says("diagnose", "--help")
    assert "head atlas, residual stream, linear" in " ".join(said.split())
    assert "linear probes,\n" not in said


def test_what_does_not_exist_is_a_dash():
    nan = float("nan")
    assert tables.interval(nan, nan, ".1f") == tables.plain(nan, "g") == "—"
    assert tables.interval(1.25, 2.0, ".1f") == "[1.2, 2.0]"


def test_as_many_may_fail_as_in_python():
    from inspect import signature

    from vlmlens.cli.diagnosing import diagnose
    from vlmlens.experiments.experiment import MAX_FAILED

    assert signature(diagnose).parameters["max_failed"].default == MAX_FAILED
