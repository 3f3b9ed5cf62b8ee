"""PaliGemma 1 and 2: SigLIP, one linear map, Gemma; the whole prompt sees itself both ways."""

from collections.abc import Mapping
from typing import Any

from vlmlens.families.family import Family, count
from vlmlens.families.llava import one_grid


def _from_one(model: Any, tensors: Mapping[str, Any]) -> Any:
    return count(model, tensors) + 1


PALIGEMMA = Family(
    model_type="paligemma",
    views=one_grid,
    per_token={"token_type_ids": (0, 1)},  # what is generated sees the past only
    positions=_from_one,
)
