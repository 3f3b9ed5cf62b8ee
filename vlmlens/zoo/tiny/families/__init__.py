"""What tiny models are built from: one family a file."""

from vlmlens.zoo.tiny.families import (
    aya_vision,
    cohere2_vision,
    deepseek_vl,
    gemma3,
    gemma4,
    glm4v,
    idefics3,
    internvl,
    janus,
    lfm2_vl,
    llama4,
    llava,
    llava_next,
    llava_onevision,
    mistral3,
    ovis2,
    paligemma,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_5,
    qwen3_vl,
    qwen3_vl_moe,
    smolvlm,
    vipllava,
    vlmlens_llava,
    vlmlens_llava_grid,
)
from vlmlens.zoo.tiny.tiny import Tiny

FAMILIES = (
    llava,
    vipllava,
    llava_next,
    llava_onevision,
    qwen2_vl,
    qwen2_5_vl,
    qwen3_vl,
    qwen3_vl_moe,
    qwen3_5,
    glm4v,
    gemma3,
    gemma4,
    paligemma,
    idefics3,
    smolvlm,
    mistral3,
    internvl,
    ovis2,
    aya_vision,
    deepseek_vl,
    janus,
    llama4,
    lfm2_vl,
    cohere2_vision,
    vlmlens_llava,
    vlmlens_llava_grid,
)
#: Family, or family/variant -> what it is built from.
TINY: dict[str, Tiny] = {name: tiny for each in FAMILIES for name, tiny in each.TINY.items()}

__all__ = ["TINY"]
