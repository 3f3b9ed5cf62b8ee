"""Items whose answer turned: right under one condition, wrong under another."""

from typing import Any

import pandas as pd

from vlmlens.annotations import checked
from vlmlens.evaluation.evaluation import Evaluation

COLUMNS = (
    *("data", "model", "condition", "sample", "question", "choices", "options", "gold"),
    *("before", "after", "was", "became"),
)


@checked
def flips(found: Evaluation) -> pd.DataFrame:
    """The items that a condition turned wrong, or right, against the first condition.

    Of several permutations more than half have to turn an item.

    Returns:
        For each item and condition: ``before`` and ``after``, what was said (of permutations every
        different answer), ``was`` and ``became``, the mean scores. Those that were lost come first.

    Examples:
        >>> from vlmlens.evaluation import evaluate, flips
        >>> found = evaluate(model, samples, conditions="clean,text-only", progress=False)
        >>> set(flips(found)["condition"])
        {'text-only'}
    """
    first, *others = found.settings["conditions"]
    keys = ["data", "model", "sample"]
    rows: list[dict[str, Any]] = []
    graded: Any = found.items[found.items["score"].notna()]
    intact = graded[graded["condition"] == first].groupby(keys, sort=False)
    before = dict(iter(intact))
    for condition in others:
        changed = graded[graded["condition"] == condition].groupby(keys, sort=False)
        for key, part in changed:
            if key not in before:
                continue
            was, became = float(before[key]["score"].mean()), float(part["score"].mean())
            if abs(was - became) > 0.5:
                one = part.iloc[0]
                rows.append(
                    {name: one[name] for name in COLUMNS[:8]}
                    | {"before": _said(before[key]), "after": _said(part)}
                    | {"was": was, "became": became}
                )
    table: Any = pd.DataFrame(rows, columns=list(COLUMNS))
    order = (table["became"] - table["was"]).astype(float)
    return table.loc[order.sort_values(kind="stable").index].reset_index(drop=True)


def _said(part: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(part["answer"]))
