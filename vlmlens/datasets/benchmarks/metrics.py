"""What published sets report of graded answers, by name.

Every metric is worked out of sums over items: of right answers, of answers taken for yes, by pair,
by source. So its value without one picture, or with another model's answers about some, takes no
second look at the items; that is what intervals and tests are made of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

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
        groups: what each item belongs to, by the group's name; ``category`` among them.
        yes: how likely each answer is a yes, where that is not known from ``parsed``.
    """

    score: np.ndarray
    parsed: np.ndarray
    gold: np.ndarray
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    yes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, rows: np.ndarray) -> "Items":
        groups = {name: column[rows] for name, column in self.groups.items()}
        yes = None if self.yes is None else self.yes[rows]
        return Items(self.score[rows], self.parsed[rows], self.gold[rows], groups, yes)

    def group(self, name: str) -> np.ndarray:
        """A group's column.

        Raises:
            DataError: these items have no such group.
        """
        if name not in self.groups:
            listed = ", ".join(self.groups) or "none"
            raise DataError(f"these items have no group {name!r}; there is: {listed}")
        return self.groups[name]

    def guessed(self, chance: np.ndarray) -> "Items":
        """The same items answered at random among their choices.

        Args:
            chance: 1 / the number of an item's choices; NaN where the answer is free.
        """
        return replace(self, score=chance, yes=np.where(chance == 0.5, 0.5, np.nan))


def items(samples: Sequence[Sample], graded: Sequence[Graded]) -> Items:
    """Samples and their grades as columns; a group that a sample lacks is empty there."""
    return Items(
        np.array([each.score for each in graded], dtype=float),
        np.array([each.parsed for each in graded], dtype=str),
        np.array([sample.answer or "" for sample in samples], dtype=str),
        groups_of(samples),
    )


def groups_of(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """What every sample belongs to, by the group's name; ``category`` among them."""
    names = dict.fromkeys(name for sample in samples for name, _ in sample.groups)
    own = [dict(sample.groups) for sample in samples]
    groups = {name: np.array([each.get(name, "") for each in own], dtype=str) for name in names}
    return groups | {"category": np.array([sample.category for sample in samples], dtype=str)}


@dataclass(frozen=True, eq=False)
class Sums:
    """A metric of some items, before it is summed over them.

    Attributes:
        rows: what each item adds to every sum, (item, sum).
        value: the metric, of sums (..., sum).
    """

    rows: np.ndarray
    value: Callable[[np.ndarray], np.ndarray]


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


def _share(of: np.ndarray, among: np.ndarray, none: float = np.nan) -> Sums:
    """sum(of) / sum(among); ``none`` where the latter is 0."""

    def value(sums: np.ndarray) -> np.ndarray:
        over, under = sums[..., 0], sums[..., 1]
        return np.divide(over, under, out=np.full(under.shape, none), where=~(under <= 0))

    return Sums(np.stack([of, among], axis=1).astype(float), value)


def _yes(found: Items) -> np.ndarray:
    return (found.parsed == "yes").astype(float) if found.yes is None else found.yes


def accuracy(found: Items) -> Sums:
    """The mean score."""
    return _share(found.score, np.ones(len(found)))


def precision(found: Items) -> Sums:
    """Of the answers taken for yes, how many are right; 0 where there are none."""
    return _share(_yes(found) * (found.gold == "yes"), _yes(found), none=0.0)


def recall(found: Items) -> Sums:
    """Of the questions whose answer is yes, how many are answered so."""
    return _share(_yes(found) * (found.gold == "yes"), found.gold == "yes")


def f1(found: Items) -> Sums:
    """The harmonic mean of precision and recall; 0 where both are."""
    yes, gold = _yes(found), found.gold == "yes"
    return _share(2 * yes * gold, yes + gold)


def yes_ratio(found: Items) -> Sums:
    """The share of ANSWERS taken for yes; not of the labels, which is half by design."""
    return _share(_yes(found), np.ones(len(found)))


def whole_groups(group: str) -> Callable[[Items], Sums]:
    """The share of groups (pairs, sets) all of whose items are right."""

    def sums(found: Items) -> Sums:
        _, first, which = np.unique(found.group(group), return_index=True, return_inverse=True)
        all_right = np.ones(len(first))
        np.multiply.at(all_right, which, found.score)
        rows = np.zeros((2, len(found)))
        rows[0, first], rows[1, first] = all_right, 1.0
        return _share(rows[0], rows[1])

    return sums


def mean_over(group: str, of: Callable[[Items], Sums] = accuracy) -> Callable[[Items], Sums]:
    """The mean over groups of a metric of each: small groups count as much as large ones."""

    def sums(found: Items) -> Sums:
        column = found.group(group)
        return _mean(found, of, [column == name for name in np.unique(column)])

    return sums


def of_type(kind: str) -> Callable[[Items], Sums]:
    """CV-Bench's accuracy in 2D or 3D: the mean over its sources of images; NaN without any."""

    def sums(found: Items) -> Sums:
        mine, source = found.group("type") == kind, found.group("source")
        parts = [mine & (source == name) for name in np.unique(source[mine])]
        return _mean(found, accuracy, parts)

    return sums


def source_mean(found: Items) -> Sums:
    """CV-Bench's headline: the mean of 2D and 3D, each a mean over sources."""
    return _averaged([of_type(kind)(found) for kind in ("2D", "3D")])


def _mean(found: Items, of: Callable[[Items], Sums], parts: Sequence[np.ndarray]) -> Sums:
    whole = of(found)
    return _averaged([replace(whole, rows=whole.rows * part[:, None]) for part in parts], found)


def _averaged(parts: Sequence[Sums], found: Items | None = None) -> Sums:
    """The mean of several metrics, without those that have no value."""
    sizes = np.cumsum([part.rows.shape[1] for part in parts])

    def value(sums: np.ndarray) -> np.ndarray:
        each = np.split(sums, sizes[:-1], axis=-1) if parts else []
        made = [part.value(own) for part, own in zip(parts, each, strict=True)]
        values = np.stack(made, axis=-1) if made else np.empty((*sums.shape[:-1], 0))
        known = ~np.isnan(values)
        total, count = np.where(known, values, 0.0).sum(-1), known.sum(-1)
        return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)

    if parts:
        return Sums(np.concatenate([part.rows for part in parts], axis=1), value)
    return Sums(np.zeros((0 if found is None else len(found), 0)), value)


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy),
    "soft_accuracy": Metric(accuracy),
    "precision": Metric(precision),
    "recall": Metric(recall),
    "f1": Metric(f1),
    "yes_ratio": Metric(yes_ratio),
    "f1_mean": Metric(mean_over("category", f1), ("category",)),
    "pair_accuracy": Metric(whole_groups("pair"), ("pair",)),
    "set_accuracy": Metric(whole_groups("set"), ("set",)),
    "config_mean": Metric(mean_over("config"), ("config",)),
    "source_mean": Metric(source_mean, ("type", "source")),
    "accuracy_2d": Metric(of_type("2D"), ("type", "source")),
    "accuracy_3d": Metric(of_type("3D"), ("type", "source")),
}
