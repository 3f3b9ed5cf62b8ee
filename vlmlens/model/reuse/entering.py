"""The language model's blocks, watched from outside: what it is handed, and what enters each."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn

from vlmlens.errors import InputError
from vlmlens.model.wiring.wire import EMBEDS, take_off
from vlmlens.model.wiring.wired import Wired


def language_model(vlm: Wired) -> Any:
    """The module that runs the language model's blocks."""
    return vlm.hf_model.get_submodule(vlm.family.lm_layers.rpartition(".")[0])


def blocks_of(vlm: Wired) -> list[nn.Module]:
    """The language model's blocks."""
    return list(vlm.hf_model.get_submodule(vlm.family.lm_layers))


def refuse_hooks(vlm: Wired) -> None:
    """Refuse hooks that somebody left on: they would see, and could change, what is kept.

    Raises:
        InputError: says where they are.
    """
    if hooked := [name for name, point in vlm.hook_dict.items() if point.hooked]:
        raise InputError(
            f"hooks are on at {', '.join(hooked[:3])}{' ...' * (len(hooked) > 3)}: a pass that "
            "others start from is a clean one; model.reset_hooks() takes them off"
        )


@contextmanager
def handed_to(vlm: Wired, given: dict[str, Any]) -> Iterator[None]:
    """Note what the language model is handed, while this lasts."""
    module = language_model(vlm)

    def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
        if vlm.running:
            given.update(kwargs)

    with vlm.noted(partial(take_off, module, hook)):
        module.register_forward_pre_hook(hook, with_kwargs=True)
        yield


@contextmanager
def before(vlm: Wired, module: nn.Module, see: Any) -> Iterator[None]:
    """Call ``see`` with what enters a module; what it returns, if anything, enters instead."""

    def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if not vlm.running:
            return None
        name = next(name for name in ("hidden_states", EMBEDS) if args or name in kwargs)
        x = args[0] if args else kwargs[name]
        changed = see(x)
        if changed is None:
            return None
        # What has a number for every token has it for every row that joined.
        numbered = [name for name in vlm.family.per_token if kwargs.get(name) is not None]
        kwargs = kwargs | {n: kwargs[n].expand(len(changed), -1) for n in numbered}
        if args:
            return (changed, *args[1:]), kwargs
        return args, kwargs | {name: changed}

    # First, so that points at this module see what this makes of it.
    with vlm.noted(partial(take_off, module, hook)):
        module.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)
        yield


@contextmanager
def made_by(vlm: Wired, module: nn.Module, see: Any) -> Iterator[None]:
    """Call ``see`` with what a module makes, as points at this module left it."""

    def hook(module: nn.Module, args: tuple, made: Any) -> None:
        if vlm.running:
            see(made[0] if isinstance(made, tuple) else made)

    with vlm.noted(partial(take_off, module, hook)):
        module.register_forward_hook(hook)  # last: points' hooks are prepended
        yield
