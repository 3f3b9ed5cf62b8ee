"""A tiny glmga."""

from vlmlens.zoo.tiny.glm_parts import glm
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "glmga": glm("glm4v_vision", "glm4v_text", "GlmgaImageProcessorPil"),
}
