"""The store: finished results in one folder, as Parquet files that name their own checksums."""

from vlmlens.store.accepting import LOOSE, accept_versions, accepts, like
from vlmlens.store.asked import Running, note
from vlmlens.store.atomic import make, sweep_parts, unwritable, whole
from vlmlens.store.claims import Claims
from vlmlens.store.rows import RAGGED, canonical, tight
from vlmlens.store.shards import KEY_BYTES, KEYS, Shard
from vlmlens.store.store import Condition, Store

__all__ = [
    "KEYS",
    "KEY_BYTES",
    "LOOSE",
    "RAGGED",
    "Claims",
    "Condition",
    "Running",
    "Shard",
    "Store",
    "accept_versions",
    "accepts",
    "canonical",
    "like",
    "make",
    "note",
    "sweep_parts",
    "tight",
    "unwritable",
    "whole",
]
