"""The stacks of blocks that families share, by the ``model_type`` of the sub-configuration."""

from collections.abc import Mapping

from vlmlens.families.family import Block
from vlmlens.families.language_models import (
    COHERE2_BLOCK,
    COHERE2_UNROTATED,
    EXAONE4_BLOCK,
    EXAONE4_UNROTATED,
    GEMMA2_BLOCK,
    GEMMA3_BLOCK,
    GEMMA4_BLOCK,
    GEMMA4_ONE_PROJECTION,
    GEMMA4_SHARED,
    GLM4V_BLOCK,
    HYPERCLOVAX_NORMED,
    LFM2_BLOCK,
    LFM2_CONV,
    LLAMA4_BLOCK,
    LLAMA4_EXPERTS,
    LLAMA4_UNROTATED,
    LLAMA4_UNROTATED_EXPERTS,
    LLAMA_BLOCK,
    LLAMA_EXPERTS,
    MOLMO2_AFTER,
    QWEN3_5_LINEAR,
    QWEN3_5_LINEAR_EXPERTS,
    QWEN3_BLOCK,
    QWEN3_EXPERTS,
    UNGATED_BLOCK,
)
from vlmlens.families.towers import (
    CLIP_BLOCK,
    DINOV2_BLOCK,
    GATED_VISION_BLOCK,
    GEMMA4_VISION_BLOCK,
    GLM_OCR_VISION_BLOCK,
    INTERNVL_BLOCK,
    JANUS_VISION_BLOCK,
    LLAMA4_VISION_BLOCK,
    MOLMO2_VISION_BLOCK,
    OVIS2_VISION_BLOCK,
    PACKED_CLIP_BLOCK,
    PACKED_UNROTATED_BLOCK,
    PIXTRAL_BLOCK,
    QWEN3_VISION_BLOCK,
    QWEN_VISION_BLOCK,
    SPLIT_VISION_BLOCK,
)

#: model_type of a sub-configuration -> what its blocks offer. Layers of one kind that differ are
#: named ``model_type:layer_type``.
BLOCKS: dict[str, Block] = {
    "llama": LLAMA_BLOCK,
    "mistral": LLAMA_BLOCK,
    "qwen2": LLAMA_BLOCK,
    "qwen2_vl_text": LLAMA_BLOCK,
    "qwen2_5_vl_text": LLAMA_BLOCK,
    "qwen3": QWEN3_BLOCK,
    "qwen3_vl_text": QWEN3_BLOCK,
    "qwen3_vl_moe_text": QWEN3_BLOCK,
    "qwen3_vl_moe_text:experts": QWEN3_EXPERTS,
    "qwen3_5_text": QWEN3_BLOCK,
    "qwen3_5_text:linear_attention": QWEN3_5_LINEAR,
    "qwen3_5_moe_text": QWEN3_EXPERTS,
    "qwen3_5_moe_text:linear_attention": QWEN3_5_LINEAR_EXPERTS,
    "qwen2_5_omni_text": LLAMA_BLOCK,
    "qwen3_omni_moe_text": QWEN3_BLOCK,
    "qwen3_omni_moe_text:experts": QWEN3_EXPERTS,
    "molmo2_text": QWEN3_BLOCK,
    "molmo2_text:norms after": MOLMO2_AFTER,
    "gemma": LLAMA_BLOCK,
    "gemma2": GEMMA2_BLOCK,
    "gemma3_text": GEMMA3_BLOCK,
    "gemma4_text": GEMMA4_BLOCK,
    "gemma4_text:keys as values": GEMMA4_ONE_PROJECTION,
    "gemma4_text:shared": GEMMA4_SHARED,
    "glm4v_text": GLM4V_BLOCK,
    "glm4v_moe_text": LLAMA_BLOCK,
    "glm4v_moe_text:experts": LLAMA_EXPERTS,
    "glm_ocr_text": GLM4V_BLOCK,
    "ernie4_5_vl_moe_text": LLAMA_BLOCK,
    "ernie4_5_vl_moe_text:experts": LLAMA_EXPERTS,
    "exaone4": EXAONE4_BLOCK,
    "exaone4:unrotated": EXAONE4_UNROTATED,
    "paddleocr_vl_text": LLAMA_BLOCK,
    "llama4_text": LLAMA4_BLOCK,
    "llama4_text:rotated experts": LLAMA4_EXPERTS,
    "llama4_text:unrotated": LLAMA4_UNROTATED,
    "llama4_text:unrotated experts": LLAMA4_UNROTATED_EXPERTS,
    "cosmos3_edge_text": UNGATED_BLOCK,
    "hyperclovax": LLAMA_BLOCK,
    "hyperclovax:normed": HYPERCLOVAX_NORMED,
    "lfm2": LFM2_BLOCK,
    "lfm2:conv": LFM2_CONV,
    "cohere2": COHERE2_BLOCK,
    "cohere2:full_attention": COHERE2_UNROTATED,
    "cohere_compass_text": COHERE2_BLOCK,
    "cohere_compass_text:unrotated": COHERE2_UNROTATED,
    "clip_vision_model": CLIP_BLOCK,
    "siglip_vision_model": CLIP_BLOCK,
    "siglip2_vision_model": CLIP_BLOCK,
    "idefics3_vision": CLIP_BLOCK,
    "smolvlm_vision": CLIP_BLOCK,
    "janus_vision_model": JANUS_VISION_BLOCK,
    "llama4_vision_model": LLAMA4_VISION_BLOCK,
    "gemma4_vision": GEMMA4_VISION_BLOCK,
    "dinov2": DINOV2_BLOCK,
    "internvl_vision": INTERNVL_BLOCK,
    "qianfan_ocr_vision": INTERNVL_BLOCK,
    "ovis2_vision": OVIS2_VISION_BLOCK,
    "qwen2_vl_vision": QWEN_VISION_BLOCK,
    "ernie4_5_vl_moe_vision": QWEN_VISION_BLOCK,
    "qwen2_5_vl_vision": GATED_VISION_BLOCK,
    "exaone4_5_vision": GATED_VISION_BLOCK,
    "glm4v_vision": GATED_VISION_BLOCK,
    "glm4v_moe_vision": GATED_VISION_BLOCK,
    "glm_ocr_vision": GLM_OCR_VISION_BLOCK,
    "qwen3_vl_vision": QWEN3_VISION_BLOCK,
    "qwen3_vl_moe_vision": QWEN3_VISION_BLOCK,
    "cohere_compass_vision": QWEN3_VISION_BLOCK,
    "qwen3_5_vision": QWEN3_VISION_BLOCK,
    "qwen3_5_moe_vision": QWEN3_VISION_BLOCK,
    "qwen2_5_omni_vision_encoder": SPLIT_VISION_BLOCK,
    "qwen3_omni_moe_vision_encoder": QWEN3_VISION_BLOCK,
    "molmo2_vision": MOLMO2_VISION_BLOCK,
    "pixtral": PIXTRAL_BLOCK,
    "cosmos3_edge_vision": PACKED_UNROTATED_BLOCK,
    "paddleocr_vl_vision": PACKED_CLIP_BLOCK,
    "video_llama_3_vision": PACKED_CLIP_BLOCK,
}


def block_table(blocks: Mapping[str, Block], model_type: str, layer_type: str = "") -> Block | None:
    """What blocks of one kind offer, by the family's own table and then by the shared one.

    Examples:
        >>> from vlmlens.families import block_table
        >>> block_table({}, "qwen3_5_text", "linear_attention")["attn.hook_pattern"]
        'this layer keeps a running state: it has neither pattern nor positions'
        >>> block_table({}, "nothing of the kind") is None
        True
    """
    for table in (blocks, BLOCKS):
        for name in (f"{model_type}:{layer_type}", model_type):
            if name in table:
                return table[name]
    return None
