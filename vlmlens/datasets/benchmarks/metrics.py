"""What published sets report of graded answers, by name."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Shaped

from vlmlens.datasets.benchmarks.scene_graphs import balanced, belongs, consistency
from vlmlens.datasets.benchmarks.sums import Items, Metric, Sums, accuracy, items, share

__all__ = ["METRICS", "Items", "items"]


def _yes(found: Items) -> Float[np.ndarray, " item"]:
    return (found.parsed == "yes").astype(float) if found.yes is None else found.yes


def precision(found: Items) -> Sums:
    """Of the answers taken for yes, how many are right; 0 where there are none."""
    return share(_yes(found) * (found.gold == "yes"), _yes(found), none=0.0)


def recall(found: Items) -> Sums:
    """Of the questions whose answer is yes, how many are answered so."""
    return share(_yes(found) * (found.gold == "yes"), found.gold == "yes")


def f1(found: Items) -> Sums:
    """The harmonic mean of precision and recall; 0 where both are."""
    yes, gold = _yes(found), found.gold == "yes"
    return share(2 * yes * gold, yes + gold)


def yes_ratio(found: Items) -> Sums:
    """The share of ANSWERS taken for yes; not of the labels, which is half by design."""
    return share(_yes(found), np.ones(len(found)))


def whole_groups(group: str) -> Callable[[Items], Sums]:
    """The share of groups (pairs, sets) all of whose items are right."""

    def sums(found: Items) -> Sums:
        _, first, which = np.unique(found.group(group), return_index=True, return_inverse=True)
        all_right = np.ones(len(first))
        np.multiply.at(all_right, which, found.score)
        rows = np.zeros((2, len(found)))
        rows[0, first], rows[1, first] = all_right, 1.0
        return share(rows[0], rows[1])

    return sums


def pair_bonus(found: Items) -> Sums:
    """A point for each right answer of a pair and one for both, of three: SpatialBench's."""
    both = whole_groups("bonus")(found).rows[:, 0]
    size = 3 / 2 * np.ones(len(found))
    return share(found.score + both, size)


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


def _mean(
    found: Items, of: Callable[[Items], Sums], parts: Sequence[Shaped[np.ndarray, " item"]]
) -> Sums:
    whole = of(found)
    return _averaged([replace(whole, rows=whole.rows * part[:, None]) for part in parts], found)


def _averaged(parts: Sequence[Sums], found: Items | None = None) -> Sums:
    """The mean of several metrics, without those that have no value."""
    sizes = np.cumsum([part.rows.shape[1] for part in parts])

    def value(sums: Float[np.ndarray, "*lead sum"]) -> Float[np.ndarray, "*lead"]:
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
    "balanced_accuracy": Metric(balanced(accuracy), ("balanced",)),
    "consistency": Metric(consistency, ("entailed",)),
    "validity": Metric(balanced(belongs("valid")), ("valid",)),
    "plausibility": Metric(balanced(belongs("plausible")), ("plausible",)),
    "soft_accuracy": Metric(accuracy),
    "precision": Metric(precision),
    "recall": Metric(recall),
    "f1": Metric(f1),
    "yes_ratio": Metric(yes_ratio),
    "f1_mean": Metric(mean_over("category", f1), ("category",)),
    "pair_accuracy": Metric(whole_groups("pair"), ("pair",)),
    "pair_bonus": Metric(pair_bonus, ("bonus",)),
    "set_accuracy": Metric(whole_groups("set"), ("set",)),
    "config_mean": Metric(mean_over("config"), ("config",)),
    "source_mean": Metric(source_mean, ("type", "source")),
    "accuracy_2d": Metric(of_type("2D"), ("type", "source")),
    "accuracy_3d": Metric(of_type("3D"), ("type", "source")),
}
