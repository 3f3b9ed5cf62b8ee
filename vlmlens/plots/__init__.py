"""Figures: labelled arrays in, plotly figures out. No model, no torch.

Every function takes what a probe returns, or means and tables of it, and gives a
``plotly.graph_objects.Figure``: ``.show()`` it, ``.write_html()`` it, or go on editing it.
"""

from vlmlens.plots.depth import depth
from vlmlens.plots.explorer import Explorer, explorer
from vlmlens.plots.heads import heads
from vlmlens.plots.norms import norms
from vlmlens.plots.overlay import overlay
from vlmlens.plots.psi import psi

#: Every kind of figure by its name.
PLOTS = {
    "depth": depth,
    "explorer": explorer,
    "heads": heads,
    "norms": norms,
    "overlay": overlay,
    "psi": psi,
}

__all__ = ["PLOTS", "Explorer", "depth", "explorer", "heads", "norms", "overlay", "psi"]
