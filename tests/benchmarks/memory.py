"""Peak memory: every byte that torch's allocator hands out and takes back, kernels' scratch too.

The profiler records each of them. A process's high-water mark would count pages that the C library
keeps, and a mode that sees tensors would miss what a kernel allocates for itself.
"""

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile


def peak(run: Callable[[], object]) -> int:
    """The largest number of bytes that a call held at once, beyond what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = run()
    events: Any = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    held = most = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        held += size
        most = max(most, held)
    del kept
    return most


def mebibytes(size: float) -> str:
    """Bytes, to be read."""
    return f"{size / 2**20:.2f} MiB"
