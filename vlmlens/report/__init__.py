"""The page that ``vlmlens diagnose`` writes: one file, to be opened anywhere, offline."""

from vlmlens.report.build import build

__all__ = ["build"]
