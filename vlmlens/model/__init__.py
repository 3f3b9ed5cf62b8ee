"""The machine: transformers' own model, with a hook point at every step."""

from vlmlens.model.batching import in_batches
from vlmlens.model.hooked import HookedVLM
from vlmlens.model.inputs import Inputs
from vlmlens.model.norm import Norm
from vlmlens.model.point import WiredPoint
from vlmlens.model.prefill import Prefill
from vlmlens.model.residual import ResidualStream
from vlmlens.model.resume import Resumed
from vlmlens.model.rotary import Rope, rotate, unrotate
from vlmlens.model.run import Generation, Run

__all__ = [
    "Generation",
    "HookedVLM",
    "Inputs",
    "Norm",
    "Prefill",
    "ResidualStream",
    "Resumed",
    "Rope",
    "Run",
    "WiredPoint",
    "in_batches",
    "rotate",
    "unrotate",
]
