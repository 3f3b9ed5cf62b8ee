"""GQA's own metrics beside accuracy: answers that follow, are valid, are plausible.

Source: Hudson and Manning 2019, arXiv:1902.09506, section 4.4, and the script that comes with it.
Its distribution score, a distance of histograms without an upper end, is not among them.
"""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from vlmlens.datasets.benchmarks.sums import Items, Sums, share


def balanced(of: Callable[[Items], Sums]) -> Callable[[Items], Sums]:
    """A metric over the questions of the balanced set: all, where only these are asked."""

    def sums(found: Items) -> Sums:
        whole = of(found)
        return replace(whole, rows=whole.rows * _counted(found)[:, None])

    return sums


def belongs(kind: str) -> Callable[[Items], Sums]:
    """The share of answers that are in the list of a group: valid, or plausible."""

    def sums(found: Items) -> Sums:
        told = zip(found.parsed, found.group(kind), strict=True)
        lists: dict[str, frozenset[str]] = {}
        inside = np.zeros(len(found))
        for row, (said, among) in enumerate(told):
            if among not in lists:
                lists[among] = frozenset(json.loads(among or "[]"))
            inside[row] = np.nan if said is None else said in lists[among]
        return share(inside, np.ones(len(found)))

    return sums


def consistency(found: Items) -> Sums:
    """How often what follows from a right answer is answered right, too.

    Over balanced questions that are answered right and that others follow from: the mean of each
    one's share of these that are right. A question counts where all that follow were asked.
    """
    place = {name: row for row, name in enumerate(found.group("sample"))}
    over, under = np.zeros(len(found)), np.zeros(len(found))
    right = found.score == 1.0
    for row in np.flatnonzero(right & (_counted(found) > 0)):
        follow = json.loads(found.group("entailed")[row] or "[]")
        if follow and all(name in place for name in follow):
            over[row] = right[[place[name] for name in follow]].mean()
            under[row] = 1.0
    return share(over, under)


def _counted(found: Items) -> Float[np.ndarray, " item"]:
    column = found.groups.get("balanced")
    return np.ones(len(found)) if column is None else (column == "yes").astype(float)
