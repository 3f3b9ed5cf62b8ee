"""What a notebook shows: inputs and runs, and the boxes and tables that all such views are made of.

Text from data is escaped, and nothing is loaded: pictures come along as bytes.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any

from PIL import Image

from vlmlens.layout import TokenLayout
from vlmlens.palette import ROLE_COLOURS
from vlmlens.sample import Sample

SHOWN_SAMPLES, THUMBNAIL = 3, 140
BOX = (
    "font:13px/1.5 system-ui,sans-serif;border:1px solid #8884;border-radius:8px;"
    "padding:10px 14px;max-width:860px"
)
MUTED = "opacity:.65"


def of_inputs(
    layouts: Sequence[TokenLayout], samples: Sequence[Sample], tensors: Mapping[str, Any]
) -> str:
    """The first samples: their pictures, and their tokens coloured by role."""
    parts = []
    for at, layout in enumerate(layouts[:SHOWN_SAMPLES]):
        pictures = samples[at].pictures() if samples else []
        shown = "".join(map(_thumbnail, pictures))
        parts.append(
            f'<div style="display:flex;gap:12px;margin:8px 0;align-items:flex-start">{shown}'
            f"<div>{_tokens(layout)}</div></div>"
        )
    left = len(layouts) - SHOWN_SAMPLES
    if left > 0:
        parts.append(f'<p style="{MUTED};margin:4px 0">and {left} more</p>')
    roles = [role for role in ROLE_COLOURS if any(role in lay.roles for lay in layouts)]
    legend = " ".join(f'<span style="{_underline(role)}">{role}</span>' for role in roles)
    rows = [(name, str(tuple(t.shape)), str(t.dtype)) for name, t in tensors.items()]
    return box(
        f"Inputs: {_counted(len(layouts), 'sample')}",
        f'<p style="margin:4px 0">{legend}</p>'
        + "".join(parts)
        + details("tensors", table(("tensor", "shape", "dtype"), rows)),
    )


def of_run(layouts: Sequence[TokenLayout], logits: Any, saved: Any, attention: str) -> str:
    """What a pass gave: the shape of its logits, and what was saved."""
    told = {
        "inputs": ", ".join(repr(layout) for layout in layouts[:SHOWN_SAMPLES]),
        "logits": " x ".join(map(str, logits.shape)) + " (batch, pos, vocab)",
        "attention": attention,
    }
    rows = [
        (name, " ".join(saved.axes.get(name, ())), str(tuple(tensor.shape)))
        for name, tensor in saved.items()
    ]
    size = sum(t.numel() * t.element_size() for t in saved.values())
    title = f"saved: {_counted(len(rows), 'point')}, {size / 2**20:.1f} MiB"
    kept = details(title, table(("point", "axes", "shape"), rows)) if rows else ""
    nothing = "" if rows else f'<p style="{MUTED};margin:4px 0">nothing was saved</p>'
    return box(f"Run: {_counted(len(layouts), 'sample')}", facts(told) + nothing + kept)


def of_generation(asked: Sequence[str], texts: Sequence[str], steps: int) -> str:
    """What was asked and what was said, of the first samples."""
    rows = list(zip(asked, texts, strict=True))[:20]
    left = len(texts) - len(rows)
    more = f'<p style="{MUTED};margin:4px 0">and {left} more</p>' if left > 0 else ""
    title = f"Generation: {_counted(len(texts), 'sample')}, {_counted(steps, 'step')}"
    return box(title, table(("asked", "said"), rows) + more)


def _tokens(layout: TokenLayout) -> str:
    pieces, image, turn = [], -1, -1
    for at, token in enumerate(layout.tokens):
        role, which = layout.roles[at], int(layout.image[at])
        if role == "pad":
            continue
        if layout.turns > 1 and layout.turn[at] > turn:
            turn = int(layout.turn[at])
            pieces.append(f'<span style="flex-basis:100%;{MUTED}">turn {turn}</span>')
        if which < 0:
            pieces.append(f'<span style="{_underline(role)}">{escape(_visible(token))}</span>')
        elif which != image:
            image = which
            count = int(((layout.image == which) & ~layout.mask("pad")).sum())
            pieces.append(
                f'<span style="{_underline(role)};{MUTED}">image {which}: {count} patches</span>'
            )
    return f'<div style="display:flex;flex-wrap:wrap;gap:3px 2px">{"".join(pieces)}</div>'


def _visible(token: str) -> str:
    return token.replace("\n", "⏎").strip() or ("␣" if token else "∅")


def _underline(role: str) -> str:
    return f"padding:0 3px;border-bottom:2.5px solid {ROLE_COLOURS[role]}"


def _thumbnail(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = BytesIO()
    small.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" src="data:image/png;base64,{data}" style="border-radius:4px;margin:0">'


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def facts(given: Mapping[str, str]) -> str:
    """Names, each with its fact."""
    rows = "".join(
        f'<span style="{MUTED}">{escape(name)}</span><span>{escape(fact)}</span>'
        for name, fact in given.items()
    )
    return (
        f'<div style="display:grid;grid-template-columns:max-content 1fr;gap:0 14px">{rows}</div>'
    )


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under names."""
    style = "text-align:left;padding:1px 14px 1px 0;vertical-align:top"

    def cell(kind: str, text: str) -> str:
        return f'<{kind} style="{style}">{escape(text)}</{kind}>'

    head = "".join(cell("th", name) for name in names)
    body = "".join("<tr>" + "".join(cell("td", each) for each in row) + "</tr>" for row in rows)
    look = "border-collapse:collapse;margin:4px 0;font:inherit"
    return f'<table style="{look}"><tr>{head}</tr>{body}</table>'


def details(summary: str, inner: str) -> str:
    """What opens when it is clicked."""
    shown = f'<summary style="cursor:pointer">{escape(summary)}</summary>'
    return f'<details style="margin-top:6px">{shown}{inner}</details>'


def box(title: str, inner: str) -> str:
    """A frame with a title."""
    heading = f'<div style="font-weight:600;margin-bottom:4px">{escape(title)}</div>'
    return f'<div style="{BOX}">{heading}{inner}</div>'
