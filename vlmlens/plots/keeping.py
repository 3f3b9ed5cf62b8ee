"""Figures in a notebook that is read elsewhere: a picture beside what plotly draws."""

import base64
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from plotly.io.base_renderers import MimetypeRenderer

from vlmlens.annotations import checked
from vlmlens.errors import MissingToolError
from vlmlens.extras import require
from vlmlens.plots.exporting import drawn

NAME = "vlmlens"
PLOTLY = "application/vnd.plotly.v1+json"


@checked
def keep_pictures(keep: bool = True) -> None:
    """Have every figure that a notebook shows from now on leave a picture in the saved notebook.

    Plotly's own form is drawn by JupyterLab, VS Code, Colab and marimo; GitHub and pages of
    nbconvert show the picture. It is drawn by a browser on this machine, as ``export`` does, which
    takes a second or two for each figure. It acts in this process, on all figures of plotly.

    Args:
        keep: False puts back what showed figures before.

    Raises:
        MissingToolError: no kaleido, or no browser that it finds.

    Examples:
        >>> vl.plots.keep_pictures()  # at the top of a notebook
        >>> vl.plots.keep_pictures(False)
    """
    now = pio.renderers.default
    before = pio.renderers[NAME].before if now == NAME else now
    if not keep:
        pio.renderers.default = before
        return
    require("kaleido", "a picture of a figure")
    drawn(go.Figure(), "png", width=64, height=64, scale=1)  # which says so where nothing draws
    pio.renderers[NAME] = Keeping(before)
    pio.renderers.default = NAME


class Keeping(MimetypeRenderer):
    """Plotly's own form of a figure, and its picture.

    Attributes:
        before: what showed figures before.
    """

    def __init__(self, before: str | None) -> None:
        self.before = before

    def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, Any]:
        """Both; where a single picture cannot be drawn, plotly's own form."""
        bundle = dict(pio.renderers["plotly_mimetype"].to_mimebundle(fig_dict))
        height = fig_dict.get("layout", {}).get("height")
        try:
            picture = drawn(go.Figure(fig_dict), "png", width=900, height=height, scale=2)
        except MissingToolError:
            return bundle
        return bundle | {"image/png": base64.b64encode(picture).decode()}
