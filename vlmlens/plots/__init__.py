"""Figures: labelled arrays in, plotly figures out. No model, no torch.

Every function takes what a probe returns, or means and tables of it, and gives a
``plotly.graph_objects.Figure``: ``.show()`` it, ``.write_html()`` it, or go on editing it.
``explorer`` gives a page to point at, ``write_features`` writes one of many features. ``export``
writes a figure as PNG, SVG, PDF or HTML, ``keep_pictures`` has saved notebooks hold a picture of
each, ``dark`` turns one to light on dark, ``placed`` writes beside values what their positions are,
and ``folded`` lays them onto an image's grid.
"""

from vlmlens.plots.exporting import export
from vlmlens.plots.figures.atlas import atlas
from vlmlens.plots.figures.circuit import circuit
from vlmlens.plots.figures.depth import depth
from vlmlens.plots.figures.dose import dose
from vlmlens.plots.figures.feature import feature
from vlmlens.plots.figures.heads import heads
from vlmlens.plots.figures.lens import lens
from vlmlens.plots.figures.norms import norms
from vlmlens.plots.figures.overlay import overlay
from vlmlens.plots.figures.paths import paths
from vlmlens.plots.figures.psi import psi
from vlmlens.plots.figures.rope import rope
from vlmlens.plots.figures.shares import shares
from vlmlens.plots.figures.similarity import similarity
from vlmlens.plots.figures.steps import steps
from vlmlens.plots.figures.sweep import sweep
from vlmlens.plots.figures.violins import violins
from vlmlens.plots.interactive import Explorer, explorer
from vlmlens.plots.interactive.features import write_features
from vlmlens.plots.keeping import keep_pictures
from vlmlens.plots.picture import folded
from vlmlens.plots.places import placed
from vlmlens.plots.theme import dark

#: Every kind of figure by its name.
PLOTS = {
    "atlas": atlas,
    "circuit": circuit,
    "depth": depth,
    "dose": dose,
    "explorer": explorer,
    "feature": feature,
    "heads": heads,
    "lens": lens,
    "norms": norms,
    "overlay": overlay,
    "paths": paths,
    "psi": psi,
    "rope": rope,
    "shares": shares,
    "similarity": similarity,
    "steps": steps,
    "sweep": sweep,
    "violins": violins,
}

__all__ = [
    "PLOTS",
    "Explorer",
    "atlas",
    "circuit",
    "dark",
    "depth",
    "dose",
    "explorer",
    "export",
    "feature",
    "folded",
    "heads",
    "keep_pictures",
    "lens",
    "norms",
    "overlay",
    "paths",
    "placed",
    "psi",
    "rope",
    "shares",
    "similarity",
    "steps",
    "sweep",
    "violins",
    "write_features",
]
