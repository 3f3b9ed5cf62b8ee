"""What a model said of each sample, in order and shuffled, as the cards of a page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from vlmlens.report.thumbnails import Thumbnail

#: Cards of a page without pictures, and at most.
FEW, MOST = 12, 60


def cards(
    results: xr.Dataset, pictures: Mapping[str, Sequence[Thumbnail]] | None = None
) -> list[dict[str, Any]]:
    """The first samples: question, right answer, what was said in order, and what when shuffled."""
    if "answer" not in results or "question" not in results:
        return []
    count = min(MOST if pictures else FEW, results.sizes["sample"])
    return [_card(results.isel(sample=at), at, pictures or {}) for at in range(count)]


def _card(one: xr.Dataset, at: int, pictures: Mapping[str, Sequence[Thumbnail]]) -> dict[str, Any]:
    said = [word(text) for text in np.atleast_1d(one["answer"].values).tolist()]
    right = [np.nan] * len(said)
    if "correct" in one:
        right = np.atleast_1d(one["correct"].values).astype(float).tolist()
    sample = word(one["sample"].item()) if "sample" in one.coords else str(at)
    own = {
        name: word(one[name].item()) if name in one.coords or name in one else ""
        for name in ("category", "question", "gold")
    }
    times = Counter(zip(said[1:], right[1:], strict=True))
    shuffled = [{"text": t, "right": r, "times": n} for (t, r), n in times.most_common()]
    return (
        own
        | {
            "sample": sample,
            "said": {"text": said[0], "right": right[0]},
            "shuffled": shuffled,
            "graded": any(value == value for value in right),  # NaN where nobody knows
            "wrong": right[0] == 0,
            "turned": right[0] == 1 and 0 in right[1:],
            "pictures": list(pictures.get(sample, ())),
        }
    )


def word(value: object) -> str:
    """Text as it is; nothing for what is missing, which files hold as NaN or None."""
    return "" if value is None or value != value else str(value)
