"""The pages on benchmarks run as they stand, on the bundled models."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from conftest import by_turns
from published_files import PUBLISHED
from typer.testing import CliRunner

from vlmlens import cli
from vlmlens.datasets.benchmarks import BENCHMARKS
from vlmlens.evaluation.conditions import conditions_of
from vlmlens.graders import GRADERS

PAGE = Path(__file__).parents[2] / "docs" / "reproduce.md"
COMMANDS = re.findall(r"```bash\nvlmlens (.*?)\n```", PAGE.read_text(), re.DOTALL)
LARGE, SMALL = COMMANDS[::2], COMMANDS[1::2]


def options(command):
    """Option -> what is given for it, as often as it is."""
    found = {}
    for name, value in pairwise(shlex.split(command)[1:]):
        if name.startswith("--"):
            found.setdefault(name, []).append(value)
    return found


def test_every_table_has_a_command_for_large_models_and_one_for_small():
    assert len(LARGE) == len(SMALL) == 7
    for large, small in zip(LARGE, SMALL, strict=True):
        assert "7b" in large and "shapes-base" in small
        assert options(large)["--out"] == options(small)["--out"]


def named(command):
    return Path(options(command)["--out"][0]).name


@pytest.mark.parametrize("command", LARGE, ids=named)
def test_commands_for_large_models_name_what_there_is(command):
    given = options(command)
    conditions_of(given["--conditions"][0])
    for data in given["--data"]:
        name, _, split = data.partition(":")
        BENCHMARKS[name].split(split)
    for prompt in given.get("--prompt", []):
        name, _, form = prompt.partition("/")
        assert name in {data.partition(":")[0] for data in given["--data"]}
        BENCHMARKS[name].prompt(form)


@pytest.mark.pages
@pytest.mark.parametrize(
    "command", by_turns(SMALL, SMALL[:2]), ids=lambda c: Path(options(c)["--out"][0]).name
)
def test_commands_for_small_models_run(command, tmp_path, monkeypatch):
    for name, (key, *_, write) in PUBLISHED.items():
        if "hub" in name or key == "2ds":
            write(tmp_path / "data" / key)
    monkeypatch.setenv("VLMLENS_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, shlex.split(command))
    assert done.exit_code == 0, done.output
    given = options(command)
    out = tmp_path / given["--out"][0]
    metrics = pd.read_csv(out / "metrics.csv")
    assert set(metrics["condition"]) == set(given["--conditions"][0].split(","))
    assert len(set(metrics["data"])) == len(given["--data"])
    permuted = [c for c in set(metrics["condition"]) if c.startswith("permuted")]
    psi = (out / "psi.csv").read_text().splitlines()
    assert (len(psi) > 1) == bool(permuted)


@pytest.mark.pages
def test_the_page_on_benchmarks_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    (block,) = re.findall(
        r"```python\n(.*?)```", PAGE.with_name("evaluate.md").read_text(), re.DOTALL
    )
    exec(compile(block, "evaluate.md", "exec"), names)
    assert len(names["found"].psi) > 1 and (tmp_path / "results/mine/items.parquet").is_file()
    assert set(names["again"].items["rule"]) == {GRADERS["contains"].label}
