"""Figures as fragments of a page: their data, a place for the drawing, its name and its button."""

import json
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from vlmlens.plots.theme import ON_DARK

#: The height of a figure that says none.
HEIGHT = 450


def environment() -> Environment:
    """Where templates come from; what they show is escaped."""
    found = Environment(
        loader=PackageLoader("vlmlens", "report"),
        autoescape=True,  # questions, answers and names come from anywhere
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["on_dark"] = Markup(inert(json.dumps(ON_DARK)))
    return found


def embedded(name: str, fig: go.Figure, label: str) -> Markup:
    """A figure as a fragment of the page, drawn by ``draw.js`` when it comes near.

    Args:
        name: of its element and of the file that its button saves.
        fig: the figure.
        label: what it shows, for those who do not see it.
    """
    fig.update_layout(dragmode=False, width=None)
    layout: Any = fig.layout
    height = layout.height or HEIGHT
    said = escape(f"{label}. Arrow keys go from point to point.")
    return Markup(
        f'<div class="chart"><div id="figure-{escape(name)}" class="plotly-graph-div" tabindex="0" '
        f'role="img" aria-label="{said}" style="height:{height:g}px"></div>'
        f'<script type="application/json">{inert(pio.to_json(fig, validate=False) or "")}</script>'
        f'<button type="button" class="save" hidden aria-label="Save as PNG: {escape(label)}">'
        "save as PNG</button></div>"
    )


def inert(text: str) -> str:
    """JSON that no browser takes for the end of its element, or for another one."""
    for sign in "<>/":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
