"""Pages of results: one file each, for people who were not there."""

from vlmlens.report.attended import extremes
from vlmlens.report.beside import diagnoses, side_by_side
from vlmlens.report.evaluated import compare
from vlmlens.report.page import build
from vlmlens.report.several import headlines
from vlmlens.report.spreadsheets import write_tables
from vlmlens.report.stores import from_store
from vlmlens.report.thumbnails import Thumbnail, pictures

__all__ = [
    "Thumbnail",
    "build",
    "compare",
    "diagnoses",
    "extremes",
    "from_store",
    "headlines",
    "pictures",
    "side_by_side",
    "write_tables",
]
