"""torch.compile: a pass that nobody watches runs compiled, any other does not.

Compiled code does not call hooks that came after it was made, and says nothing of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def uncompiled(model: Any) -> Iterator[None]:
    """Run everything as it is written while this lasts, where a part of the model is compiled."""
    if any(module._compiled_call_impl is not None for module in model.modules()):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield
