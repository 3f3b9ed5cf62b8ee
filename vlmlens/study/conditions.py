"""What the models of the study are put through, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from vlmlens.experiments.blind import blinded
from vlmlens.interventions import AblateRope, Intervention, MovePositions, PermuteVision, RotateRope
from vlmlens.probes.psi import ORIGINAL
from vlmlens.sample import Sample
from vlmlens.select import Where

SHUFFLES = ("shuffled 0", "shuffled 1", "shuffled 2")
#: Share of tokens that are shuffled -> condition.
DOSES: Mapping[float, str] = MappingProxyType(
    {0.0: ORIGINAL, 0.25: "dose 0.25", 0.5: "dose 0.5", 0.75: "dose 0.75", 1.0: SHUFFLES[0]}
)
VISION = Where(positions="vision")


@dataclass(frozen=True)
class Condition:
    """Edits, and what becomes of the pictures.

    Attributes:
        edits: in order of application.
        control: of ``experiments.CONTROLS``; empty for the sample's own picture.

    Examples:
        >>> from vlmlens.study import CONDITIONS
        >>> CONDITIONS["text only"].asked(samples)[0].images
        ()
        >>> [edit.seed for edit in CONDITIONS["shuffled 1"].edits]
        [1]
    """

    edits: tuple[Intervention, ...] = ()
    control: str = field(default="")

    def asked(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples as they are asked."""
        return blinded(samples, self.control) if self.control else list(samples)


CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        ORIGINAL: Condition(),
        **{name: Condition((PermuteVision(seed=k),)) for k, name in enumerate(SHUFFLES)},
        **{
            name: Condition((PermuteVision(fraction=dose),))
            for dose, name in DOSES.items()
            if 0 < dose < 1
        },
        "vision keys not rotated": Condition((AblateRope(of="keys", where=VISION),)),
        "one position id": Condition((MovePositions(to="constant"),)),
        "vision keys +1": Condition((RotateRope(delta=1.0, of="keys", where=VISION),)),
        "vision keys +4": Condition((RotateRope(delta=4.0, of="keys", where=VISION),)),
        "vision keys +16": Condition((RotateRope(delta=16.0, of="keys", where=VISION),)),
        "other picture": Condition(control="other picture"),
        "text only": Condition(control="text only"),
        "noise": Condition(control="noise"),
    }
)
#: The causal RoPE conditions and the controls, in the order in which the study tells of them.
ABLATIONS = ("vision keys not rotated", "one position id")
TURNS = ("vision keys +1", "vision keys +4", "vision keys +16")
BLIND = ("other picture", "text only", "noise")
