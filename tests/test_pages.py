"""Every code block that users read: Python runs, commands exist, on every page."""

import re
import shlex
import time
from importlib.util import find_spec

import plotly.io
import pytest
import typer
from pages import HOME, NOT_RUN, Block, Faults, blocks, faults, pages
from typer.testing import CliRunner

import vlmlens as vl
from vlmlens import cli
from vlmlens.errors import MissingToolError

pytestmark = pytest.mark.pages

#: Seconds of one core that a page may take.
LIMIT = 120.0
#: Pages whose blocks each run after the first alone, without those between.
ALONE = ("docs/how_do_i.md",)
#: Commands of pages that take little time; those of docs/reproduce.md have a test of their own.
CHEAP = ("vlmlens families",)
PYTHON = [page for page in pages() if blocks(page, "python")]
SHELL = [page for page in pages() if blocks(page, "bash", "sh", "console")]


def name(page):
    return str(page.relative_to(HOME))


@pytest.mark.parametrize("page", PYTHON, ids=name)
def test_every_python_block_of_a_page_runs(page, tmp_path, monkeypatch):
    """In the page's order, in one namespace that begins empty, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plotly.io.renderers, "default", "json")  # .show() opens no browser
    monkeypatch.setenv("VLMLENS_DATA", str(tmp_path / "data"))
    began, names = time.process_time(), {"__name__": "page"}
    first, *rest = blocks(page, "python")
    for block in (first, *rest):
        own = dict(names) if name(page) in ALONE and block is not first else names
        if block.runs:
            try:
                exec(block.compiled(), own)
            except MissingToolError as error:  # a picture without Chromium
                pytest.skip(str(error))
        else:
            block.compiled()
            assert list(faults(block, own)) == [], f"{name(page)}:{block.line}"
    for made in names.values():
        if isinstance(made, vl.HookedVLM):
            made.close()
    assert time.process_time() - began < LIMIT


def test_what_does_not_run_says_why():
    """And it is little: what is not run is looked up, but a number in it is held by nothing."""
    told = [
        block.code.partition("\n")[0].removeprefix(NOT_RUN)
        for page in PYTHON
        for block in blocks(page, "python")
        if not block.runs
    ]
    assert len(told) <= 12
    assert all(re.match(r"it needs \w+", why) for why in told), told


def commands(block):
    """The commands of a block: comments left out, lines that go on joined, paths through."""
    text = block.code.replace("\\\n", " ")
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


APP = typer.main.get_command(cli.app)


def parsed(words):
    """A command of vlmlens, as typer reads it; nothing is run."""
    command = APP.commands.get(words[0]) if words else None
    assert command is not None, f"vlmlens has no command {words[:1]}"
    command.make_context(words[0], list(words[1:]))


@pytest.mark.parametrize("page", SHELL, ids=name)
def test_every_command_of_a_page_exists(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_images").mkdir()
    for name in ("photo.png", "paths.nc"):
        (tmp_path / name).touch()
    (tmp_path / "results" / "swap").mkdir(parents=True)
    rules = set(re.findall(r"^(\w[\w-]*):", (HOME / "Makefile").read_text(), re.MULTILINE))
    for block in blocks(page, "bash", "sh", "console"):
        for words in commands(block):
            if words[0] == "make":
                assert {w for w in words[1:] if "=" not in w} <= rules, words
            elif words[:2] == ["python", "-m"]:
                assert find_spec(words[2]), words
            elif words[0].endswith(".py") or words[0].startswith("."):
                assert (HOME / words[0]).exists(), words
            elif "vlmlens" in words and words[0] != "pip":
                own = words[words.index("vlmlens") + 1 :]
                parsed(own)
                if shlex.join(words) in CHEAP:
                    assert CliRunner().invoke(cli.app, own).exit_code == 0, words
            else:
                assert words[0] in ("pip", "ray", "cd", "python3", "source"), words


def test_a_command_or_an_option_that_is_not_there_is_seen():
    parsed(["diagnose", "shapes-base", "--seed", "1"])
    with pytest.raises(AssertionError, match="no command"):
        parsed(["diagnos", "shapes-base"])
    with pytest.raises(Exception, match="No such option: --sed"):
        parsed(["diagnose", "shapes-base", "--sed", "1"])


BEFORE = "import vlmlens as vl\nmodel = vl.HookedVLM.from_pretrained('x')\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("model.run(inputs)", "nothing on the page makes inputs"),
        ("from vlmlens.probes import cbm", "vlmlens.probes has no cbm"),
        ("from vlmlens import plotz", "vlmlens has no plotz"),
        ("vl.probes.cross_modality_balanse(1)", "vl.probes has no cross_modality_balanse"),
        ("vl.Where(layer=2)", "vl.Where: got an unexpected keyword argument 'layer'"),
        ("model.runn(1)", "model has no runn"),
        ("model.run(1, savee=())", "model.run: got an unexpected keyword argument 'savee'"),
        ("vl.datasets.shapes_2d(1, 2, 3, 4, 5, 6, 7)", "shapes_2d: too many positional"),
        ("model.run([i for i in ()], save=[]).saved; model.cfg; model.hook_dict", None),
        ("vl.HookedVLM.from_pretrained('x', dtype=1, device='cuda')", None),
    ],
)
def test_what_is_not_run_is_looked_up(code, said):
    found = Faults(BEFORE + code, {}).found
    assert found == [] if said is None else said in " ".join(found), found


def test_lines_of_a_block_are_those_of_its_page():
    page = HOME / "README.md"
    block = blocks(page, "python")[0]
    assert isinstance(block, Block)
    assert page.read_text().splitlines()[block.line] == block.code.splitlines()[0]
