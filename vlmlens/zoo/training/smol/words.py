"""The first stage: every patch is turned towards the words for what it shows.

The language model is not run, so this takes a minute.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils.data import Dataset

from vlmlens.datasets.shapes.scene import COLORS, SHAPES
from vlmlens.zoo.training.recipe.loop import Right
from vlmlens.zoo.training.recipe.pictures import patch_labels, scene_of
from vlmlens.zoo.training.smol.lessons import pixels
from vlmlens.zoo.training.smol.plan import STAGES, Recipe
from vlmlens.zoo.training.smol.pupil import Pupil


@dataclass
class Words(Dataset):
    """Batch number ``step``: pictures, and what every patch shows."""

    recipe: Recipe

    def __len__(self) -> int:
        return self.recipe.word_steps

    def __getitem__(self, step: int) -> dict[str, Shaped[Tensor, "..."]]:
        rng = np.random.default_rng([self.recipe.seed, STAGES.index("words"), step])
        scenes = [scene_of("train", rng) for _ in range(self.recipe.word_batch)]
        return {
            "pixels": torch.from_numpy(np.stack([pixels(s, rng) for s in scenes])),
            "patches": torch.from_numpy(np.stack([patch_labels(s) for s in scenes])),
        }


def word_targets(
    tokenizer: Any, table: Float[Tensor, "vocab d_model"]
) -> Float[Tensor, "kind d_model"]:
    """(colour x kind + 1, d_model): a direction for every colour and kind; the last row: ground.

    The words for both, added; as a unit vector their difference from the mean of all, plus half
    of the mean's own.
    """

    def direction(text: str) -> Float[Tensor, " d_model"]:
        rows = table[tokenizer(f" {text}", add_special_tokens=False)["input_ids"]]
        return F.normalize(F.normalize(rows, dim=-1).sum(0), dim=0)

    named = torch.stack(
        [torch.stack([direction(c) + direction(s) for s in SHAPES]) for c in COLORS]
    )
    ground = direction("white") + direction("background")
    whole = torch.cat([named.flatten(0, 1), ground[None]])
    return F.normalize(whole - whole.mean(0), dim=-1) + 0.5 * F.normalize(whole.mean(0), dim=-1)


def word_loss(
    pupil: Pupil, targets: Float[Tensor, "kind d_model"], batch: dict[str, Any], right: Right
) -> Float[Tensor, ""]:
    """One minus the cosine between a projected patch and the words for what it shows.

    Only the direction is taught: the loss does not see lengths. Patches of shapes and of ground
    weigh alike. Nothing is answered, so nothing is noted as right.
    """
    color, kind = batch["patches"][..., 0], batch["patches"][..., 1]
    on_shape = color < len(COLORS)
    wanted = targets[torch.where(on_shape, color * len(SHAPES) + kind, len(targets) - 1)]
    seen = pupil.projector(pupil.features(batch["pixels"]))
    off = 1 - F.cosine_similarity(seen, wanted, dim=-1)
    return (off[on_shape].mean() + off[~on_shape].mean()) / 2
