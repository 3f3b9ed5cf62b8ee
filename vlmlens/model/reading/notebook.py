"""What a notebook shows of a model, of inputs and of a run: all of it is written here.

Text from data is escaped, and nothing is loaded: pictures come along as bytes.
"""

import base64
from collections import Counter
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image

from vlmlens.layout import TokenLayout
from vlmlens.palette import ROLE_COLOURS

if TYPE_CHECKING:
    from vlmlens.model.hooked import HookedVLM
    from vlmlens.model.passes.run import Generation, Run
    from vlmlens.model.sequence.samples import Inputs

SHOWN_SAMPLES, THUMBNAIL = 3, 140
BOX = (
    "font:13px/1.5 system-ui,sans-serif;border:1px solid #8884;border-radius:8px;"
    "padding:10px 14px;max-width:860px"
)
MUTED = "opacity:.65"


def model_html(vlm: "HookedVLM", closed: bool) -> str:
    """The parts of a model and its points."""
    text = vlm.config.get_text_config()
    parameters = sum(p.numel() for p in vlm.hf_model.parameters())
    facts = {
        "family": vlm.config.model_type,
        "language model": f"{vlm.layers} layers x {text.num_attention_heads} heads, "
        f"d_model {text.hidden_size}",
        "parameters": f"{parameters:,}, {vlm.hf_model.dtype}, on {vlm.device}",
        "attention": vlm.attention,
    }
    kinds: Counter[str] = Counter()
    for name in vlm.hook_dict:
        kinds[".".join("*" if part.isdigit() else part for part in name.split("."))] += 1
    rows = [
        (name, " ".join(vlm.hook_dict[name.replace("*", _first(vlm, name))].axes), str(count))
        for name, count in kinds.items()
    ]
    state = " (closed)" if closed else ""
    return _box(
        f"HookedVLM: {vlm.name}{state}",
        _facts(facts)
        + _details(f"{len(vlm.hook_dict)} points", _table(("point", "axes", "layers"), rows)),
    )


def inputs_html(inputs: "Inputs") -> str:
    """The first samples: their pictures, and their tokens coloured by role."""
    parts = []
    for at, layout in enumerate(inputs.layouts[:SHOWN_SAMPLES]):
        pictures = inputs.samples[at].pictures() if inputs.samples else []
        shown = "".join(map(_thumbnail, pictures))
        parts.append(
            f'<div style="display:flex;gap:12px;margin:8px 0;align-items:flex-start">{shown}'
            f"<div>{_tokens(layout)}</div></div>"
        )
    left = len(inputs) - SHOWN_SAMPLES
    if left > 0:
        parts.append(f'<p style="{MUTED};margin:4px 0">and {left} more</p>')
    roles = [role for role in ROLE_COLOURS if any(role in lay.roles for lay in inputs.layouts)]
    legend = " ".join(f'<span style="{_underline(role)}">{role}</span>' for role in roles)
    rows = [(name, str(tuple(t.shape)), str(t.dtype)) for name, t in inputs.tensors.items()]
    return _box(
        f"Inputs: {_counted(len(inputs), 'sample')}",
        f'<p style="margin:4px 0">{legend}</p>'
        + "".join(parts)
        + _details("tensors", _table(("tensor", "shape", "dtype"), rows)),
    )


def run_html(run: "Run") -> str:
    """What a pass gave: the shape of its logits, and what was saved."""
    facts = {
        "inputs": ", ".join(repr(layout) for layout in run.inputs.layouts[:SHOWN_SAMPLES]),
        "logits": " x ".join(map(str, run.logits.shape)) + " (batch, pos, vocab)",
        "attention": run.attention,
    }
    rows = [
        (name, " ".join(run.saved.axes.get(name, ())), str(tuple(tensor.shape)))
        for name, tensor in run.saved.items()
    ]
    size = sum(t.numel() * t.element_size() for t in run.saved.values())
    saved = f"saved: {_counted(len(rows), 'point')}, {size / 2**20:.1f} MiB"
    table = _details(saved, _table(("point", "axes", "shape"), rows)) if rows else ""
    nothing = "" if rows else f'<p style="{MUTED};margin:4px 0">nothing was saved</p>'
    return _box(f"Run: {_counted(len(run.inputs), 'sample')}", _facts(facts) + nothing + table)


def generation_html(said: "Generation") -> str:
    """What was asked and what was said."""
    asked = [sample.question for sample in said.inputs.samples] or [""] * len(said.inputs)
    texts = said.texts or tuple(str(ids) for ids in said.tokens.tolist())
    rows = list(zip(asked, texts, strict=True))[:20]
    left = len(texts) - len(rows)
    more = f'<p style="{MUTED};margin:4px 0">and {left} more</p>' if left > 0 else ""
    title = f"Generation: {_counted(len(texts), 'sample')}, {_counted(len(said.steps), 'step')}"
    return _box(title, _table(("asked", "said"), rows) + more)


def _first(vlm: Any, kind: str) -> str:
    """The number of the first block that offers such a point."""
    head, _, tail = kind.partition("*")
    found = (n for n in vlm.hook_dict if n.startswith(head) and n.endswith(tail))
    return next(found)[len(head) :].removesuffix(tail) if "*" in kind else ""


def _tokens(layout: TokenLayout) -> str:
    pieces, image = [], -1
    for at, token in enumerate(layout.tokens):
        role, which = layout.roles[at], int(layout.image[at])
        if role == "pad":
            continue
        if which < 0:
            pieces.append(f'<span style="{_underline(role)}">{escape(_visible(token))}</span>')
        elif which != image:
            image = which
            count = int((layout.image == which).sum())
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


def _facts(facts: dict[str, str]) -> str:
    rows = "".join(
        f'<span style="{MUTED}">{escape(name)}</span><span>{escape(fact)}</span>'
        for name, fact in facts.items()
    )
    return (
        f'<div style="display:grid;grid-template-columns:max-content 1fr;gap:0 14px">{rows}</div>'
    )


def _table(names: tuple[str, ...], rows: list) -> str:
    style = "text-align:left;padding:1px 14px 1px 0;vertical-align:top"

    def cell(kind: str, text: str) -> str:
        return f'<{kind} style="{style}">{escape(text)}</{kind}>'

    head = "".join(cell("th", name) for name in names)
    body = "".join("<tr>" + "".join(cell("td", each) for each in row) + "</tr>" for row in rows)
    look = "border-collapse:collapse;margin:4px 0;font:inherit"
    return f'<table style="{look}"><tr>{head}</tr>{body}</table>'


def _details(summary: str, inner: str) -> str:
    shown = f'<summary style="cursor:pointer">{escape(summary)}</summary>'
    return f'<details style="margin-top:6px">{shown}{inner}</details>'


def _box(title: str, inner: str) -> str:
    heading = f'<div style="font-weight:600;margin-bottom:4px">{escape(title)}</div>'
    return f'<div style="{BOX}">{heading}{inner}</div>'
