"""Where a module computes, which is not always where its weights are."""

from itertools import chain
from typing import Any

import torch
from torch import nn


def device_of(module: nn.Module) -> torch.device:
    """The device a module computes on.

    Offloaded weights are on ``meta`` between passes; accelerate's hook knows where they will be.
    """
    hook: Any = getattr(module, "_hf_hook", None)
    for one in (hook, *getattr(hook, "hooks", ())):
        device = getattr(one, "execution_device", None)
        if device is not None:
            return torch.device(device)
    tensor = next(chain(module.parameters(), module.buffers()), torch.empty(0))
    return torch.device("cpu") if tensor.is_meta else tensor.device
