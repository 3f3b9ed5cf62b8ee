"""What is timed: a random LLaVA of real size, and questions about pictures of noise."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from vlmlens.model.hooked import HookedVLM
from vlmlens.sample import Sample
from vlmlens.zoo.tiny import made
from vlmlens.zoo.tiny.tiny import Tiny


@dataclass(frozen=True)
class Size:
    """How large the model is; by default as LLaVA-1.5-7B, but for its vocabulary.

    Attributes:
        width: of the language model.
        inner: of its MLPs.
        layers: of it.
        heads: of it.
        vision_width: of the tower.
        vision_layers: of it.
        grid: patches along each edge.
        dtype: of the weights.
    """

    width: int = 4096
    inner: int = 11008
    layers: int = 32
    heads: int = 32
    vision_width: int = 1024
    vision_layers: int = 24
    grid: int = 24
    dtype: torch.dtype = torch.bfloat16

    def __str__(self) -> str:
        return (
            f"random LLaVA, width {self.width}, {self.layers} layers, {self.heads} heads, "
            f"{self.grid**2} vision tokens, {str(self.dtype).removeprefix('torch.')}"
        )

    @property
    def tiny(self) -> Tiny:
        """What such a model is built from."""
        side = 14 * self.grid
        tower = {
            "model_type": "clip_vision_model",
            "hidden_size": self.vision_width,
            "intermediate_size": 4 * self.vision_width,
            "num_hidden_layers": self.vision_layers,
            "num_attention_heads": max(self.vision_width // 64, 1),
            "image_size": side,
            "patch_size": 14,
        }
        text = {
            "model_type": "llama",
            "hidden_size": self.width,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "max_position_embeddings": 2048,
        }
        return Tiny(
            config={"vision_config": tower, "text_config": text},
            pixels=(
                "CLIPImageProcessorPil",
                {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}},
            ),
            processor={
                "patch_size": 14,
                "vision_feature_select_strategy": "default",
                "num_additional_image_tokens": 1,
            },
        )


SEVEN = Size()
#: Where 7 billion weights do not fit, and for laws: a second's work on any card.
NARROW = Size(1024, 2752, 12, 16, vision_width=256, vision_layers=6)
#: Bytes that the large one takes in bfloat16, with room for what is measured.
ROOM = 24 * 2**30


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that is wrapped, and the same weights in one that never was.

    Attributes:
        size: of both.
        vlm: the wrapped one.
        plain: transformers' own.
    """

    size: Size
    vlm: HookedVLM
    plain: Any

    @classmethod
    def of(cls, size: Size, device: str) -> "Subject":
        """Both, on a device; weights are there once."""
        with torch.device(device):
            model, processor = made(size.tiny, "llava", size.dtype)
            with torch.device("meta"):
                config = type(model.config).from_dict(model.config.to_dict())
                plain = type(model)._from_config(config, dtype=size.dtype)
        plain.load_state_dict(model.state_dict(), assign=True)
        for name, buffer in model.named_buffers():  # frequencies, which no checkpoint holds
            *path, own = name.split(".")
            plain.get_submodule(".".join(path))._buffers[own] = buffer
        return cls(size, HookedVLM(model, processor, name=str(size)), plain.eval())

    def question(self, seed: int = 0, start: str = "") -> Sample:
        """A picture of noise and some 60 words; ``start`` tells two questions apart."""
        side = 14 * self.size.grid
        pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
        return Sample(
            question=start + " is the circle" * 12 + "?",
            images=(Image.fromarray(pixels),),
            answer="red",
            choices=("red", "blue"),
            id=f"{seed} {start}",
        )

    def two_pictures(self) -> tuple[Sample, Sample]:
        """One question, two pictures, two answers."""
        return self.question(0), replace(self.question(1), answer="blue")

    def two_questions(self) -> tuple[Sample, Sample]:
        """One picture, two questions, two answers."""
        return self.question(start="a"), replace(self.question(start="b"), answer="blue")
