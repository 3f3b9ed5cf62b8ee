"""What the tiny models of Idefics 3 and SmolVLM share."""

from collections.abc import Mapping
from typing import Any

from vlmlens.zoo.tiny.parts import text, tower
from vlmlens.zoo.tiny.tiny import Tiny

IDEFICS_TILES = {
    "size": {"longest_edge": 64},
    "max_image_size": {"longest_edge": 32},
}

IDEFICS_TOKENS = (
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
    *(f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (1, 2, 3)),
)


def idefics(kind: str, frames: Mapping[str, Any] | None = None, **tokens: str) -> Tiny:
    """A tiny model of tiles, with the tokens around them."""
    processor = {"idefics3_vision": "Idefics3", "smolvlm_vision": "SmolVLM"}[kind]
    return Tiny(
        config={
            "vision_config": tower(kind, image_size=32, patch_size=8),
            "text_config": text("llama"),
            "scale_factor": 2,
        },
        pixels=(f"{processor}ImageProcessorPil", IDEFICS_TILES),
        processor={"image_seq_len": 4},
        tokens=tokens,
        plain=IDEFICS_TOKENS,
        frames=frames,
    )
