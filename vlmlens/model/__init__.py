"""The machine: transformers' own model, with a hook point at every step."""

from vlmlens.inputs import Inputs
from vlmlens.model.arithmetic.norm import Norm
from vlmlens.model.doors.parts import Part
from vlmlens.model.doors.settings import Settings
from vlmlens.model.hooked import HookedVLM
from vlmlens.model.passes.run import Generation, Run
from vlmlens.model.reading.residual import ResidualStream
from vlmlens.model.reuse.batching import in_batches
from vlmlens.model.reuse.prefill import Prefill
from vlmlens.model.reuse.resume import Resumed
from vlmlens.model.wiring.point import WiredPoint
from vlmlens.model.wiring.rotary import Rope, rotate, unrotate
from vlmlens.model.wiring.spliced import Dictionary, Splice

__all__ = [
    "Dictionary",
    "Generation",
    "HookedVLM",
    "Inputs",
    "Norm",
    "Part",
    "Prefill",
    "ResidualStream",
    "Resumed",
    "Rope",
    "Run",
    "Settings",
    "Splice",
    "WiredPoint",
    "in_batches",
    "rotate",
    "unrotate",
]
