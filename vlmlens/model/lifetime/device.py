"""Where a module computes, which is not always where its weights are."""

from itertools import chain
from typing import Any

import torch
from torch import nn

from vlmlens.checks import shown
from vlmlens.errors import InputError


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


def as_device(given: Any) -> torch.device:
    """A device that holds values.

    Raises:
        InputError: no device, or ``"meta"``, which holds none.
    """
    try:
        device = torch.device(given)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"device={shown(given)}: cpu, cuda, cuda:1, ... ({error})") from error
    if device.type == "meta":
        raise InputError("device='meta' holds no values, so nothing can run: name another")
    return device
