"""Attention to point at: in a notebook, or as one file."""

from vlmlens.plots.interactive.view import Explorer, Selection, explorer

__all__ = ["Explorer", "Selection", "explorer"]
