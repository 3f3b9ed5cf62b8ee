"""Metrics before they are numbers: what each item adds to which sums.

Every metric is worked out of sums over items: of right answers, of answers taken for yes, by pair,
by source. So its value without one picture, or with another model's answers about some, takes no
second look at the items; that is what intervals and tests are made of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Shaped

from vlmlens.errors import DataError
from vlmlens.graders import Graded
from vlmlens.sample import Sample


@dataclass(frozen=True, eq=False)
class Items:
    """Graded answers, a row each.

    Attributes:
        score: from 0, wrong, to 1, right.
        parsed: what each answer was taken for; empty where nothing in it answers.
        gold: the right answers.
        groups: what each item belongs to, by the group's name; ``category`` among them, and
            ``sample``, its own id.
        yes: how likely each answer is a yes, where that is not known from ``parsed``.
    """

    score: Float[np.ndarray, " item"]
    parsed: Shaped[np.ndarray, " item"]
    gold: Shaped[np.ndarray, " item"]
    groups: Mapping[str, Shaped[np.ndarray, " item"]] = field(default_factory=dict)
    yes: Float[np.ndarray, " item"] | None = None

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, rows: Shaped[np.ndarray, " chosen"]) -> "Items":
        groups = {name: column[rows] for name, column in self.groups.items()}
        yes = None if self.yes is None else self.yes[rows]
        return Items(self.score[rows], self.parsed[rows], self.gold[rows], groups, yes)

    def group(self, name: str) -> Shaped[np.ndarray, " item"]:
        """A group's column.

        Raises:
            DataError: these items have no such group.
        """
        if name not in self.groups:
            listed = ", ".join(self.groups) or "none"
            raise DataError(f"these items have no group {name!r}; there is: {listed}")
        return self.groups[name]

    def guessed(self, chance: Float[np.ndarray, " item"]) -> "Items":
        """The same items answered at random among their choices.

        Args:
            chance: 1 / the number of an item's choices; NaN where the answer is free.
        """
        said = np.full(len(self), None, dtype=object)  # something, and nobody knows what
        return replace(self, score=chance, parsed=said, yes=np.where(chance == 0.5, 0.5, np.nan))


def items(samples: Sequence[Sample], graded: Sequence[Graded]) -> Items:
    """Samples and their grades as columns; a group that a sample lacks is empty there."""
    return Items(
        np.array([each.score for each in graded], dtype=float),
        np.array([each.parsed for each in graded], dtype=str),
        np.array([sample.answer or "" for sample in samples], dtype=str),
        groups_of(samples),
    )


def groups_of(samples: Sequence[Sample]) -> dict[str, Shaped[np.ndarray, " sample"]]:
    """What every sample belongs to, by the group's name; ``category`` and ``sample`` among them."""
    own = [dict(sample.groups) for sample in samples]
    categories = [sample.category for sample in samples]
    return columns(own, categories, [s.id or str(n) for n, s in enumerate(samples)])


def columns(
    groups: Sequence[Mapping[str, str]], categories: Sequence[str], names: Sequence[str]
) -> dict[str, Shaped[np.ndarray, " item"]]:
    """Groups as columns; a group that an item lacks is empty there.

    Texts are kept as they are: a list in one of them would make every other cell as wide.
    """
    kinds = dict.fromkeys(kind for each in groups for kind in each)
    cells = {kind: [each.get(kind, "") for each in groups] for kind in kinds}
    cells |= {"category": list(categories), "sample": list(names)}
    return {kind: np.array(column, dtype=object) for kind, column in cells.items()}


@dataclass(frozen=True, eq=False)
class Sums:
    """A metric of some items, before it is summed over them.

    Attributes:
        rows: what each item adds to every sum, (item, sum).
        value: the metric, of sums (..., sum).
    """

    rows: Float[np.ndarray, "item sum"]
    value: Callable[[Float[np.ndarray, "*lead sum"]], Float[np.ndarray, "*lead"]]


@dataclass(frozen=True)
class Metric:
    """A number from 0 to 1 of graded answers.

    Attributes:
        sums: of items.
        needs: the groups that it is made of, if any; then it is one of the whole set, and no
            part of the items has one of its own.
    """

    sums: Callable[[Items], Sums]
    needs: tuple[str, ...] = ()

    def __call__(self, found: Items) -> float:
        """The metric of all items."""
        made = self.sums(found)
        return float(made.value(made.rows.sum(0)))


def share(
    of: Shaped[np.ndarray, " item"], among: Shaped[np.ndarray, " item"], none: float = np.nan
) -> Sums:
    """sum(of) / sum(among); ``none`` where the latter is 0."""

    def value(sums: Float[np.ndarray, "*lead sum"]) -> Float[np.ndarray, "*lead"]:
        over, under = sums[..., 0], sums[..., 1]
        return np.divide(over, under, out=np.full(under.shape, none), where=~(under <= 0))

    return Sums(np.stack([of, among], axis=1).astype(float), value)


def accuracy(found: Items) -> Sums:
    """The mean score."""
    return share(found.score, np.ones(len(found)))
