"""Files that others wrote: rows of tables, and the pictures that they name or hold."""

from vlmlens.datasets.reading.columns import Columns, as_mapping
from vlmlens.datasets.reading.pictures import Base64, InParquet, lookup
from vlmlens.datasets.reading.table_rows import ENDINGS, Row, keyed, only, rows

__all__ = [
    "ENDINGS", "Base64", "Columns", "InParquet", "Row", "as_mapping", "keyed", "lookup", "only",
    "rows",
]  # fmt: skip
