"""Files that others wrote: rows of tables, and the pictures that they name or hold."""

from vlmlens.datasets.reading.pictures import InParquet, lookup
from vlmlens.datasets.reading.table_rows import ENDINGS, Row, rows

__all__ = ["ENDINGS", "InParquet", "Row", "lookup", "rows"]
