"""A pass that is watched: its context of hooks, compiled code, gradients."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from vlmlens.errors import InputError
from vlmlens.layout import TokenLayout
from vlmlens.model.lifetime.compiled import uncompiled
from vlmlens.model.lifetime.level import Level
from vlmlens.model.wiring.wired import Wired


@contextmanager
def new_level(vlm: Wired) -> Iterator[Level]:
    """A context level whose hooks are taken off when it ends, whatever happens."""
    with vlm.opened_level() as level, uncompiled(vlm.hf_model):
        yield level


def as_watched(vlm: Wired) -> AbstractContextManager[None]:
    """Compiled code where it may run: while no point has a hook."""
    if not any(point.watched for point in vlm.hook_dict.values()):
        return nullcontext()
    refuse_recomputing(vlm)
    return uncompiled(vlm.hf_model)


@contextmanager
def seated(vlm: Wired, *layouts: Sequence[TokenLayout], step: int = 0) -> Iterator[None]:
    """Tell the dictionaries that are spliced in what the positions of the passes inside are.

    Args:
        vlm: the open model.
        layouts: the samples'; of every beam, where rows are beams.
        step: the decoding step.
    """
    before = [(each, each.seat) for each in vlm.spliced]
    try:
        for each, _ in before:
            each.seat = (layouts, step)
        yield
    finally:
        for each, seat in before:
            each.seat = seat


def refuse_recomputing(vlm: Wired) -> None:
    """Refuse gradients where blocks are run once more for them: the hooks would be off by then.

    Raises:
        InputError: says how to switch one or the other off.
    """
    if torch.is_grad_enabled() and any(
        module.training and getattr(module, "gradient_checkpointing", False)
        for module in vlm.hf_model.modules()
    ):
        raise InputError(
            "with gradient checkpointing, backward runs the blocks once more, when the hooks of "
            "this pass are off: model.hf_model.gradient_checkpointing_disable() or .eval() "
            "first, or watch without gradients (grad=False, torch.no_grad())"
        )
