"""Hooks that somebody put on a model: they change what it computes, and nothing shows it."""

import functools
import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module

from vlmlens.identity.libraries import owner

#: Whose hooks are part of how a model runs.
KNOWN = ("vlmlens", "transformers", "accelerate", "torch")
PLACES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooks_on(model: nn.Module, points: Mapping[str, nn.Module] = types.MappingProxyType({})) -> str:
    """The first place where a hook of somebody's own is on; "" where there is none.

    Args:
        model: every module of it is looked at, and torch's hooks for all modules.
        points: hook points by name: nobody but users leaves a hook on these.

    Examples:
        >>> from vlmlens.identity import hooks_on
        >>> module = torch.nn.Sequential(torch.nn.Linear(2, 2))
        >>> hooks_on(module)
        ''
        >>> handle = module[0].register_forward_hook(lambda module, args, output: None)
        >>> hooks_on(module)
        '0'
    """
    for name, point in points.items():
        if any(vars(point).get(place) for place in PLACES):
            return name
    for place in PLACES:
        if any(map(_is_own, getattr(torch_module, f"_global{place}", {}).values())):
            return "every module"
    for name, module in model.named_modules():
        if any(own_hooks(module)):
            return name or type(module).__name__
    return ""


def own_hooks(module: nn.Module) -> Iterator[Any]:
    """The hooks on one module that are somebody's own."""
    for place in PLACES:
        yield from filter(_is_own, (vars(module).get(place) or {}).values())


def _is_own(hook: Any) -> bool:
    while isinstance(hook, functools.partial | types.MethodType):
        hook = hook.func if isinstance(hook, functools.partial) else hook.__func__
    hook = inspect.unwrap(hook)  # a decorator says nothing of whose it is
    home = hook.__globals__.get("__name__") if isinstance(hook, types.FunctionType) else owner(hook)
    return (home or "").partition(".")[0] not in KNOWN
