"""Batches of a size found by trying: halved when memory runs out, and nothing is lost."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from vlmlens.tensors import out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_batches(
    run: Callable[[Sequence[Item]], Result], items: Sequence[Item], size: int
) -> Iterator[Result]:
    """Run items in batches, in order; a batch that does not fit into memory is halved.

    Args:
        run: what to do with a batch; it must be repeatable.
        items: what is to be dealt into batches.
        size: how many at once, to begin with. What once did not fit is not tried again.

    Raises:
        MemoryError: as torch raises it, where a single item does not fit.

    Examples:
        >>> from vlmlens.model import in_batches
        >>> list(in_batches(sum, [1, 2, 3, 4, 5], size=2))
        [3, 7, 5]
        >>> def small(items):
        ...     if len(items) > 1:
        ...         raise MemoryError
        ...     return items[0]
        >>> list(in_batches(small, "abc", size=3))
        ['a', 'b', 'c']
    """
    start = 0
    while start < len(items):
        some = items[start : start + size]
        try:
            result = run(some)
        except (RuntimeError, MemoryError) as error:  # torch's own is a RuntimeError
            if len(some) == 1 or not out_of_memory(error):
                raise
            size = len(some) // 2
        else:
            start += len(some)
            yield result
            continue
        # Only now, out of the handler: the traceback held on to what the batch had made.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
