"""The explorer in a notebook: an anywidget, whose choices come back to Python."""

import anywidget
import traitlets

from vlmlens.plots.interactive.page import module, style


class Widget(anywidget.AnyWidget):
    """One explorer on one page; the same drawing as the saved file."""

    _esm = module()
    _css = style()
    meta = traitlets.Unicode().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)
    chosen = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
