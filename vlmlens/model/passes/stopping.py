"""A pass that ends with the last thing that anybody watches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vlmlens.errors import InputError
from vlmlens.model.wiring.wire import take_off
from vlmlens.model.wiring.wired import Wired


class _Enough(BaseException):
    """Ends a pass; no error, so that nobody on the way takes it for one."""


@contextmanager
def last_of(vlm: Wired, watched: Sequence[str]) -> Iterator[None]:
    """End the pass inside once it has reached all of these points.

    Raises:
        InputError: no point, or the logits, which are what comes last.
    """
    if not watched or "hook_logits" in watched:
        raise InputError(
            "logits=False ends the pass with what is watched, which is "
            + (", ".join(watched[:3]) or "nothing: save something, or take the logits")
        )
    module = vlm.hf_model.get_submodule(_after(vlm, watched))

    def stop(module: Any, args: Any) -> None:
        if vlm.running:
            raise _Enough

    with suppress(_Enough), vlm.noted(partial(take_off, module, stop)):
        module.register_forward_pre_hook(stop, prepend=True)
        yield


@contextmanager
def before_block(vlm: Wired, layer: int) -> Iterator[list[Float[Tensor, "batch pos d_model"]]]:
    """End the pass inside before this block, or before the final norm; yields what would enter."""
    family = vlm.family
    path = f"{family.lm_layers}.{layer}" if layer < vlm.layers else family.final_norm
    module = vlm.hf_model.get_submodule(path)
    found: list[Tensor] = []

    def stop(module: Any, args: tuple, kwargs: dict) -> None:
        if vlm.running:
            found.append(args[0] if args else kwargs["hidden_states"])
            raise _Enough

    with suppress(_Enough), vlm.noted(partial(take_off, module, stop)):
        module.register_forward_pre_hook(stop, with_kwargs=True, prepend=True)
        yield found


def _after(vlm: Wired, watched: Sequence[str]) -> str:
    """The path of the first module after all of these points."""
    family = vlm.family
    if "ln_final.hook_normalized" in watched:
        return family.lm_head
    own = [name for name in watched if not name.startswith(("vision.", "projector."))]
    layers = [vlm.hook_dict[name].point.layer for name in own]
    if not own:  # the tower and projectors, all of which have run when the first block begins
        return f"{family.lm_layers}.0"
    last = max(-1 if layer is None else layer for layer in layers)
    # hook_embed is seen as the first block begins: so that block runs.
    after = max(last, 0) + 1
    return f"{family.lm_layers}.{after}" if after < vlm.layers else family.final_norm
