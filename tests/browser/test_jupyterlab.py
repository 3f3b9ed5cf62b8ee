"""The explorer in a real JupyterLab: it draws, keeps its keys, and choices come back to Python.

JupyterLab is in the extra ``dev``; another may live in an environment of its own, together with
anywidget and ipywidgets: ``VLMLENS_JUPYTER_LAB=/path/to/jupyter-lab``.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
from plots.made import attention

BESIDE = Path(sys.executable).parent / "jupyter-lab"
LAB = (
    os.environ.get("VLMLENS_JUPYTER_LAB")
    or (str(BESIDE) if BESIDE.exists() else None)
    or shutil.which("jupyter-lab")
)
OPTIONS = (
    "--no-browser",
    "--allow-root",
    "--IdentityProvider.token=",
    "--ServerApp.password=",
    "--LabApp.news_url=",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)


@pytest.fixture
def lab(tmp_path):
    """The address of a server whose notebook shows the explorer; its kernel is this Python."""
    if not LAB:
        pytest.skip("no JupyterLab here: pip install jupyterlab, or set VLMLENS_JUPYTER_LAB")
    attention().to_netcdf(tmp_path / "rows.nc", engine="h5netcdf")
    first = 'import xarray as xr\nfrom vlmlens import plots\nt = xr.load_dataset("rows.nc")\n'
    cells = [
        f"{first}explorer = plots.explorer(t)\nexplorer",
        'print("chosen", explorer.selection)',
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata.kernelspec = {"name": "this", "display_name": "this", "language": "python"}
    nbformat.write(notebook, tmp_path / "x.ipynb")
    spec = tmp_path / "share" / "kernels" / "this" / "kernel.json"
    spec.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": command, "display_name": "this", "language": "python"}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"JUPYTER_PATH": str(tmp_path / "share"), "PYTHONPATH": str(Path.cwd())}
    server = subprocess.Popen(
        [LAB, *OPTIONS, f"--port={port}", f"--ServerApp.root_dir={tmp_path}"],
        env=os.environ | places,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(address):
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api").close()
            return
        except urllib.error.URLError:
            time.sleep(0.5)
    pytest.fail("JupyterLab did not start")


@pytest.mark.pages
def test_choices_come_back_and_keys_stay(lab, browser, shot):
    context = browser.new_context(viewport={"width": 1500, "height": 1100})
    page = context.new_page()
    left = []
    page.on("request", lambda r: None if _stays(r.url, lab) else left.append(r.url))
    page.goto(f"{lab}/lab/tree/x.ipynb")
    page.locator(".jp-Notebook .jp-CodeCell").first.click(timeout=120_000)
    page.wait_for_function("document.querySelector('.jp-Notebook .cm-content') !== null")
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector(".vx[data-ready]", timeout=120_000)
    page.locator(".vx-token", has_text="left").click()
    page.locator(".vx-map").focus()
    page.keyboard.press("ArrowRight")  # the first head
    page.keyboard.press("m")  # the mean of all heads; for JupyterLab, a cell of text
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")  # not the cell above
    assert page.locator(".vx").count() == 1
    page.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".jp-InputArea-editor").click()
    page.keyboard.press("Shift+Enter")
    said = page.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".jp-OutputArea-output")
    said.wait_for(timeout=30_000)
    assert "Selection(run='attention', layer=1, head=0, position=10, area=())" in said.inner_text()
    shot(page, "explorer-jupyterlab")
    context.close()
    assert not left, left


def _stays(url, address):
    return url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:", "about:"))
