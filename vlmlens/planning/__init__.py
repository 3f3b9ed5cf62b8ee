"""What a model takes, before any of its weights is there: memory, operations, time, GPUs."""

from vlmlens.planning.costs import SWEEPS, Card, Costs, Job
from vlmlens.planning.counted import Counted, weighing
from vlmlens.planning.pictures import drawn
from vlmlens.planning.planned import Memory, Plan, plan
from vlmlens.planning.sizes import full_size

__all__ = [
    "SWEEPS",
    "Card",
    "Costs",
    "Counted",
    "Job",
    "Memory",
    "Plan",
    "drawn",
    "full_size",
    "plan",
    "weighing",
]
