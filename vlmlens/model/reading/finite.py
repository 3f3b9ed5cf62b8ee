"""Numbers that are none: whether passes made any, and which activation was the first."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from vlmlens.cache import Save
from vlmlens.errors import NonFiniteError, UnreachedPointError
from vlmlens.inputs import Inputs
from vlmlens.interventions import Intervention
from vlmlens.model.passes.runs import Runs

#: Hidden scores are minus infinity on purpose; what they make of a pattern shows in ``hook_z``.
UNREAD = ("attn.hook_mask", "attn.hook_attn_scores", "attn.hook_pattern", "attn.hook_result")


class Seen:
    """What the passes made so far, noted on their own device, so that nothing waits for it."""

    def __init__(self):
        self._finite: dict[torch.device, Tensor] = {}

    def note(self, x: Any) -> None:
        """Look at what a block gives."""
        x = x[0] if isinstance(x, tuple) else x
        if isinstance(x, Tensor) and x.is_floating_point():
            here = torch.isfinite(x.detach()).all()
            known = self._finite.get(x.device)
            self._finite[x.device] = here if known is None else known & here

    @property
    def broken(self) -> bool:
        """Whether anything was not finite."""
        return not all(bool(x) for x in self._finite.values())


@contextmanager
def watching(vlm: Runs) -> Iterator[Seen]:
    """Look at what every block of the language model, its final norm and its head give."""
    seen = Seen()
    model, family = vlm.hf_model, vlm.family
    modules = [*model.get_submodule(family.lm_layers).children()]
    modules.append(model.get_submodule(family.final_norm))
    if (head := model.get_output_embeddings()) is not None:
        modules.append(head)

    def look(module: torch.nn.Module, given: Any, made: Any) -> None:
        # Some checkpoints forbid tokens by a logit of minus infinity.
        seen.note(made.clamp(min=0) if module is head and isinstance(made, Tensor) else made)

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_hook(look).remove)
        yield seen


def broken(
    vlm: Runs,
    names: str,
    inputs: Inputs | None,
    interventions: Sequence[Intervention] = (),
    otherwise: str = "some activation is",
) -> NonFiniteError:
    """What to raise where numbers are none: whose pass it was, and its first such activation.

    Args:
        vlm: an open model.
        names: the samples, for the message.
        inputs: of one sample, to look for the point in; None: it is not looked for.
        interventions: edits of that pass.
        otherwise: what is said where no point is.
    """
    point = None if inputs is None else first_broken(vlm, inputs, interventions)
    edits = f" under {', '.join(map(str, interventions))}" if interventions else ""
    return NonFiniteError(
        f"sample {names}{edits}: {otherwise if point is None else f'{point} is'} NaN or infinite, "
        "the first of the pass to be, and every number after it means nothing; look at that "
        "layer's weights, take a wider dtype (float32, bfloat16), or measure all the same "
        "(allow_nonfinite=True)"
    )


def first_broken(
    vlm: Runs, inputs: Inputs, interventions: Sequence[Intervention] = ()
) -> str | None:
    """The first point of a pass, in the model's order, that holds NaN or an infinity.

    Args:
        vlm: an open model.
        inputs: one sample, so that no padding is looked at.
        interventions: edits, applied in order.

    Returns:
        Its name; None where the whole prompt's pass is finite.
    """
    names = [name for name in vlm.hook_dict if not name.endswith(UNREAD)]
    if not inputs.seeing:
        names = [name for name in names if not name.startswith(("vision.", "projector."))]
    try:
        saved = _looked(vlm, inputs, interventions, names)
    except UnreachedPointError:  # a tower that leaves some of its points out
        names = [name for name in names if name.startswith("blocks.")]
        saved = _looked(vlm, inputs, interventions, names)
    return next((name for name in names if not bool(saved[name])), None)


def _looked(
    vlm: Runs, inputs: Inputs, interventions: Sequence[Intervention], names: Sequence[str]
) -> Any:
    saves = [Save(name, reduce=_logits if name == "hook_logits" else _finite) for name in names]
    return vlm.run(inputs, interventions, saves).saved


def _finite(x: Shaped[Tensor, "..."]) -> Bool[Tensor, ""]:
    return torch.isfinite(x).all()


def _logits(x: Shaped[Tensor, "..."]) -> Bool[Tensor, ""]:
    return torch.isfinite(x.clamp(min=0)).all()
