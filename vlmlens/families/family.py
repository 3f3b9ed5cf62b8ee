"""What a family is: where an architecture keeps its points."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

#: Where at a module a point lies. ``in`` and ``out`` are its first input and its output;
#: ``stream`` is an input that the residual stream shares; ``cos`` and ``sin`` are the angles
#: handed to attention, ``query`` to ``pattern`` the steps inside it; ``heads`` is the output
#: of a projection split by the heads that fed it.
Stage = Literal[
    "in",
    "out",
    "stream",
    "cos",
    "sin",
    "query",
    "key",
    "value",
    "scores",
    "pattern",
    "heads",
]


@dataclass(frozen=True)
class Tap:
    """Where transformers keeps one point.

    Attributes:
        module: path from the block (or from the model, for points that exist once).
        stage: where at that module.
        layout: the tensor's axes there, as einops writes them; None where they are the point's.
    """

    module: str
    stage: Stage
    layout: str | None = None


#: Everything a block offers: point name -> tap.
Block = Mapping[str, Tap]


@dataclass(frozen=True)
class Family:
    """An architecture, as data.

    Attributes:
        model_type: transformers' name of it, as in ``config.model_type``.
        vision_layers: path of the tower's list of blocks.
        projector: path of the module that maps the tower's output to vision tokens.
        lm_layers: path of the language model's list of blocks.
        final_norm: path of the norm after the last block.
        lm_head: path of the unembedding.
        rotary: path of the module that computes RoPE's angles.
        image_grid: (config, pixel height, pixel width) -> rows and columns of vision tokens.
        vision_used: config -> how many of the tower's blocks the projector reads from.
        blocks: point tables of towers that ``towers.py`` lacks, by ``model_type``.
    """

    model_type: str
    vision_layers: str
    projector: str
    lm_layers: str
    image_grid: Callable[[Any, int, int], tuple[int, int]]
    vision_used: Callable[[Any], int]
    final_norm: str = "model.language_model.norm"
    lm_head: str = "lm_head"
    rotary: str = "model.language_model.rotary_emb"
    blocks: Mapping[str, Block] | None = None
