"""Heads knocked out, averaged, scaled, or kept alone."""

from collections import defaultdict
from dataclasses import dataclass

from vlmlens.checks import one_of, shown
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions import Intervention, MeanAblate, Scale, ZeroAblate
from vlmlens.layout import TokenLayout
from vlmlens.live.edits.base import LiveEdit, Setting
from vlmlens.select import Where

POINT = "blocks.*.attn.hook_z"
WAYS = {"zero": "knock out", "mean": "average", "scale": "scale", "only": "keep only"}


@dataclass(frozen=True)
class Heads(LiveEdit):
    """What some heads write: nothing, their mean over the prompt, a multiple; or they alone.

    Attributes:
        heads: layer and head of each.
        how: one of ``WAYS``; ``"only"`` knocks out all heads of the model but these.
        factor: for ``"scale"``.
    """

    heads: tuple[tuple[int, ...], ...]
    how: str = "zero"
    factor: int | float = 1.0

    def __post_init__(self):
        super().__post_init__()
        one_of(self.how, "how", WAYS)

    def label(self, layout: TokenLayout) -> str:
        """Such as ``"knock out L2 H1"``."""
        named = ", ".join(f"L{layer} H{head}" for layer, head in self.heads[:6])
        more = f" and {len(self.heads) - 6} more" * (len(self.heads) > 6)
        by = f" by {self.factor:g}" * (self.how == "scale")
        return f"{WAYS[self.how]} {named}{more}{by}"

    def interventions(self, setting: Setting) -> tuple[Intervention, ...]:
        """One for all layers in which the same heads are meant."""
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for layer, heads in sorted(self._by_layer(setting).items()):
            alike[heads].append(layer)
        if not alike:
            raise InputError(
                "keeping only these changes nothing: they are all heads that there are"
            )
        return tuple(
            self._one(Where(layers=tuple(layers), heads=heads), setting)
            for heads, layers in alike.items()
        )

    def _by_layer(self, setting: Setting) -> dict[int, tuple[int, ...]]:
        chosen: dict[int, set[int]] = defaultdict(set)
        for layer, head in self.heads:
            chosen[layer].add(head)
        if self.how != "only":
            return {layer: tuple(sorted(heads)) for layer, heads in chosen.items()}
        model = setting.model
        for what, given, count in zip(
            ("layer", "head"),
            zip(*self.heads, strict=True),
            (model.layers, model.cfg.n_heads),
            strict=True,
        ):
            if max(given) >= count:
                raise EmptySelectionError(
                    f"no {what} {shown(max(given))}: there are {count}, counted from 0"
                )
        every = set(range(model.cfg.n_heads))
        there = [n for n in range(model.layers) if POINT.replace("*", str(n)) in model.hook_dict]
        rest = {layer: tuple(sorted(every - chosen[layer])) for layer in there}
        return {layer: heads for layer, heads in rest.items() if heads}

    def _one(self, where: Where, setting: Setting) -> Intervention:
        if self.how == "scale":
            return Scale(POINT, where, by=self.factor)
        if self.how == "mean":
            return MeanAblate(POINT, where, source=setting.clean())
        return ZeroAblate(POINT, where)
