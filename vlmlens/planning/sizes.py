"""Architectures at the size of a published checkpoint, by transformers' names.

transformers' own default configuration is such a size for most. Of others parts do not fit
together, or there is no tower: what is missing is here, as the checkpoints have it.
"""

from collections.abc import Mapping
from typing import Any

from vlmlens.annotations import checked
from vlmlens.zoo.opening.weightless import configured

_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
}
_IDEFICS = {key: value for key, value in _SIGLIP.items() if key != "model_type"}
#: GLM turns half of every head.
_GLM = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [8, 12, 12],
        "partial_rotary_factor": 0.5,
    }
}
#: North Vision says per type of layer how it turns.
_COMPASS = {
    "rope_parameters": {
        "full_attention": {
            "rope_type": "default",
            "rope_theta": 50000.0,
            "mrope_section": [24, 20, 20],
        }
    }
}
#: What stands before a picture, which Qwen's thinkers have in their checkpoints alone.
_VISION_START = {"vision_start_token_id": 151652}
#: Qwen3-Omni's language model: experts of Qwen3-30B-A3B.
_QWEN3_30B = {
    "vocab_size": 152064,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "head_dim": 128,
}
#: What the default configuration lacks to be a model.
LACKING: Mapping[str, Mapping[str, Any]] = {
    "aya_vision": {"vision_config": _SIGLIP | {"image_size": 364}},
    "cohere_compass": {"vision_config": {"out_hidden_size": 8192}, "text_config": _COMPASS},
    "exaone4_5": {"vision_config": {"out_hidden_size": 4096}},
    "gemma3": {"vision_config": _SIGLIP | {"image_size": 896}},
    "gemma4": {"vision_config": {}, "text_config": {}},
    "glm4v": {"text_config": _GLM},
    "glm46v": {"text_config": _GLM},
    "glmga": {"text_config": _GLM},
    "glm4v_moe": {"text_config": _GLM | {"head_dim": 128}},
    "glm_ocr": {"vision_config": {"out_hidden_size": 1024}},
    "idefics3": {"vision_config": _IDEFICS | {"image_size": 364}},
    "janus": {"vision_config": {"projection_dim": 4096}},
    "llama4": {
        "vision_config": {"hidden_size": 1408, "image_size": 336, "vision_output_dim": 4096}
    },
    "llava_next": {"text_config": {"model_type": "llama", "max_position_embeddings": 4096}},
    "llava_next_video": {"text_config": {"model_type": "llama", "max_position_embeddings": 4096}},
    "molmo2": {"adapter_config": {"text_hidden_size": 4096, "intermediate_size": 12288}},
    "ovis2": {"hidden_size": 4096},
    "qwen2_vl": {"vision_config": {"hidden_size": 8192}},
    "qwen2_5_vl": {"vision_config": {"out_hidden_size": 8192}},
    "qwen3_vl": {"vision_config": {"out_hidden_size": 4096}},
    "qwen3_vl_moe": {"vision_config": {"out_hidden_size": 2048}},
    "qwen2_5_omni_thinker": _VISION_START,
    "qwen3_omni_moe_thinker": _VISION_START
    | {"vision_config": {"out_hidden_size": 2048}, "text_config": _QWEN3_30B},
    "qwen3_5": {"vision_config": {"out_hidden_size": 4096}},
    "qwen3_5_moe": {"vision_config": {"out_hidden_size": 2048}},
    "smolvlm": {"vision_config": _IDEFICS | {"image_size": 384}, "scale_factor": 3},
}


@checked
def full_size(model_type: str) -> Any:
    """The configuration of an architecture at full size.

    Raises:
        UnknownModelError: transformers knows no such architecture.

    Examples:
        >>> from vlmlens.planning import full_size
        >>> full_size("llava").text_config.hidden_size
        4096
    """
    return configured(model_type, LACKING.get(model_type, {}))
