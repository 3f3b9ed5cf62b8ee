"""What is measured: a random LLaVA of width 1024, and a question about a picture."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

import vlmlens as vl
from vlmlens.zoo.tiny import made
from vlmlens.zoo.tiny.tiny import Tiny

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
        side = 14 * size.grid
        tower = {
            "model_type": "clip_vision_model",
            "hidden_size": size.vision_width,
            "intermediate_size": 4 * size.vision_width,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": max(size.vision_width // 64, 1),
            "image_size": side,
            "patch_size": 14,
        }
        text = {
            "model_type": "llama",
            "hidden_size": size.width,
            "intermediate_size": 11 * size.width // 4 // 32 * 32,  # Llama's 8/3, rounded
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.heads,
            "max_position_embeddings": 2048,
        }
        tiny = Tiny(
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
        return cls(size, *made(tiny, "llava"))

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
