"""Tables of graded items: metrics with intervals, differences, and PSI by category."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float, Shaped

from vlmlens.datasets.benchmarks.metrics import METRICS, Items
from vlmlens.datasets.benchmarks.sums import columns
from vlmlens.draws import together
from vlmlens.evaluation.conditions import CLEAN, PERMUTED, TEXT_ONLY
from vlmlens.evaluation.intervals import Summed, difference, exchanged_p, summed
from vlmlens.probes import position_sensitivity_index
from vlmlens.probes.psi import ORIGINAL, OVERALL

#: A model under a condition.
Key = tuple[str, str]
Spec = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model did under one condition, by permutation and sample, in the set's order."""

    score: Float[np.ndarray, "permutation sample"]
    parsed: Shaped[np.ndarray, "permutation sample"]
    state: Shaped[np.ndarray, "permutation sample"]
    log_prob: Float[np.ndarray, "permutation sample"]
    failed: Bool[np.ndarray, "permutation sample"]


class Sheet:
    """One set's items as arrays.

    Args:
        items: graded items of one set.
        spec: the set's ``metrics``, ``unit`` and ``by``.
    """

    def __init__(self, items: pd.DataFrame, spec: Spec):
        self.spec = spec
        first = items.drop_duplicates("sample").set_index("sample", drop=False)
        self.names = first["sample"].tolist()
        self.unit = together(first["unit"].tolist())
        self.gold = first["gold"].fillna("").to_numpy(str)
        count = first["choices"].map(len).to_numpy(float)
        self.chance = np.divide(1.0, count, out=np.full(len(count), np.nan), where=count > 0)
        own = [{each["kind"]: each["name"] for each in cell} for cell in first["groups"]]
        self.groups = columns(own, first["category"].tolist(), self.names)
        self.forms = ", ".join(sorted(set(first["prompt_form"]) - {""}))
        asked: Any = items.groupby(["model", "condition"], sort=False)
        self._items = {(str(model), str(condition)): part for (model, condition), part in asked}
        self._answers: dict[Key, Answers] = {}

    @property
    def keys(self) -> list[Key]:
        """Every model under every condition, in the order in which they were asked."""
        return list(self._items)

    def rules(self, key: Key) -> str:
        """How these answers were graded."""
        part = self._items[key]
        return ", ".join(sorted(set(part["rule"]) - {""}))

    def answers(self, key: Key) -> Answers:
        """What a model did under a condition."""
        if key not in self._answers:
            parts = [
                part.set_index("sample").reindex(self.names)
                for _, part in self._items[key].groupby("permutation", dropna=False)
            ]
            self._answers[key] = Answers(
                np.array([part["score"].to_numpy(float) for part in parts]),
                np.array([part["parsed"].fillna("").to_numpy(str) for part in parts]),
                np.array([part["state"].fillna("").to_numpy(str) for part in parts]),
                np.array([part["log_prob"].to_numpy(float) for part in parts]),
                np.array([part["error"].notna().to_numpy() for part in parts]),
            )
        return self._answers[key]

    def permutations(self, key: Key) -> list[str]:
        """What tells a condition's draws apart."""
        return [f"seed {n}" for n in sorted(self._items[key]["permutation"].dropna().unique())]

    def kept(self, *keys: Key) -> Bool[np.ndarray, " sample"]:
        """The samples that none of these failed on and that have a right answer.

        Of pairs and sets that count as one, those of which every sample is kept.
        """
        kept = np.ones(len(self.names), dtype=bool)
        for key in keys:
            found = self.answers(key)
            kept &= ~found.failed.any(0) & ~np.isnan(found.score).any(0)
        if self.spec["unit"] in self.groups:
            one = self.groups[self.spec["unit"]]
            kept &= ~np.isin(one, one[~kept])
        return kept

    def sums(self, name: str, key: Key, rows: Bool[np.ndarray, " sample"]) -> Summed:
        """A metric of some samples, averaged over permutations."""
        found, groups = self.answers(key), {k: v[rows] for k, v in self.groups.items()}
        made = [
            METRICS[name].sums(Items(score[rows], parsed[rows], self.gold[rows], groups))
            for score, parsed in zip(found.score, found.parsed, strict=True)
        ]
        means = np.mean([one.rows for one in made], axis=0)
        return summed(means, made[0].value, self.unit[rows], answers=len(made))

    def guessed(self, name: str, rows: Bool[np.ndarray, " sample"]) -> float:
        """What guessing would get."""
        groups = {k: v[rows] for k, v in self.groups.items()}
        empty = np.full(int(rows.sum()), "")
        blank = Items(np.zeros(len(empty)), empty, self.gold[rows], groups)
        return METRICS[name](blank.guessed(self.chance[rows]))

    @cached_property
    def parts(self) -> list[tuple[str, str, Bool[np.ndarray, " sample"]]]:
        """Everything, and each member of each group that is reported: (group, member, rows)."""
        found = [("", OVERALL, np.ones(len(self.names), dtype=bool))]
        for group in self.spec["by"]:
            column = self.groups.get(group, np.array([]))
            members = sorted(set(column.tolist()) - {""})
            found += [(group, m, column == m) for m in members] if len(members) > 1 else []
        return found

    def metrics(self, group: str) -> list[str]:
        """The metrics that are told of a part of the set."""
        return [name for name in self.spec["metrics"] if not group or not METRICS[name].needs]


def metric_table(sheets: Mapping[str, Sheet]) -> pd.DataFrame:
    """Every metric of every model under every condition, with all that it is to be read with."""
    rows = []
    for data, sheet in sheets.items():
        for model, condition in sheet.keys:
            key, blind = (model, condition), (model, TEXT_ONLY)
            kept, found = sheet.kept(key), sheet.answers(key)
            unseen = sheet.kept(blind) if blind in sheet.keys else None
            for group, member, part in sheet.parts:
                here = kept & part
                told = {
                    "data": data,
                    "model": model,
                    "condition": condition,
                    "group": group,
                    "member": member,
                }
                counted = {
                    **_counts(sheet, found, here, part),
                    "unit": sheet.spec["unit"],
                    "permutations": len(found.score),
                    "rule": sheet.rules(key),
                    "prompt_form": sheet.forms,
                }
                if not here.any():
                    rows.append(told | {"metric": "", "value": np.nan} | counted)
                    continue
                for name in sheet.metrics(group):
                    value, low, high = sheet.sums(name, key, here).interval()
                    beside = {"chance": sheet.guessed(name, here), "blind": np.nan}
                    if unseen is not None and (unseen & part).any():
                        beside["blind"] = sheet.sums(name, blind, unseen & part).estimate
                    rows.append(
                        told | {"metric": name, "value": value, "low": low, "high": high}
                        | beside | counted
                    )  # fmt: skip
    return pd.DataFrame(rows)


def _counts(
    sheet: Sheet,
    found: Answers,
    here: Bool[np.ndarray, " sample"],
    part: Bool[np.ndarray, " sample"],
) -> dict[str, Any]:
    answered = part & ~found.failed.any(0)
    state = found.state[:, answered]
    return {
        "n": int(here.sum()),
        "units": len(np.unique(sheet.unit[here])),
        "unparsed": float((state == "unparsed").mean()) if state.size else np.nan,
        "ambiguous": float((state == "ambiguous").mean()) if state.size else np.nan,
        "failed": int((part & found.failed.any(0)).sum()),
        "unanswered": int((answered & np.isnan(found.score).any(0)).sum()),
    }


def difference_table(sheets: Mapping[str, Sheet], *, seed: int = 0) -> pd.DataFrame:
    """Every model against the first, and every condition against the first, unit by unit."""
    rows = []
    for data, sheet in sheets.items():
        for one, other in _compared(sheet.keys):
            kept = sheet.kept(one, other)
            for group, member, part in sheet.parts:
                here = kept & part
                for name in sheet.metrics(group) if here.any() else ():
                    pair = [sheet.sums(name, key, here) for key in (one, other)]
                    d, low, high = difference(*pair)
                    rows.append(
                        {
                            "data": data,
                            "model": one[0],
                            "condition": one[1],
                            "other_model": other[0],
                            "other_condition": other[1],
                            "group": group,
                            "member": member,
                            "metric": name,
                            "difference": d,
                            "low": low,
                            "high": high,
                            "p": exchanged_p(*pair, seed=seed) if not group else np.nan,
                            "n": int(here.sum()),
                            "units": len(pair[0].count),
                            "unit": sheet.spec["unit"],
                        }
                    )
    return pd.DataFrame(rows, columns=DIFFERENCES if not rows else None)


DIFFERENCES = (
    *("data", "model", "condition", "other_model", "other_condition", "group", "member", "metric"),
    *("difference", "low", "high", "p", "n", "units", "unit"),
)


def _compared(keys: Sequence[Key]) -> Iterator[tuple[Key, Key]]:
    models, conditions = (list(dict.fromkeys(each)) for each in zip(*keys, strict=True))
    for condition in conditions:
        for model in models[1:]:
            yield (model, condition), (models[0], condition)
    for model in models:
        for condition in conditions[1:]:
            yield (model, condition), (model, conditions[0])


def psi_table(sheets: Mapping[str, Sheet], *, seed: int = 0) -> pd.DataFrame:
    """PSI of every model that was asked intact and shuffled, overall and by category."""
    rows = []
    for data, sheet in sheets.items():
        for model, condition in sheet.keys:
            clean = (model, CLEAN)
            if condition.partition(":")[0] != PERMUTED or clean not in sheet.keys:
                continue
            kept = sheet.kept(clean, (model, condition))
            if not kept.any():
                continue
            groups = dict.fromkeys(group for group, _, _ in sheet.parts if group) or {"": None}
            for number, group in enumerate(groups):
                table = _psi(sheet, clean, (model, condition), kept, group, seed)
                for row in table.to_dataframe().reset_index().to_dict("records"):
                    if number and row["category"] == OVERALL:
                        continue
                    here = "" if row["category"] == OVERALL else group
                    told = {"data": data, "model": model, "condition": condition, "group": here}
                    rows.append(told | {"member": row.pop("category")} | row)
    return pd.DataFrame(rows)


def _psi(
    sheet: Sheet,
    clean: Key,
    shuffled: Key,
    kept: Bool[np.ndarray, " sample"],
    group: str,
    seed: int,
) -> xr.Dataset:
    before, after = sheet.answers(clean), sheet.answers(shuffled)
    labels = [ORIGINAL, *sheet.permutations(shuffled)]
    coords: dict[str, Any] = {"permutation": labels, "unit": ("sample", sheet.unit[kept])}
    if group:
        coords["category"] = ("sample", sheet.groups[group][kept])
    if not np.isnan(sheet.chance[kept]).any():
        coords["chance"] = ("sample", sheet.chance[kept])

    def array(
        one: Float[np.ndarray, "once sample"], more: Float[np.ndarray, "permutation sample"]
    ) -> xr.DataArray:
        values = np.concatenate([one, more])[:, kept]
        return xr.DataArray(values, dims=("permutation", "sample"), coords=coords)

    log_prob = array(before.log_prob, after.log_prob)
    known = bool(log_prob.notnull().all())
    return position_sensitivity_index(
        array(before.score, after.score),
        log_prob if known else None,
        scene="unit",
        seed=seed,
    )
