"""A tiny molmo2."""

from dataclasses import replace
from typing import Any

from vlmlens.zoo.tiny.parts import square, text, tower
from vlmlens.zoo.tiny.tiny import Tiny

# transformers' image processor needs torchvision: its own code resizes with torch in ours. Five
# patches along a side, of which the last pool gets half.
_SIDE, _PATCH = 20, 4
_HEADS = {"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 8}
_TEXT: dict[str, Any] = text("molmo2_text", head_dim=8, additional_vocab_size=4)

_PRE = Tiny(
    config={
        "vision_config": tower("molmo2_vision", image_size=[_SIDE] * 2, patch_size=_PATCH)
        | _HEADS
        | {"num_hidden_layers": 3},
        "adapter_config": {"model_type": "molmo2_adapter", "vision_feature_layer": [1, 0]}
        | {"hidden_size": 24, "intermediate_size": 40, "text_hidden_size": 32}
        | _HEADS,
        "text_config": _TEXT
        | {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}
        | {"rope_scaling_layers": [1]},
    },
    pixels=(
        "Molmo2Pixels",
        square(_SIDE) | {"patch_size": _PATCH, "max_crops": 4, "overlap_margins": [1, 1]},
    ),
    image="<|image|>",
    frames=square(_SIDE) | {"patch_size": _PATCH},
    video="<|video|>",
    tokens={"image_token": "<|image|>", "video_token": "<|video|>"},
    plain=(
        *("<im_patch>", "<im_col>", "<im_start>", "<low_res_im_start>", "<im_end>"),
        *("<frame_start>", "<frame_end>", "<im_low>"),
    ),
    ids={
        "image_token_id": "<im_patch>",
        "image_start_token_id": "<im_start>",
        "low_res_image_start_token_id": "<low_res_im_start>",
        "image_end_token_id": "<im_end>",
        "frame_start_token_id": "<frame_start>",
        "frame_end_token_id": "<frame_end>",
    },
)
_AFTER = {"norm_after": True, "qk_norm_type": "olmo"}

TINY: dict[str, Tiny] = {
    "molmo2": _PRE,
    # Of OLMo's blocks, which norm what they write.
    "molmo2/olmo": replace(_PRE, config={**_PRE.config, "text_config": _TEXT | _AFTER}),
}
