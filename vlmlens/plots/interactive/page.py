"""The explorer as one file that opens anywhere, and the module and style that it is made of."""

import base64
import html
import json
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent
#: The largest page that a saved notebook holds beside the picture.
MOST_BESIDE = 6_000_000
#: Of the frame in a notebook, in pixels.
HEIGHT = 720
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


def beside(picture: str, whole: str, title: str) -> str:
    """A page in a frame, for a notebook: where no frames are shown, its picture stays.

    Args:
        picture: a PNG in base64.
        whole: the page.
        title: what the picture is of.

    Returns:
        A piece of HTML. Of a page above 6 MB, the picture and how to have the page.
    """
    about = html.escape(title or "attention")
    source = f"data:image/png;base64,{picture}"
    image = f'<img alt="{about}" style="max-width:100%" src="{source}">'
    if len(whole) > MOST_BESIDE:
        size = f"{len(whole) / 1e6:.0f} MB, more than {MOST_BESIDE / 1e6:.0f}"
        return f'{image}<p>The page has {size}: explorer.save("page.html") writes it.</p>'
    # Viewers that forbid frames drop this one whole, and with it what would hide the picture.
    hide = "this.previousElementSibling.style.display='none'"
    look = f"width:100%;height:{HEIGHT}px;border:0"
    return f'{image}<iframe srcdoc="{html.escape(whole)}" onload="{hide}" style="{look}"></iframe>'
