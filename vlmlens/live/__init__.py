"""The live explorer: a page on which a model is asked and edited by hand."""

from vlmlens.live.exploring import LiveExplorer, explore

__all__ = ["LiveExplorer", "explore"]
