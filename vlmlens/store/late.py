"""Files whose names are listed late, as on a network's disk."""

import logging
import time
from collections.abc import Mapping, Sequence

import pyarrow as pa

from vlmlens.store.store import Store

LOG = logging.getLogger(__name__)
#: Seconds before each look for results that there should be.
WAITS = (0.0, 0.1, 0.4, 1.5, 6.0, 22.0)


def settle(store: Store, meant: Mapping[str, Sequence[bytes] | pa.Array]) -> None:
    """Look for files, again and again for a while where some results are in none of them.

    Where a file's name is listed late, those that it took the place of may be gone already.

    Args:
        store: an open store.
        meant: of every condition, keys of samples whose results there should be.
    """
    for wait in WAITS:
        if wait >= 1:
            LOG.warning("finished results are not listed in %s yet; looking again", store.folder)
        time.sleep(wait)
        store.refresh()
        if all(store.has(condition, keys).all() for condition, keys in meant.items()):
            return
