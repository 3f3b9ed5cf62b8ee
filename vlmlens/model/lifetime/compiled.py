"""torch.compile: a pass that nobody watches runs compiled, any other does not.

Compiled code does not call hooks that came after it was made, and says nothing of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from vlmlens.errors import UnsupportedModelError


@contextmanager
def uncompiled(model: Any) -> Iterator[None]:
    """Run everything as it is written while this lasts, where a part of the model is compiled."""
    if any(module._compiled_call_impl is not None for module in model.modules()):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield


def refuse_wrapped(model: Any) -> None:
    """Refuse what ``torch.compile`` and peft return, in which no module is where it was.

    Raises:
        UnsupportedModelError: says what to open instead.
    """
    if isinstance(model, torch.nn.Module) and "_orig_mod" in model._modules:
        raise UnsupportedModelError(
            "this is what torch.compile(model) returned: open the model itself, and compile its "
            "language model in place, model.model.language_model.compile(); watched passes step "
            "out of it"
        )
    if type(model).__module__.partition(".")[0] == "peft":
        raise UnsupportedModelError(
            f"this is peft's {type(model).__name__}, in which no module is where it was: open the "
            "model inside, HookedVLM(peft_model.base_model.model, processor), whose adapter stays "
            "on; or merge the adapter, HookedVLM(peft_model.merge_and_unload(), processor)"
        )
