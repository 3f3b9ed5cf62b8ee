"""The machine: transformers' own model, with a hook point at every step."""

from vlmlens.model.hooked import HookedVLM
from vlmlens.model.inputs import Inputs
from vlmlens.model.norm import Norm
from vlmlens.model.residual import ResidualStream
from vlmlens.model.rotary import Rope, rotate, unrotate
from vlmlens.model.run import Generation, Run

__all__ = [
    "Generation",
    "HookedVLM",
    "Inputs",
    "Norm",
    "ResidualStream",
    "Rope",
    "Run",
    "rotate",
    "unrotate",
]
