"""Lengths of tokens set."""

from dataclasses import dataclass
from typing import ClassVar

from vlmlens.checks import one_of
from vlmlens.interventions import Intervention, NormalizeVision, Scale
from vlmlens.layout import TokenLayout
from vlmlens.live.edits.base import LiveEdit, Setting, compact, named
from vlmlens.select import Where

#: What the page calls the kinds of ``NormalizeVision``.
KINDS = {
    "text": "match_mean",
    "each": "match_each",
    "distribution": "match_distribution",
    "paper": "paper",
}
WAYS = (*KINDS, "scale")


@dataclass(frozen=True)
class Norms(LiveEdit):
    """How long tokens are as they enter the language model.

    Attributes:
        keys: positions; None for all of the image.
        how: ``"text"`` (one factor, to the mean of the model's table of text tokens), ``"each"``
            (each token to that), ``"distribution"`` (to that of the table), ``"paper"``, or
            ``"scale"``.
        factor: for ``"scale"``.
    """

    keys: tuple[int, ...] | None = None
    how: str = "text"
    factor: int | float = 1.0
    PLACES: ClassVar[tuple[str, ...]] = ("keys",)

    def __post_init__(self):
        super().__post_init__()
        one_of(self.how, "how", WAYS)

    def label(self, layout: TokenLayout) -> str:
        """Such as ``"norms of the picture: text"``."""
        return f"norms of {named(self.keys, layout)}: {self.how}" + f" by {self.factor:g}" * (
            self.how == "scale"
        )

    def interventions(self, setting: Setting) -> tuple[Intervention, ...]:
        """Embeddings rescaled."""
        chosen = None if self.keys is None else compact(self.keys, "keys")
        if self.how == "scale":
            return (Scale("hook_embed", Where(positions=chosen or "vision"), by=self.factor),)
        return (NormalizeVision(where=Where(positions=chosen), kind=KINDS[self.how]),)
