"""How likely answers are, from the pass over their prompt."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from vlmlens.errors import EmptySelectionError
from vlmlens.inputs import Inputs
from vlmlens.interventions import Intervention
from vlmlens.layout import TokenLayout
from vlmlens.model.decoding.prefix import prefix_cache
from vlmlens.model.passes.run import Scores
from vlmlens.positions import chosen, indices
from vlmlens.tensors import onto


def answer_log_probs(
    logits: Float[Tensor, "batch pos vocab"],
    ids: Int[Tensor, "batch pos"],
    layouts: Sequence[TokenLayout],
) -> Float[Tensor, " batch"]:
    """The sum of log p(token | everything before it) over the answer's positions.

    It is read at the position before each; where that was dropped, at the last before it that
    stands.

    Raises:
        EmptySelectionError: a sample without an answer, or with nothing before it.
    """
    sums = []
    for row, (told, said) in enumerate(foretold(layouts, ids.device)):
        log_p = logits[row, told].float().log_softmax(-1)
        sums.append(log_p.gather(1, ids[row, said][:, None]).sum())
    return torch.stack(sums)


def foretold(
    layouts: Sequence[TokenLayout], device: torch.device
) -> Iterator[tuple[Int[Tensor, " answer"], Int[Tensor, " answer"]]]:
    """Each sample's positions that tell its answer's tokens, and these tokens' own.

    Raises:
        EmptySelectionError: a sample without an answer, or with nothing before it.
    """
    for row, layout in enumerate(layouts):
        if not len(layout.answer()):
            raise EmptySelectionError(
                f"sample {row} holds no answer: model.inputs(..., answers=...) gives one; {layout}"
            )
        told, said = layout.telling(), layout.answer()
        yield onto(torch.from_numpy(told), device), onto(torch.from_numpy(said), device)


def scores(
    prompt: Inputs,
    answered: Sequence[Inputs],
    interventions: Sequence[Intervention],
    one_pass: Callable[..., Any],
    logits: Float[Tensor, "batch last vocab"],
    cache: Cache,
) -> Scores:
    """How likely answers are; see ``HookedVLM.generate``."""
    found: list[Tensor] = []
    whole: dict[int, str] = {}
    for number, said in enumerate(answered):
        if reason := why_not(prompt, said, interventions, cache):
            whole[number] = reason
            own, _ = one_pass(said, said.tensors)
            found.append(answer_log_probs(own, said.tensors["input_ids"], said.layouts))
        else:
            found.append(after_prompt(prompt, logits, cache, said, one_pass))
    return Scores(torch.stack(found) if found else None, whole)


def after_prompt(
    prompt: Inputs,
    logits: Float[Tensor, "batch last vocab"],
    cache: Cache,
    answered: Inputs,
    one_pass: Callable[..., Any],
) -> Float[Tensor, " batch"]:
    """The same of prompts whose pass was made: only the answers' tokens are fed.

    Args:
        prompt: what went in, interventions' ``prepare`` done.
        logits: of the prompt's last position.
        cache: its keys and values, which stay as they are.
        answered: the same prompts with their answers.
        one_pass: runs the model under the interventions.
    """
    rows = [own[len(ids) :] for own, ids in zip(_own(answered), _own(prompt), strict=True)]
    length = max(map(len, rows))
    device = logits.device
    said = torch.zeros(len(rows), length, dtype=torch.long, device=device)
    real = torch.zeros(len(rows), length, dtype=torch.bool, device=device)
    for row, ids in enumerate(rows):
        said[row, : len(ids)], real[row, : len(ids)] = onto(ids, device), True
    found = logits[:, -1:].float().log_softmax(-1)
    if length > 1:  # the last token's own logits are asked for by nobody
        grown = prompt.appended(said[:, :-1])
        tensors: dict[str, Any] = {
            name: grown.tensors[name][..., 1 - length :] for name in ("input_ids", "position_ids")
        }
        tensors |= {"attention_mask": grown.tensors["attention_mask"]}
        layers: Any = cache.layers
        kept = [(layer.keys, layer.values) for layer in layers]
        before = prefix_cache(kept, cache.get_seq_length())
        more, _ = one_pass(grown, tensors, step=1, cache=before)
        found = torch.cat([found, more.float().log_softmax(-1)], 1)
    return found.gather(2, said[..., None])[..., 0].where(real, 0.0).sum(1)


def why_not(
    prompt: Inputs,
    answered: Inputs,
    interventions: Sequence[Intervention],
    cache: Cache,
) -> str:
    """Why answers have to go through the model with their prompt; empty if they need not.

    Args:
        prompt: prompts, interventions' ``prepare`` done.
        answered: prompts with answers, the same done.
        interventions: edits.
        cache: what the prompt's pass remembers.
    """
    if len(prompt) != len(answered):
        return "they are of other prompts"
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return "the model remembers more than keys and values"
    if not prompt.same_images(answered):
        return "they are about other pictures"
    answers = _goes_on(prompt, answered)
    for row, (first, whole) in enumerate(zip(prompt.layouts, answered.layouts, strict=True)):
        own, all_of_it = ~first.mask("pad"), ~whole.mask("pad")
        size, said = int(own.sum()), int(all_of_it.sum()) - int(own.sum())
        if said < 1 or not _same(prompt, own, answered, all_of_it, row, size):
            return f"sample {row} is no continuation of its prompt"
        if not answers[row]:
            return f"an edit of the inputs reaches the answer of sample {row}"
        for edit in interventions:
            if not edit.points or not _edits(edit, row, len(prompt)):
                continue  # what was done to the inputs alone has been compared by now
            if edit.reach is None:
                return f"{edit} may reach the answer"
            meant = chosen(whole, edit.reach)[all_of_it]
            if meant[size:].any() or (meant[:size] != chosen(first, edit.reach)[own]).any():
                return f"{edit} reaches the answer"
    return ""


def _edits(edit: Intervention, row: int, rows: int) -> bool:
    """Whether a sample is among those that an edit is for."""
    samples = edit.where.samples
    return samples is None or row in indices(samples, rows, "sample")


def _goes_on(prompt: Inputs, answered: Inputs) -> list[bool]:
    """Whether each answer's position ids are those of tokens that are added to the prompt."""
    rows = zip(_own_ids(prompt), _own_ids(answered), strict=True)
    said = [whole[..., first.shape[-1] :] for first, whole in rows]
    longest = max(1, *(ids.shape[-1] for ids in said))
    filler = prompt.tensors["input_ids"].new_zeros(len(prompt), longest)
    ahead = prompt.appended(filler).tensors["position_ids"][..., -longest:].cpu()
    return [bool((x == ahead[..., row, : x.shape[-1]]).all()) for row, x in enumerate(said)]


def _own_ids(inputs: Inputs) -> list[Num[Tensor, "*plane _pos"]]:
    """Every sample's position ids without its padding."""
    ids = inputs.tensors["position_ids"].cpu()
    return [
        ids[..., row, torch.from_numpy(~layout.mask("pad"))]
        for row, layout in enumerate(inputs.layouts)
    ]


def _same(
    prompt: Inputs,
    own: Bool[np.ndarray, " pos"],
    answered: Inputs,
    whole: Bool[np.ndarray, " longer"],
    row: int,
    size: int,
) -> bool:
    """Whether the tokens, their places and their roles are the prompt's, as far as it goes."""
    roles = [
        tuple(r for r, kept in zip(x.layouts[row].roles, mask, strict=True) if kept)[:size]
        for x, mask in ((prompt, own), (answered, whole))
    ]
    kept = [torch.from_numpy(mask) for mask in (own, whole)]
    return roles[0] == roles[1] and all(
        torch.equal(
            prompt.tensors[name][..., row, :].cpu()[..., kept[0]],
            answered.tensors[name][..., row, :].cpu()[..., kept[1]][..., :size],
        )
        for name in ("input_ids", "position_ids")
    )


def _own(inputs: Inputs) -> list[Int[Tensor, " _pos"]]:
    """Every sample's ids without its padding."""
    rows = zip(inputs.tensors["input_ids"], inputs.layouts, strict=True)
    return [ids[onto(torch.from_numpy(~layout.mask("pad")), ids.device)] for ids, layout in rows]
