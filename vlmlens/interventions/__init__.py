"""One edit per file: frozen values that say what an activation becomes."""

from vlmlens.interventions.ablate import MeanAblate, ResampleAblate, ZeroAblate
from vlmlens.interventions.attention import ScaleAttention, SetPattern
from vlmlens.interventions.base import Intervention, Site, as_edits, label
from vlmlens.interventions.compress import CompressVision
from vlmlens.interventions.drop import DropTokens
from vlmlens.interventions.edit import Edit
from vlmlens.interventions.inject import InjectAt
from vlmlens.interventions.knockout import KnockOut
from vlmlens.interventions.move import MovePositions
from vlmlens.interventions.noise import AddNoise
from vlmlens.interventions.normalize import NormalizeVision, text_norms
from vlmlens.interventions.patch import PatchFrom
from vlmlens.interventions.permute import PermuteVision
from vlmlens.interventions.rope import AblateRope, RotateRope
from vlmlens.interventions.scale import Scale
from vlmlens.interventions.steer import Steer
from vlmlens.interventions.stored import Stored, mean_activation
from vlmlens.interventions.subspace import PatchSubspace

INTERVENTIONS: dict[str, type[Intervention]] = {
    kind.__name__: kind
    for kind in (
        AblateRope,
        AddNoise,
        CompressVision,
        DropTokens,
        Edit,
        InjectAt,
        KnockOut,
        MeanAblate,
        MovePositions,
        NormalizeVision,
        PatchFrom,
        PatchSubspace,
        PermuteVision,
        ResampleAblate,
        RotateRope,
        Scale,
        ScaleAttention,
        SetPattern,
        Steer,
        ZeroAblate,
    )
}

__all__ = [
    "INTERVENTIONS",
    "AblateRope",
    "AddNoise",
    "CompressVision",
    "DropTokens",
    "Edit",
    "InjectAt",
    "Intervention",
    "KnockOut",
    "MeanAblate",
    "MovePositions",
    "NormalizeVision",
    "PatchFrom",
    "PatchSubspace",
    "PermuteVision",
    "ResampleAblate",
    "RotateRope",
    "Scale",
    "ScaleAttention",
    "SetPattern",
    "Site",
    "Steer",
    "Stored",
    "ZeroAblate",
    "as_edits",
    "label",
    "mean_activation",
    "text_norms",
]
