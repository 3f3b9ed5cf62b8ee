"""What a tiny model is built from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Stands for the tokenizer's size, where a configuration says it once more.
OF_TOKENIZER = "as many as the tokenizer has"


@dataclass(frozen=True)
class Tiny:
    """What a tiny model is built from.

    Attributes:
        config: of the model; sub-configurations name their ``model_type``.
        pixels: name and settings of the image processor.
        image: what stands for an image in a prompt.
        processor: further settings of the processor.
        parts: further parts of the processor, by the names of their classes.
        tokens: special tokens by the attribute that the processor looks for.
        plain: further special tokens.
        ids: configuration fields that hold a token's id, or a list of them.
        bos: whether the chat template writes the start token; PaliGemma's processor does.
        frames: settings of the video processor; None for a model that is shown no videos.
        video: what stands for a video in a prompt.
        seed: of the weights, such that what is generated holds no image token.

    Examples:
        >>> from vlmlens.zoo.tiny import TINY
        >>> TINY["llava"].config["text_config"]["model_type"], TINY["llava"].image
        ('llama', '<image>')
    """

    config: Mapping[str, Any]
    pixels: tuple[str, Mapping[str, Any]]
    image: str = "<image>"
    processor: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    plain: tuple[str, ...] = ()
    ids: Mapping[str, str | list[str]] = field(
        default_factory=lambda: {"image_token_id": "<image>"}
    )
    bos: bool = True
    frames: Mapping[str, Any] | None = None
    video: str = "<video>"
    seed: int = 0
