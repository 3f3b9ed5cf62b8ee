"""A tiny glm4v."""

from vlmlens.zoo.tiny.glm_parts import glm
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "glm4v": glm("glm4v_vision", "glm4v_text", "Glm4vImageProcessorPil"),
}
