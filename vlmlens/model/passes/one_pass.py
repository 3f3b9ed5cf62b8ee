"""One pass under interventions: hooks on, forward, hooks off, whatever happens."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import Cache

from vlmlens.cache import ActivationCache, Save
from vlmlens.inputs import Inputs
from vlmlens.interventions import Intervention
from vlmlens.model.lifetime.level import Level
from vlmlens.model.passes.edits import add_edits, refuse_unreached
from vlmlens.model.passes.refused import told
from vlmlens.model.passes.saves import Keeping, row_index
from vlmlens.model.passes.stopping import last_of
from vlmlens.model.passes.watching import as_watched, new_level, refuse_recomputing, seated
from vlmlens.model.sequence.fitting import check_fit
from vlmlens.model.wiring.wired import Wired
from vlmlens.positions import Positions
from vlmlens.tensors import onto
from vlmlens.versions import cache_argument, logits_at


def one_pass(
    vlm: Wired,
    inputs: Inputs,
    tensors: Any,
    interventions: Sequence[Intervention] = (),
    saves: Sequence[Save] = (),
    step: int = 0,
    logits: bool | Positions = True,
    cache: Cache | None = None,
    beams: Sequence[Inputs] = (),
) -> tuple[Float[Tensor, "batch pos vocab"], ActivationCache]:
    """One forward pass under interventions.

    Args:
        vlm: the open model.
        inputs: what every position is, up to the newest.
        tensors: what transformers' forward takes; with a cache, the newest tokens only.
        interventions: edits, applied in order.
        saves: what to keep.
        step: the decoding step; 0 is the prompt.
        logits: of every position, of these, or none: then the pass ends with what is watched.
        cache: keys and values of what came before, to which this pass adds its own.
        beams: the inputs beam by beam, where a pass's rows are every sample's beams; edits mean
            samples, and hooks see the rows.

    Returns:
        Logits (batch pos vocab), and what was saved.
    """
    watched: list[tuple[str, Intervention | str]] = []
    keeping = Keeping(vlm, inputs, tensors)
    check_fit(vlm.config, inputs, step)
    with ExitStack() as stack:
        # Taking off nothing asks every point, which shows in models as small as tests use.
        level = (
            stack.enter_context(new_level(vlm)) if interventions or saves else Level(0, vlm.journal)
        )
        if interventions or saves:
            refuse_recomputing(vlm)
        stack.enter_context(as_watched(vlm))
        layouts = [turn.layouts for turn in beams or (inputs,)]
        stack.enter_context(seated(vlm, *layouts, step=step))
        edited, sights = add_edits(vlm, inputs, interventions, level, step, beams)
        watched += edited
        stack.enter_context(keeping.of(saves, level))
        watched += [(name, "save") for name in keeping.hooked]
        before = {name: vlm.hook_dict[name].fired for name, _ in watched}
        with told(vlm, inputs, interventions):
            given = tensors if vlm.shared is None else vlm.shared.stand_in(vlm, tensors)
            given = dict(given) | {"use_cache": cache is not None}
            given |= {} if cache is None else cache_argument(vlm.hf_model, cache)
            names = [*keeping.axes, *(name for name, _ in watched)]
            made = _logits(vlm, given, logits, inputs, names)
        if step == 0:  # while decoding, the tower and the projector are done
            refuse_unreached(vlm, watched, before, tensors)
    for sight in sights:
        sight.refuse()
    return made, keeping.saved()


def _logits(
    vlm: Wired,
    given: Mapping[str, Any],
    wanted: bool | Positions,
    inputs: Inputs,
    watched: Sequence[str],
) -> Float[Tensor, "batch pos vocab"]:
    """The pass itself, as far as it has to go."""
    if wanted is True:
        return vlm.hf_model(**given).logits
    if wanted is False:
        with last_of(vlm, watched):
            vlm.hf_model(**given)
        return torch.empty(
            len(inputs), 0, vlm.config.get_text_config().vocab_size, device=vlm.device
        )
    rows = onto(row_index(inputs, wanted, given["input_ids"].shape[1]), vlm.device)
    kept, own = rows.unique(return_inverse=True)
    made = logits_at(vlm.hf_model, kept, **given).logits
    return made.gather(1, own[..., None].expand(-1, -1, made.shape[-1]))
