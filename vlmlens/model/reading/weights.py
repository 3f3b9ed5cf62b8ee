"""The weights of a model by TransformerLens's names, in its shapes, as the checkpoint has them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import align_module_device
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vlmlens.errors import (
    InputError,
    UnknownPartError,
    UnknownPointError,
    UnsupportedModelError,
)
from vlmlens.model.arithmetic.linear import matrix_of
from vlmlens.model.arithmetic.norm import Norm
from vlmlens.model.wiring.wired import Wired
from vlmlens.tensors import pieces


@dataclass(frozen=True)
class Kept:
    """Where a weight is: at which point's module, and its axes there and here.

    Attributes:
        point: the point, from the block.
        there: its axes in the module, as einops writes them; empty for a bias as it stands.
        here: its axes in TransformerLens.
        bias: whether it is what the module adds.
    """

    point: str
    there: str
    here: str
    bias: bool = False


HEADS = {"Q": "hook_q_input", "K": "hook_k_input", "V": "hook_v_input"}
#: A sublayer's part and a weight's name -> where it is.
WEIGHTS: Mapping[tuple[str, str], Kept] = {
    **{("attn", f"W_{x}"): Kept(at, "(h d) m", "h m d") for x, at in HEADS.items()},
    **{("attn", f"b_{x}"): Kept(at, "(h d)", "h d", bias=True) for x, at in HEADS.items()},
    ("attn", "W_O"): Kept("attn.hook_result", "m (h d)", "h d m"),
    ("attn", "b_O"): Kept("attn.hook_result", "m", "m", bias=True),
    ("mlp", "W_in"): Kept("mlp.hook_pre", "n m", "m n"),
    ("mlp", "b_in"): Kept("mlp.hook_pre", "n", "n", bias=True),
    ("mlp", "W_gate"): Kept("mlp.hook_pre", "n m", "m n"),
    ("mlp", "b_gate"): Kept("mlp.hook_pre", "n", "n", bias=True),
    ("mlp", "W_out"): Kept("mlp.hook_post", "m n", "n m"),
    ("mlp", "b_out"): Kept("mlp.hook_post", "m", "m", bias=True),
}
NORMS = {"ln1": "ln1.hook_normalized", "ln2": "ln2.hook_normalized"}


def weight(vlm: Wired, block: str, part: str, name: str) -> Float[Tensor, "..."]:
    """A block's weight; of torch's linear modules a view, which is the model's own memory.

    Args:
        vlm: an open model.
        block: the block, such as ``"blocks.3"`` or ``"vision.blocks.0"``.
        part: ``"attn"``, ``"mlp"``, ``"ln1"`` or ``"ln2"``.
        name: TransformerLens's name, such as ``"W_O"``.

    Raises:
        UnknownPartError: no such weight, here or at all.
        UnknownPointError: the block lacks the step that has it; says why.
        UnsupportedModelError: the weights are not at hand, or are of more than that.
    """
    if part in NORMS and name in ("w", "b"):
        return norm_weight(_module(vlm, f"{block}.{NORMS[part]}"), name)
    if (part, name) not in WEIGHTS:
        raise UnknownPartError(name, names_of(part), f"in {block}.{part}")
    kept = WEIGHTS[part, name]
    gated = f"{block}.mlp.hook_pre_linear"
    point = f"{block}.{kept.point}"
    if name.endswith("_gate") and gated not in vlm.hook_dict:
        raise UnknownPartError(name, names_of(part)[:-2], "(this MLP has no gate)")
    if name.endswith("_in") and gated in vlm.hook_dict:
        point = gated
    matrix, bias = matrix_of(_module(vlm, point))
    found = bias if kept.bias else matrix
    if (part_of := vlm.hook_dict[point].part) is not None:
        found = pieces(found, part_of[1], dim=0)[part_of[0]]
    if "h" not in kept.there:
        return rearrange(found, f"{kept.there} -> {kept.here}")
    heads = vlm.hook_dict[point].size("kv_head" if name[-1] in "KV" else "head")
    made = rearrange(found, f"{kept.there} -> {kept.here}", h=heads)
    if name[-1] == "Q" and made.shape[-1] != weight(vlm, block, part, "b_K").shape[-1]:
        raise UnsupportedModelError(
            f"what projects queries in {block} makes more than queries (a gate, in Qwen3.5): its "
            "weights are model.hf_model's; attn.hook_q shows the queries"
        )
    return made


def names_of(part: str) -> list[str]:
    """The weights that a part of a block has."""
    return ["w", "b"] if part in NORMS else [name for home, name in WEIGHTS if home == part]


def stacked(vlm: Wired, part: str, name: str) -> Float[Tensor, "layer ..."]:
    """Every block's weight of one name, in a new first dimension.

    Raises:
        InputError: blocks that differ in shape, or of which one has none; says which.
    """
    try:
        found = [weight(vlm, f"blocks.{at}", part, name) for at in range(vlm.layers)]
    except (UnknownPointError, UnknownPartError) as error:
        raise InputError(
            f"not every block has {name}: {error}; take model.blocks[layer].{part}.{name}"
        ) from error
    if len({tuple(each.shape) for each in found}) > 1:
        raise InputError(
            f"{name} differs in shape from block to block: take model.blocks[layer].{part}.{name}"
        )
    return torch.stack([each.to(found[0].device) for each in found])


def by_query_head(
    vlm: Wired, x: Float[Tensor, "layer kv_head *rest"]
) -> Float[Tensor, "layer head *rest"]:
    """Weights of key-value heads, once for every head that shares them."""
    heads = vlm.hook_dict["blocks.0.attn.hook_z"].size("head")
    return x.repeat_interleave(heads // x.shape[1], dim=1)


def embedding(vlm: Wired) -> Float[Tensor, "vocab d_model"]:
    """What every token enters block 0 as, where no image is: the table, scaled as the model does.

    Raises:
        UnsupportedModelError: the weights are not at hand.
    """
    table = vlm.hf_model.get_input_embeddings()
    with align_module_device(table), torch.no_grad():
        scale = vlm.family.embed_scale(vlm.config)
        if type(table) is nn.Embedding:
            rows = table.weight.detach()
        else:
            size = vlm.config.get_text_config().vocab_size
            rows = table.forward(torch.arange(size, device=vlm.device)[None])[0]
        return rows if scale == 1 else rows * scale


def unembedding(vlm: Wired) -> tuple[Float[Tensor, "d_model vocab"], Float[Tensor, " vocab"]]:
    """What the normed stream is multiplied with to make logits, and what is added."""
    matrix, bias = matrix_of(vlm.hf_model.get_submodule(vlm.family.lm_head))
    scale = vlm.family.logit_scale(vlm.config)
    return (matrix.T, bias) if scale == 1 else (matrix.T * scale, bias * scale)


def norm_weight(module: Any, name: str) -> Float[Tensor, " d_model"]:
    """A norm's factor of every channel (``"w"``), or what it adds (``"b"``)."""
    with align_module_device(module):
        norm = Norm.of(module, torch.zeros_like(module.weight))
    return norm.gain if name == "w" else norm.bias


def _module(vlm: Wired, point: str) -> Any:
    vlm.matching(point)
    return vlm.hook_dict[point].module


#: The stacked weights of a model, by name: the part of a block that each is of.
STACKED: Mapping[str, str] = {name: home for home, name in WEIGHTS}


def ov(vlm: Wired) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The two factors of what every head makes of the stream that it attends to."""
    return by_query_head(vlm, stacked(vlm, "attn", "W_V")), stacked(vlm, "attn", "W_O")


def qk(vlm: Wired) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The two factors of every head's scores, but for biases, norms and RoPE."""
    keys = by_query_head(vlm, stacked(vlm, "attn", "W_K"))
    return stacked(vlm, "attn", "W_Q"), keys.transpose(-2, -1)


#: Those that are products of two, by name.
CIRCUITS: Mapping[str, Callable[[Wired], Any]] = {"OV": ov, "QK": qk}
