"""What torch's own methods of a module do on a model that is wrapped: on its model, or not at all.

The wrapper holds no parameters: torch's methods would find none, and say nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformer_lens.HookedRootModule import HookedRootModule

from vlmlens.checks import shown
from vlmlens.errors import InputError

#: Done by the model that is held.
HANDED = (
    "apply",
    "buffers",
    "children",
    "eval",
    "get_buffer",
    "get_extra_state",
    "get_parameter",
    "get_submodule",
    "load_state_dict",
    "modules",
    "named_buffers",
    "named_children",
    "named_modules",
    "named_parameters",
    "parameters",
    "register_backward_hook",
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
    "register_load_state_dict_post_hook",
    "register_load_state_dict_pre_hook",
    "register_state_dict_post_hook",
    "register_state_dict_pre_hook",
    "requires_grad_",
    "state_dict",
    "train",
    "zero_grad",
)
#: Those of them that change nothing, also where the wrapper is closed.
READING = (
    "buffers",
    "children",
    "get_buffer",
    "get_extra_state",
    "get_parameter",
    "get_submodule",
    "modules",
    "named_buffers",
    "named_children",
    "named_modules",
    "named_parameters",
    "parameters",
    "state_dict",
)
#: Done by ``_apply``, which goes to the model that is held.
APPLIED = (
    "bfloat16",
    "cpu",
    "cuda",
    "double",
    "float",
    "half",
    "ipu",
    "mtia",
    "share_memory",
    "to",
    "to_empty",
    "type",
    "xpu",
)
_PARTS = "the wrapper has no parts of its own; do this to model.hf_model, and wrap it again"
#: Refused, and why.
REFUSED = {
    "add_module": _PARTS,
    "compile": "compile a part of the model in place, for example "
    "model.hf_model.model.language_model.compile(): watched passes step out of it",
    "register_buffer": _PARTS,
    "register_module": _PARTS,
    "register_parameter": _PARTS,
    "set_extra_state": _PARTS,
    "set_submodule": _PARTS,
    "setup": "the points are wired already",
}
#: What the wrapper does itself.
OWN = ("extra_repr", "forward")


class AsModule(HookedRootModule):
    """A module whose torch methods go to the model that it holds, until it is closed."""

    hf_model: Any
    check_open: Callable[[], None]  # of HookedVLM

    @property
    def training(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the model that is held trains."""
        return self.hf_model.training

    @training.setter
    def training(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        if (held := self.__dict__.get("hf_model")) is not None:  # torch sets it before there is one
            self.check_open()
            held.training = value

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module | nn.Parameter):
            raise InputError(f"setting {name} would act on nothing: {_PARTS}")
        super().__setattr__(name, value)

    def _apply(self, fn: Callable, recurse: bool = True) -> "AsModule":
        self.check_open()
        self.hf_model._apply(fn, recurse)
        return self


def _handed(name: str) -> Callable:
    def method(self: AsModule, *args: Any, **kwargs: Any) -> Any:
        if name not in READING:
            self.check_open()
        made = getattr(self.hf_model, name)(*args, **kwargs)
        return self if made is self.hf_model else made

    method.__name__, method.__doc__ = name, f"``{name}`` of the model that is held."
    return method


def _applied(name: str) -> Callable:
    def method(self: AsModule, *args: Any, **kwargs: Any) -> Any:
        self.check_open()
        try:
            return getattr(HookedRootModule, name)(self, *args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            given = ", ".join([*map(shown, args), *(f"{k}={shown(v)}" for k, v in kwargs.items())])
            raise InputError(f"{name}({given}) cannot be done: {error}") from error

    method.__name__, method.__doc__ = name, f"``{name}`` of the model that is held."
    return method


def _refused(name: str, why: str) -> Callable:
    def method(self: AsModule, *args: Any, **kwargs: Any) -> Any:
        self.check_open()
        raise InputError(f"{name} would act on nothing: {why}")

    method.__name__, method.__doc__ = name, f"Refused: {why}."
    return method


for _name in HANDED:
    setattr(AsModule, _name, _handed(_name))
for _name in APPLIED:
    setattr(AsModule, _name, _applied(_name))
for _name, _why in REFUSED.items():
    setattr(AsModule, _name, _refused(_name, _why))
