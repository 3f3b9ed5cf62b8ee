"""The vision tower's stage: what each patch shows, the set of shapes, and perhaps where it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.utils.data import Dataset

from vlmlens.datasets.shapes.scene import COLORS, SHAPES
from vlmlens.errors import InputError
from vlmlens.zoo.shapes import GRID
from vlmlens.zoo.training.recipe.gate import passed
from vlmlens.zoo.training.recipe.loop import Right, fit
from vlmlens.zoo.training.recipe.pictures import draw_pixels, patch_labels, scene_of
from vlmlens.zoo.training.recipe.pixels import as_seen
from vlmlens.zoo.training.recipe.plan import TowerPlan

#: What becomes of the tower's knowledge of places.
POSITIONS = ("zeroed", "kept", "trained")


@dataclass
class Patches(Dataset):
    """Batch number ``step``: pixels, and what every patch shows."""

    batch: int
    steps: int
    seed: tuple[int, ...]
    split: str = "train"

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Shaped[Tensor, "..."]]:
        rng = np.random.default_rng([*self.seed, step])
        pixels, targets, sets = [], [], []
        for _ in range(self.batch):
            scene = scene_of(self.split, rng)
            pixels.append(draw_pixels(scene, rng))
            targets.append(patch_labels(scene))
            held = np.zeros((len(COLORS), len(SHAPES)), dtype=np.float32)
            for shape in scene.shapes:
                held[list(COLORS).index(shape.color), SHAPES.index(shape.shape)] = 1
            sets.append(held.ravel())
        stacked = (np.stack(pixels), np.stack(targets), np.stack(sets))
        return dict(zip(("pixels", "patches", "set"), map(torch.from_numpy, stacked), strict=True))


class TowerLessons(nn.Module):
    """The tower with linear read-outs: colour, kind, row, column per patch, the set on CLS."""

    def __init__(self, tower: Any, position: str):
        super().__init__()
        if position not in POSITIONS:
            raise InputError(f"position={position!r}; there is: {', '.join(POSITIONS)}")
        width = tower.config.hidden_size
        self.tower = tower.requires_grad_(True)  # whatever another stage left frozen
        self.sizes = (len(COLORS) + 1, len(SHAPES) + 1, GRID, GRID)
        # Rows and columns count only where the tower is taught places: elsewhere no gradient of
        # theirs reaches it.
        self.weights = (1.0, 2.0) + ((0.5, 0.5) if position == "trained" else ())
        self.patches = nn.Linear(width, sum(self.sizes))
        self.set = nn.Linear(width, len(COLORS) * len(SHAPES))
        if position == "zeroed":
            embedding = self.tower.get_parameter("embeddings.position_embedding.weight")
            with torch.no_grad():
                embedding.zero_()
            embedding.requires_grad_(False)

    def forward(self, batch: dict[str, Any], right: Right) -> Float[Tensor, ""]:
        """The loss of a batch; notes how much of the shapes' patches was read rightly."""
        hidden = self.tower(as_seen(batch["pixels"])).last_hidden_state
        parts = self.patches(hidden[:, 1:]).split(self.sizes, dim=-1)
        patches = batch["patches"]
        on_shape = patches[..., 0] < len(COLORS)
        loss = F.binary_cross_entropy_with_logits(self.set(hidden[:, 0]), batch["set"]) * 5
        for i, weight in enumerate(self.weights):
            # Patches of shapes and of ground count alike, though there are six of these for one
            # of those: or what the tower learns best is the ground.
            for side in (on_shape, ~on_shape):
                loss = loss + weight * F.cross_entropy(parts[i][side], patches[..., i][side]) / 2
        for i, name in enumerate(("color", "kind", "row", "column")[: len(self.weights)]):
            read = (parts[i].argmax(-1) == patches[..., i])[on_shape]
            right[name].append(read.float().mean().item())
        return loss


def train_tower(tower: nn.Module, plan: TowerPlan, seed: int, folder: Path) -> None:
    """Teach a tower, or give it the weights of when it was taught.

    Raises:
        InputError: a kind of position that does not exist, or a tower that misses its gate.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        read = TowerLessons(tower, plan.position)
    lessons = Patches(plan.batch, plan.schedule.steps, (seed, 1))
    fit("tower", read, read, lessons, plan.schedule, folder)
    held_out = Patches(plan.batch, 8, (seed, 1, 1), split="validation")
    passed("tower", read, held_out, folder, gate=plan.gate, of=("kind",))
