"""The explorer as one file that opens anywhere, and the module and style that it is made of."""

import base64
import json
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent
#: In the order in which they build on one another; together they are one ES module.
PARTS = ("values.js", "paint.js", "dom.js", "pointing.js", "explorer.js", "widget.js")


def module() -> str:
    """The explorer's JavaScript: plain, whole, and asking nothing of the network."""
    return "\n".join((HERE / part).read_text(encoding="utf-8") for part in PARTS)


def style() -> str:
    """The explorer's style sheet."""
    return (HERE / "explorer.css").read_text(encoding="utf-8")


def page(meta: dict, data: bytes) -> str:
    """One page with everything in it; its own policy forbids it to load anything.

    The same description and weights give the same text. What comes from data is JSON without
    ``<``, which no parser of HTML can end, and is only ever shown as text.
    """
    environment = Environment(
        loader=PackageLoader("vlmlens.plots", "interactive"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html").render(
        title=meta["title"] or "attention",
        style=Markup(style()),
        script=Markup(module()),
        meta=Markup(json.dumps(meta).replace("<", "\\u003c")),
        data=Markup(base64.b64encode(data).decode()),
    )
