"""The loss of answers to questions about pictures, and its part that words share."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor, nn

from vlmlens.zoo.training.recipe.loop import Right
from vlmlens.zoo.training.recipe.packing import packed_mask
from vlmlens.zoo.training.recipe.pixels import as_seen


def tower_features(
    model: Any, pixels: UInt8[Tensor, "image row column channel"]
) -> Float[Tensor, "image patch width"]:
    """(picture, patch, width x layers): the layers that the projector reads, without CLS."""
    layers = model.config.vision_feature_layer
    layers = [layers] if isinstance(layers, int) else list(layers)
    with torch.no_grad():
        states = model.model.vision_tower(as_seen(pixels), output_hidden_states=True).hidden_states
    return torch.cat([states[layer][:, 1:] for layer in layers], dim=-1)


def answer_loss(
    model: Any,
    batch: dict[str, Any],
    right: Right,
    see: Callable[[Shaped[Tensor, "..."]], Float[Tensor, "image patch width"]] | None = None,
) -> Float[Tensor, ""]:
    """Cross entropy of the answers' tokens; notes which answers are right in every token.

    Args:
        model: a LLaVA.
        batch: packed questions, with their pictures.
        right: gets a 1 or a 0 for each answer, by its form.
        see: from pictures to what the projector reads; by default ``tower_features``.
    """
    ids = batch["input_ids"]
    embedded = model.get_input_embeddings()(ids)
    seen = see(batch["pixels"]) if see else tower_features(model, batch["pixels"])
    image = model.model.multi_modal_projector(seen)
    vision = (ids == model.config.image_token_id)[..., None]
    embedded = embedded.masked_scatter(vision, image)
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        attention_mask=packed_mask(batch["segments"]),
        position_ids=batch["positions"],
        use_cache=False,
    ).last_hidden_state
    return loss_of(model, hidden, batch, right)


def loss_of(
    model: Any, hidden: Float[Tensor, "row token d_model"], batch: dict[str, Any], right: Right
) -> Float[Tensor, ""]:
    """Cross entropy of the answers' tokens, from hidden states (row, token, width).

    Notes which answers are right, as ``answer_loss`` does.
    """
    ids, learn = batch["input_ids"], batch["learn"]
    logits = model.lm_head(hidden[:, :-1][learn[:, 1:]])
    targets = ids[:, 1:][learn[:, 1:]]
    note_right(batch, logits.detach(), targets, right)
    return F.cross_entropy(logits, targets)


def note_right(
    batch: dict[str, Any],
    logits: Float[Tensor, "learnt vocab"],
    targets: Int[Tensor, " learnt"],
    right: Right,
) -> None:
    """An answer counts when every token of it is the likeliest, so greedy decoding says it."""
    rows, columns = batch["learn"][:, 1:].nonzero(as_tuple=True)
    answer = rows * 1000 + batch["segments"][:, 1:][rows, columns]
    wrong = (logits.argmax(-1) != targets).float()
    _, index = answer.unique_consecutive(return_inverse=True)
    fail = torch.zeros(int(index[-1]) + 1).index_add(0, index, wrong)
    for form, failed in zip(batch["forms"], fail.tolist(), strict=True):
        right[form].append(float(failed == 0))


def only(model: nn.Module, *parts: str) -> None:
    """Leave nothing trainable but the parameters whose names hold one of these words."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in name for part in parts))
