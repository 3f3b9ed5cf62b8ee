"""What published sets report of graded answers: each a number of all items, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

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
        groups: what each item belongs to, by the group's name; ``category`` among them.
    """

    score: np.ndarray
    parsed: np.ndarray
    gold: np.ndarray
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, rows: np.ndarray) -> "Items":
        groups = {name: column[rows] for name, column in self.groups.items()}
        return Items(self.score[rows], self.parsed[rows], self.gold[rows], groups)

    def group(self, name: str) -> np.ndarray:
        """A group's column.

        Raises:
            DataError: these items have no such group.
        """
        if name not in self.groups:
            listed = ", ".join(self.groups) or "none"
            raise DataError(f"these items have no group {name!r}; there is: {listed}")
        return self.groups[name]


def items(samples: Sequence[Sample], graded: Sequence[Graded]) -> Items:
    """Samples and their grades as columns; a group that a sample lacks is empty there."""
    names = dict.fromkeys(name for sample in samples for name, _ in sample.groups)
    own = [dict(sample.groups) for sample in samples]
    groups = {name: np.array([each.get(name, "") for each in own], dtype=str) for name in names}
    groups["category"] = np.array([sample.category for sample in samples], dtype=str)
    return Items(
        np.array([each.score for each in graded], dtype=float),
        np.array([each.parsed for each in graded], dtype=str),
        np.array([sample.answer or "" for sample in samples], dtype=str),
        groups,
    )


def accuracy(found: Items) -> float:
    """The mean score."""
    return float(found.score.mean()) if len(found) else np.nan


def precision(found: Items) -> float:
    """Of the answers taken for yes, how many are right; 0 where there are none."""
    said = found.parsed == "yes"
    return float((found.gold[said] == "yes").mean()) if said.any() else 0.0


def recall(found: Items) -> float:
    """Of the questions whose answer is yes, how many are answered so."""
    asked = found.gold == "yes"
    return float((found.parsed[asked] == "yes").mean()) if asked.any() else np.nan


def f1(found: Items) -> float:
    """The harmonic mean of precision and recall; 0 where both are."""
    p, r = precision(found), recall(found)
    return 2 * p * r / (p + r) if p + r else 0.0


def yes_ratio(found: Items) -> float:
    """The share of ANSWERS taken for yes; not of the labels, which is half by design."""
    return float((found.parsed == "yes").mean()) if len(found) else np.nan


def whole_groups(found: Items, group: str) -> float:
    """The share of groups (pairs, sets) all of whose items are right."""
    column = found.group(group)
    right = [bool((found.score[column == name] == 1).all()) for name in np.unique(column)]
    return float(np.mean(right)) if right else np.nan


def mean_over(found: Items, group: str) -> float:
    """The mean over groups of each group's accuracy: small groups count as much as large ones."""
    column = found.group(group)
    means = [accuracy(found[column == name]) for name in np.unique(column)]
    return float(np.mean(means)) if means else np.nan


def of_type(found: Items, kind: str) -> float:
    """CV-Bench's accuracy in 2D or 3D: the mean over its sources of images; NaN without any."""
    part = found[found.group("type") == kind]
    return mean_over(part, "source") if len(part) else np.nan


def source_mean(found: Items) -> float:
    """CV-Bench's headline: the mean of 2D and 3D, each a mean over sources."""
    parts = [of_type(found, kind) for kind in ("2D", "3D")]
    there = [part for part in parts if not np.isnan(part)]
    return float(np.mean(there)) if there else np.nan


METRICS: dict[str, Callable[[Items], float]] = {
    "accuracy": accuracy,
    "soft_accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "yes_ratio": yes_ratio,
    "pair_accuracy": partial(whole_groups, group="pair"),
    "set_accuracy": partial(whole_groups, group="set"),
    "config_mean": partial(mean_over, group="config"),
    "source_mean": source_mean,
    "accuracy_2d": partial(of_type, kind="2D"),
    "accuracy_3d": partial(of_type, kind="3D"),
}
