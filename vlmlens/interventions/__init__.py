"""One edit per file: frozen values that say what an activation becomes."""

from vlmlens.interventions.ablate import ZeroAblate
from vlmlens.interventions.base import Intervention, Site
from vlmlens.interventions.knockout import KnockOut
from vlmlens.interventions.patch import PatchFrom
from vlmlens.interventions.permute import PermuteVision
from vlmlens.interventions.scale import Scale

INTERVENTIONS: dict[str, type[Intervention]] = {
    kind.__name__: kind for kind in (KnockOut, PatchFrom, PermuteVision, Scale, ZeroAblate)
}

__all__ = [
    "INTERVENTIONS",
    "Intervention",
    "KnockOut",
    "PatchFrom",
    "PermuteVision",
    "Scale",
    "Site",
    "ZeroAblate",
]
