"""A tiny glm4v_moe."""

from vlmlens.zoo.tiny.glm_parts import EXPERTS, glm
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "glm4v_moe": glm("glm4v_moe_vision", "glm4v_moe_text", "Glm4vImageProcessorPil", **EXPERTS),
}
