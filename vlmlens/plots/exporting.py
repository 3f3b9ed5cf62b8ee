"""A figure as a file: PNG, SVG, PDF or HTML."""

from pathlib import Path

from plotly.basedatatypes import BaseFigure

from vlmlens.annotations import checked
from vlmlens.errors import InputError, MissingToolError
from vlmlens.extras import require

STATIC, PAGES = (".png", ".svg", ".pdf"), (".html",)


@checked
def export(
    fig: BaseFigure,
    path: str | Path,
    *,
    width: int = 900,
    height: int | None = None,
    scale: float | int = 2,
) -> Path:
    """Write a figure; the ending of the name says how.

    A page (``.html``) holds plotly.js and opens offline. Pictures are drawn by a browser on this
    machine, through kaleido: ``pip install "vlmlens[png]"``, and Chromium or Chrome.

    Args:
        fig: a figure.
        path: ends in ``.png``, ``.svg``, ``.pdf`` or ``.html``.
        width: in pixels; a page takes the room that it has.
        height: in pixels; by default the figure's own.
        scale: pixels of a PNG for every pixel of the figure.

    Raises:
        InputError: another ending.
        MissingToolError: no kaleido, or no browser that it finds.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.cmb.NEEDS)
        >>> fig = vl.plots.heads(vl.probes.cross_modality_balance(run))
        >>> vl.plots.export(fig, "heads.html").name
        'heads.html'
    """
    path = Path(path)
    if path.suffix.lower() not in (*STATIC, *PAGES):
        raise InputError(
            f"cannot write {path.name!r}: a figure is written as {', '.join((*STATIC, *PAGES))}"
        )
    if path.suffix.lower() in PAGES:
        path.parent.mkdir(parents=True, exist_ok=True)
        fig.write_html(path, include_plotlyjs=True, div_id=path.stem)
        return path
    picture = drawn(
        fig, path.suffix[1:], width=width, height=height or fig.layout.height, scale=scale
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)
    return path


def drawn(
    fig: BaseFigure, form: str, *, width: int, height: int | None, scale: float | int
) -> bytes:
    """A picture of a figure, drawn by a browser on this machine.

    Args:
        fig: a figure.
        form: ``png``, ``svg`` or ``pdf``.
        width: in pixels.
        height: in pixels; None for plotly's own.
        scale: pixels of a PNG for every pixel of the figure.

    Raises:
        MissingToolError: no kaleido, or no browser that it finds.
    """
    require("kaleido", f".{form}", "a page (.html) needs nothing")
    from choreographer.errors import BrowserFailedError, ChromeNotFoundError

    try:
        return fig.to_image(form, width=width, height=height, scale=scale)
    except (ChromeNotFoundError, BrowserFailedError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "hrome" not in str(error):
            raise
        raise MissingToolError(
            f".{form} needs a browser to draw with, and none starts here: install Chromium "
            "(Debian: apt-get install chromium) or run plotly_get_chrome; a page (.html) needs none"
        ) from error
