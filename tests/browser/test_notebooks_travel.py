"""What a saved notebook still shows: in nbconvert's pages and where nothing runs, offline."""

import base64
import re
from io import BytesIO

import nbformat
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from children import HOME
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image

from vlmlens import plots
from vlmlens.errors import MissingToolError

#: What Jupyter's own libraries warn of is theirs.
pytestmark = [pytest.mark.pages, pytest.mark.filterwarnings("default")]

MADE = f"""import sys
sys.path[:0] = [{HOME!r}, {HOME + "/tests"!r}]
from plots.made import attention
from vlmlens import plots
import numpy as np, xarray as xr
share = xr.DataArray(np.eye(3), dims=("layer", "head"))"""
CELLS = (MADE, "plots.keep_pictures()\nplots.heads(share)", "plots.explorer(attention())")


@pytest.fixture
def renderers():
    before = pio.renderers.default
    yield
    pio.renderers.default = before


def needs_a_browser():
    try:
        plots.keep_pictures()
    except MissingToolError as error:
        pytest.skip(str(error))
    plots.keep_pictures(False)


@pytest.fixture(scope="module")
def notebook():
    """Run, and saved as JupyterLab saves it: without the state of widgets."""
    needs_a_browser()
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    how = {"timeout": 300, "kernel_name": "python3", "store_widget_state": False}
    return NotebookClient(made, **how).execute()


def data(notebook, cell):
    return notebook.cells[cell].outputs[-1]["data"]


def test_every_output_has_a_picture_and_plotlys_or_the_widgets_own_form(notebook):
    figure, explorer = data(notebook, 1), data(notebook, 2)
    for kept, own in (
        (figure, "application/vnd.plotly.v1+json"),
        (explorer, "application/vnd.jupyter.widget-view+json"),
    ):
        assert own in kept
        picture = Image.open(BytesIO(base64.b64decode(kept["image/png"])))
        assert picture.width > 900 and len(picture.convert("RGB").getcolors(10**6)) > 10
    assert "<iframe srcdoc=" in explorer["text/html"]
    assert sum(map(len, map(str, explorer.values()))) < 1_000_000


def test_a_page_of_it_shows_them_without_a_network(notebook, browser, tmp_path):
    page, _ = HTMLExporter().from_notebook_node(notebook)
    (tmp_path / "x.html").write_text(page, encoding="utf-8")
    context = browser.new_context(viewport={"width": 1100, "height": 1300}, offline=True)
    shown = context.new_page()
    shown.goto((tmp_path / "x.html").as_uri())
    frame = shown.frame_locator("iframe")
    frame.locator(".vx[data-ready]").wait_for(timeout=60_000)
    frame.locator(".vx-token", has_text="left").click()  # it answers
    assert shown.locator("img").first.evaluate("image => image.naturalWidth") > 900
    still = shown.locator("iframe + img, img:has(+ iframe)")
    assert still.evaluate("image => image.style.display") == "none"
    context.close()


def test_where_frames_are_taken_out_the_picture_stays(notebook, browser, tmp_path):
    """Where scripts do not run either, as on sites that show what others wrote."""
    page, _ = HTMLExporter().from_notebook_node(notebook)
    page, taken = re.subn(r"<iframe.*?</iframe>", "", page, flags=re.DOTALL)
    assert taken == 1
    (tmp_path / "x.html").write_text(page, encoding="utf-8")
    context = browser.new_context(java_script_enabled=False, offline=True)
    shown = context.new_page()
    shown.goto((tmp_path / "x.html").as_uri())
    widths = [
        image.evaluate("image => image.getBoundingClientRect().width")
        for image in shown.locator("img").all()
    ]
    assert len(widths) >= 2 and min(widths) > 300
    context.close()


def test_pictures_are_kept_until_they_are_not(renderers):
    needs_a_browser()
    before = pio.renderers.default
    plots.keep_pictures()
    plots.keep_pictures()  # twice is once
    bundle = pio.renderers[pio.renderers.default].to_mimebundle(go.Figure().to_plotly_json())
    assert set(bundle) == {"application/vnd.plotly.v1+json", "image/png"}
    plots.keep_pictures(False)
    assert pio.renderers.default == before


def test_without_kaleido_it_says_what_brings_it(renderers, monkeypatch):
    monkeypatch.setattr("vlmlens.extras.find_spec", lambda name: None)
    before = pio.renderers.default
    with pytest.raises(MissingToolError, match="kaleido"):
        plots.keep_pictures()
    assert pio.renderers.default == before
