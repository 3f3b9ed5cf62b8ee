"""Every chapter runs by itself, and keeps what chapters promise; their hidden solutions run too.

A chapter is run in an empty folder, so that it needs nothing of the repository: a user who has
installed the package can read it as well.
"""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from children import ran
from nbclient import NotebookClient

pytestmark = pytest.mark.pages

ROOT = Path(__file__).parents[1]


def number(path):
    """A chapter's number, by which it is read; what has none comes last."""
    word = path.stem.partition("_")[0]
    return (int(word) if word.isdecimal() else 99, path.stem)


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"), key=number)
CHAPTERS = [path for path in NOTEBOOKS if number(path)[0] < 99]
#: What a library tells its own users, and not those of vlmlens.
WARNED = re.compile(r"Warning|deprecated", re.IGNORECASE)
#: Colab opens a notebook that is uploaded there; the cell after it brings the package.
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/)"
)
INSTALL = """\
import importlib.util

if importlib.util.find_spec("vlmlens") is None:  # on Colab: upload this notebook, then run this
    %pip install --quiet "vlmlens[probes]\""""
#: Trained models that the package alone does not bring.
BESIDE = ("shapes-staged", "shapes-normalize", "shapes-multilayer", "shapes-both")
HIDDEN = re.compile(r"<details>\s*<summary>[^<]+</summary>\s*(.*?)</details>", re.DOTALL)
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
#: Seconds of one core that a chapter may take; the issue asks for less than two minutes.
LONGEST = 120
TIMED = "import time\n\nprint(time.process_time())"
DRAWN = ("application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json", "image/png")


def solutions(cell):
    """The code that a cell hides; nothing where it hides none."""
    if cell.cell_type != "markdown":
        return []
    return [code for hidden in HIDDEN.findall(cell.source) for code in BLOCK.findall(hidden)]


def solved(notebook):
    """The notebook with every hidden solution as cells of its own, and its time at the end."""
    cells = []
    for cell in notebook.cells:
        cells += [cell, *map(nbformat.v4.new_code_cell, solutions(cell))]
    notebook.cells = [*cells, nbformat.v4.new_code_cell(TIMED)]
    return notebook


def printed(cells, stream):
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return "".join(output["text"] for output in outputs if output.get("name") == stream)


def test_there_are_some_and_the_page_lists_them():
    assert len(CHAPTERS) >= 2
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert re.findall(r"`notebooks/([\w.]+\.ipynb)`", page) == [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.name)
def test_a_chapter_asks_and_answers(path):
    first, install, *rest = nbformat.read(path, as_version=4).cells
    title, badge, question = [line for line in first.source.splitlines() if line][:3]
    assert title.startswith(f"# {number(path)[0]}. ")
    assert badge == BADGE
    assert "?" in question, "a chapter opens with its question"
    beside = any(name in cell.source for cell in rest for name in BESIDE)
    assert install.source == INSTALL + " vlmlens-models" * beside
    titles = [line for cell in rest for line in cell.source.splitlines() if line[:3] == "## "]
    assert titles[-2:] == ["## The answer", "## Exercise"]
    assert solutions(rest[-1]), "an exercise hides its solution in <details>"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.name)
def test_solutions_are_formatted_like_other_code(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for code in solutions(cell):
            ran(sys.executable, "-m", "ruff", "format", "--diff", "-", input=code, cwd=ROOT)


@pytest.mark.filterwarnings("default")  # what Jupyter's own libraries warn of is theirs
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_runs_and_is_committed_without_outputs(path, monkeypatch, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "strip the outputs"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # The stored results of the study are read from the repository.
    where = str(tmp_path if path in CHAPTERS else ROOT)
    done = NotebookClient(
        solved(notebook),
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": where}},
    ).execute()
    red = printed(done.cells, "stderr")
    assert not WARNED.search(red), red
    assert float(printed(done.cells[-1:], "stdout")) < LONGEST
    shown = [output.get("data", {}) for cell in done.cells for output in cell.get("outputs", ())]
    assert sum(any(kind in data for kind in DRAWN) for data in shown) >= 2, "a figure an idea"
