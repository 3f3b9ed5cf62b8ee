"""Edits of attention that would cut nothing: no query that is meant sees any key that is meant.

An edit of the mask may show what was hidden, too: it does nothing where the mask stays as it was.
Who sees whom is read off the pass itself, since images see themselves both ways in some models, and
windows hide what is far in others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlmlens.errors import EmptySelectionError
from vlmlens.interventions import Intervention, Site
from vlmlens.positions import indices

SCORES, PATTERN, MASK = "attn.hook_attn_scores", "attn.hook_pattern", "attn.hook_mask"


@dataclass(eq=False)
class Sight:
    """Whether each sample's part of an edit is seen by anyone, over the layers of a pass.

    Attributes:
        edit: the edit, which chooses keys.
        rows: the samples that it means.
        seen: by layer, which samples have a query that sees one of the keys, or another mask.
    """

    edit: Intervention
    rows: Sequence[int]
    seen: list[Bool[Tensor, " batch"]] = field(default_factory=list)

    def look(self, scores: Float[Tensor, "batch head query key"], site: Site) -> None:
        """Note who is seen at one layer's scores, where minus infinity hides a key."""
        mask, _ = site.meant(self.edit.where, scores)
        visible = scores > -torch.inf
        part = visible if mask is None else visible & mask
        self.seen.append(part.flatten(1).any(1))

    def masked(
        self, before: Float[Tensor, "batch query key"], after: Float[Tensor, "batch query key"]
    ) -> None:
        """Note whose mask the edit changed at one layer."""
        self.seen.append((before != after).flatten(1).any(1))

    def refuse(self) -> None:
        """Refuse an edit of which some sample sees nothing in any layer.

        Raises:
            EmptySelectionError: names the sample.
        """
        if not self.seen or self.seen[0].is_meta:
            return
        # Together, so that a device is waited for once; layers may lie on several.
        place = self.seen[0].device
        found = torch.stack([each.to(place) for each in self.seen]).any(0).tolist()
        for row in self.rows:
            if not found[row]:
                raise EmptySelectionError(
                    f"{self.edit}: in sample {row} no query that is meant sees any of these keys, "
                    "which lie ahead of them or are hidden, or the mask stays as it was: there is "
                    "no attention to edit"
                )


def scores_of(edit: Intervention, name: str) -> str | None:
    """The scores that tell who sees the keys that an edit chooses; None where it chooses none."""
    if edit.where.keys is None or not name.endswith((SCORES, PATTERN)):
        return None
    return name.removesuffix(PATTERN).removesuffix(SCORES) + SCORES


def sight_of(
    edit: Intervention, names: Sequence[str], step: int, samples: int
) -> tuple[Sight, list[str]] | None:
    """What has to be looked at before an edit is made, and at which scores; none for masks.

    None where nothing can lie ahead: an edit that chooses no keys, or that began at an earlier
    step.
    """
    where = edit.where
    there = list(dict.fromkeys(filter(None, (scores_of(edit, name) for name in names))))
    masks = where.keys is not None and any(name.endswith(MASK) for name in names)
    if not (there or masks) or not where.has_step(step) or any(map(where.has_step, range(step))):
        return None
    rows = range(samples) if where.samples is None else indices(where.samples, samples, "sample")
    return Sight(edit, rows), there
