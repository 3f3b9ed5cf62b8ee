"""A tiny glm_ocr."""

from vlmlens.zoo.tiny.glm_parts import glm
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "glm_ocr": glm("glm_ocr_vision", "glm_ocr_text", "Glm46VImageProcessorPil"),
}
