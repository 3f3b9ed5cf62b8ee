"""HyperCLOVA X SEED Vision: Qwen2.5-VL's tower and merger, then a linear projector.

The merger puts windows back into the pictures' order, so the projector's tokens are in the
sequence's. Positions are numbered one after the other. A block may norm what it writes.
"""

from collections.abc import Sequence
from typing import Any

from vlmlens.errors import UnsupportedModelError
from vlmlens.families.family import Family, Tap
from vlmlens.families.qwen2_vl import merged_frames, merged_grids

BLOCKS = "model.vision_model.blocks"


def _kinds(text: Any) -> Sequence[str]:
    if text.residual_multiplier != 1:
        raise UnsupportedModelError(
            f"this is a {text.model_type!r} language model, and its points are known; but its "
            f"blocks scale what they write by residual_multiplier={text.residual_multiplier}, so "
            "no module's output is what is added to the stream, and the stream would not add up"
        )
    return ["normed" if text.use_post_norm else ""] * text.num_hidden_layers


def _scale(config: Any) -> float:
    return config.text_config.logits_scaling


def _embed_scale(config: Any) -> float:
    return config.text_config.embedding_multiplier


HYPERCLOVAX_VISION_V2 = Family(
    model_type="hyperclovax_vision_v2",
    views=merged_grids,
    vision_layers=BLOCKS,
    projector="model.projector",
    vision_rotary="model.vision_model.rotary_pos_emb",
    points={
        "vision.hook_embed": Tap(f"{BLOCKS}.0", "in", axes="patch d_model"),
        "projector.hook_in": Tap("model.projector", "in", axes="patch d_model"),
        "projector.hook_out": Tap("model.projector", "out", axes="patch d_model"),
    },
    lm_kinds=_kinds,
    logit_scale=_scale,
    embed_scale=_embed_scale,
    videos=merged_frames,
)
