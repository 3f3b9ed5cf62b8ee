"""What is measured: a random LLaVA of width 1024, and a question about a picture."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

import vlmlens as vl
from vlmlens.gpu import subject
from vlmlens.zoo.tiny import made

CHOICES = ("red", "blue", "left", "right")


@dataclass(frozen=True)
class Size:
    """How large the model is; by default the one that bars are set for."""

    width: int = 1024
    layers: int = 12
    heads: int = 16
    vision_width: int = 256
    vision_layers: int = 6
    grid: int = 24
    text: int = 64

    def __str__(self) -> str:
        return (
            f"random LLaVA, text width {self.width}, {self.layers} layers, {self.heads} heads, "
            f"{self.grid**2} vision + {self.text} text tokens, float32"
        )


@dataclass(frozen=True, eq=False)
class Subject:
    """A model in memory with its processor, and what it is asked."""

    size: Size
    model: Any
    processor: Any
    sample: vl.Sample = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "sample", self.question())

    @classmethod
    def of(cls, size: Size) -> "Subject":
        built = subject.Size(
            size.width,
            11 * size.width // 4 // 32 * 32,  # Llama's 8/3, rounded
            size.layers,
            size.heads,
            size.vision_width,
            size.vision_layers,
            size.grid,
        )
        return cls(size, *made(built.tiny, "llava"))

    def question(self, seed: int = 0, start: str = "") -> vl.Sample:
        """A picture and as many words as it takes; ``start`` tells two questions apart."""
        side = 14 * self.size.grid
        pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
        # Padded with a word of one token until the prompt is as long as it should be.
        frame = self._length(start)
        words = start + "?" * (self.size.text - frame)
        assert self._length(words) == self.size.text
        return vl.Sample(
            question=words,
            images=(Image.fromarray(pixels),),
            answer=CHOICES[0],
            choices=CHOICES,
            id=f"{seed} {start}",
        )

    def _length(self, words: str) -> int:
        """How many tokens of a prompt with these words are text."""
        message = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": words}]}
        ]
        text = self.processor.apply_chat_template(message, add_generation_prompt=True)
        return len(self.processor.tokenizer(text)["input_ids"]) - 1


def as_tensors(vlm: vl.HookedVLM, sample: vl.Sample) -> dict[str, torch.Tensor]:
    """What plain transformers gets: the very tensors that vlmlens feeds."""
    return dict(vlm.inputs([sample]).tensors)
