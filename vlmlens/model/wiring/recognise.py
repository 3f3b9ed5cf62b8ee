"""A family for a model that has none: its parts, found by the names that transformers gives them.

What is found this way is a guess: ``HookedVLM.audit`` measures what it is worth. Points that
could not be placed are absent, with the reason.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from vlmlens.errors import UnsupportedModelError
from vlmlens.families import BLOCKS, Block, Family, Pictures, Tap
from vlmlens.families.family import count
from vlmlens.families.qwen2_vl import rope_index
from vlmlens.points import BLOCK_POINTS
from vlmlens.view import View

ATTENTION = ("self_attn", "attn", "attention", "self_attention")
MLP = ("mlp", "feed_forward", "ffn")
OUTPUT = ("o_proj", "out_proj", "projection_layer", "proj", "dense", "wo")
SECOND_NORM = (
    "pre_feedforward_layernorm",
    "post_attention_layernorm",
    "layer_norm2",
    "layernorm_after",
    "norm2",
    "ffn_norm",
    "rms_norm2",
)
GATE = ("gate_proj", "fc1", "linear_fc1", "w1")
DOWN = ("down_proj", "fc2", "linear_fc2", "w2")
PROJECTOR = ("multi_modal_projector", "connector", "merger", "aligner", "projector", "mlp1")
TOWER, DECODER = ("visi", "visual", "tower", "vit"), ("language", "text", "decoder", "lm", "layers")


def recognise(model: Any) -> Family:
    """Where a model of no known family seems to keep its parts.

    Raises:
        UnsupportedModelError: no stack of blocks that could be the tower or the language model,
            no projector, or no image token.
    """
    config: Any = model.config
    text, vision = config.get_text_config(), config.vision_config
    if getattr(config, "image_token_id", None) is None:
        raise UnsupportedModelError(
            f"no family for {config.model_type!r}, and none can be recognised: its configuration "
            "names no image_token_id, so vision tokens cannot be found; see docs/add_a_family.md"
        )
    depth = getattr(vision, "num_hidden_layers", None) or getattr(vision, "depth", 0)
    lm = _stack(model, text.num_hidden_layers, DECODER, TOWER, "language model")
    tower = _stack(model, depth, TOWER, (), "vision tower")
    forward = inspect.signature(model.forward).parameters
    packed = "image_grid_thw" in forward
    home = lm.rpartition(".")[0]
    own = model.get_submodule(home)
    head = model.get_output_embeddings()
    per_token = {n: (1, 0) for n in ("mm_token_type_ids", "token_type_ids") if n in forward}
    three = hasattr(getattr(model, "model", None), "get_rope_index")
    blocks: dict[str, Block] = {}
    for path, part, axes in ((lm, text, "batch pos"), (tower, vision, "image pos")):
        if part.model_type not in BLOCKS:
            axes = "patch" if packed and path == tower else axes
            blocks[part.model_type] = _table(model.get_submodule(path)[0], axes)
    return Family(
        model_type=config.model_type,
        views=_unknown_grids,
        vision_layers=tower,
        projector=_projector(model),
        lm_layers=lm,
        final_norm=f"{home}.{_first(own, ('norm', 'final_layernorm', 'embedding_norm', 'ln_f'))}",
        lm_head=next(name for name, module in model.named_modules() if module is head),
        rotary=f"{home}.rotary_emb",
        axes=("time", "height", "width") if three else ("position",),
        blocks=blocks,
        points=_packed(tower, _projector(model)) if packed else {},
        per_token=per_token,
        positions=rope_index if three else count,
    )


def _stack(
    model: nn.Module, depth: int, wanted: Iterable[str], unwanted: Iterable[str], what: str
) -> str:
    """The path of the list of blocks of one part."""
    lists = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    found = [
        name
        for name in lists
        if any(w in name for w in wanted) and not any(u in name for u in unwanted)
    ]
    if not found:
        raise UnsupportedModelError(
            f"no family for {model.config.model_type!r}, and its {what} cannot be recognised: no "  # type: ignore[union-attr]
            f"list of {depth} blocks among {', '.join(lists) or 'its modules'}; see "
            "docs/add_a_family.md"
        )
    return found[0]


def _projector(model: nn.Module) -> str:
    for name, _ in model.named_modules():
        if name.rpartition(".")[2] in PROJECTOR:
            return name
    raise UnsupportedModelError(
        f"no projector can be recognised in {type(model).__name__}; see docs/add_a_family.md"
    )


def _first(module: nn.Module, names: Iterable[str]) -> str | None:
    return next((name for name in names if hasattr(module, name)), None)


def _packed(tower: str, projector: str) -> Mapping[str, Tap | str]:
    return {
        "vision.hook_embed": Tap(f"{tower}.0", "in", axes="patch d_model"),
        "projector.hook_in": Tap(projector, "in", axes="patch d_model"),
        "projector.hook_out": Tap(projector, "out", axes="patch d_model"),
    }


def _table(block: nn.Module, axes: str) -> Block:
    """What a block seems to offer, by the names of its modules."""
    packed = axes == "patch"
    attn = _first(block, ATTENTION)
    mlp, norm = _first(block, MLP), _first(block, SECOND_NORM)
    stream = f"{axes} d_model" if packed else None
    table: dict[str, Tap | str] = {
        point.name: "no module with a known name for it was found; see docs/add_a_family.md"
        for point in BLOCK_POINTS
    }
    table["hook_resid_pre"] = Tap("", "in", axes=stream)
    table["hook_resid_post"] = Tap("", "out", axes=stream)
    if norm:
        table["hook_resid_mid"] = Tap(norm, "stream", axes=stream)
    if mlp:
        table["hook_mlp_out"] = Tap(mlp, "out", axes=stream)
        inside, hidden = getattr(block, mlp), f"{axes} d_mlp" if packed else None
        if gate := _first(inside, GATE):
            table["mlp.hook_pre"] = Tap(f"{mlp}.{gate}", "out", axes=hidden)
        if down := _first(inside, DOWN):
            table["mlp.hook_post"] = Tap(f"{mlp}.{down}", "in", axes=hidden)
    if attn:
        table |= _attention(getattr(block, attn), attn, axes)
    return table


def _attention(module: nn.Module, path: str, axes: str) -> dict[str, Tap | str]:
    found: dict[str, Tap | str] = {}
    packed = axes == "patch"
    heads, result = ("patch head d_head", "patch head d_model") if packed else (None, None)
    if out := _first(module, OUTPUT):
        found["attn.hook_z"] = Tap(f"{path}.{out}", "in", f"{axes} (head d_head)", heads)
        found["attn.hook_result"] = Tap(f"{path}.{out}", "heads", axes=result)
        found["hook_attn_out"] = Tap(
            f"{path}.{out}", "out", axes=f"{axes} d_model" if packed else None
        )
    if packed:
        return found
    first, second = axes.split()
    for side, kind in (("q", "head"), ("k", "kv_head")):
        if hasattr(module, f"{side}_norm"):
            found[f"attn.hook_{side}"] = "queries and keys are normed, in a layout not known"
        elif hasattr(module, f"{side}_proj"):
            found[f"attn.hook_{side}"] = Tap(
                f"{path}.{side}_proj", "out", f"{axes} ({kind} d_head)"
            )
    found["attn.hook_v"] = Tap(path, "value", f"{first} kv_head {second} d_head")
    found["attn.hook_attn_scores"] = Tap(path, "scores")
    found["attn.hook_pattern"] = Tap(path, "pattern")
    if first == "batch":
        found["attn.hook_rot_q"] = Tap(path, "query", f"{first} head {second} d_head")
        found["attn.hook_rot_k"] = Tap(path, "key", f"{first} kv_head {second} d_head")
        found["attn.hook_cos"] = Tap(path, "cos")
        found["attn.hook_sin"] = Tap(path, "sin")
    return found


def _unknown_grids(pictures: Pictures) -> list[tuple[View, ...]]:
    """Every image's tokens in one row: where each of them looks is not known."""
    ids = pictures.tensors.get("input_ids")
    images = len(pictures.sizes)
    if ids is None:
        raise UnsupportedModelError(
            f"{pictures.config.model_type} has no family, so raw image tensors cannot be laid out: "
            "use inputs(...) with images, or add a family"
        )
    tokens = int((ids == pictures.config.image_token_id).sum())
    if tokens % images:
        raise UnsupportedModelError(
            f"{images} images of different size take {tokens} tokens together, and without a "
            f"family for {pictures.config.model_type!r} they cannot be distinguished: one at a time"
        )
    return [(View(1, tokens // images),)] * images
