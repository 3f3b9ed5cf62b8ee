"""Keys and values of what comes before a cone, as transformers' blocks look them up."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

#: One block's keys and values; blocks of one model may differ in heads and in channels.
KeysValues = tuple[
    Float[Tensor, "_batch _kv_head _pos _d_head"], Float[Tensor, "_batch _kv_head _pos _d_value"]
]


class Prefix(DynamicLayer):
    """One block's keys and values of the positions before a cone, for any number of rows.

    It hands out the prefix with what is new and does not grow: every pass starts from the same.

    Attributes:
        newest: the keys and values that were added last.
    """

    def __init__(
        self,
        keys: Float[Tensor, "one kv_head pos d_head"],
        values: Float[Tensor, "one kv_head pos width"],
    ):
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True
        self.dtype, self.device = keys.dtype, keys.device
        self._kept = keys, values
        self.newest: KeysValues | None = None

    def update(
        self,
        key_states: Float[Tensor, "batch kv_head new d_head"],
        value_states: Float[Tensor, "batch kv_head new width"],
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Float[Tensor, "batch kv_head key d_head"], Float[Tensor, "batch kv_head key width"]]:
        """The keys and values of prefix and newest positions."""
        self.newest = key_states, value_states
        if not self.get_seq_length():
            return self.newest
        keys, values = (
            torch.cat([kept.expand(len(new), -1, -1, -1), new], dim=2)
            for kept, new in zip(self._kept, self.newest, strict=True)
        )
        return keys, values


def prefix_cache(keys: Sequence[KeysValues] | None, position: int) -> Cache | None:
    """The keys and values of what comes before a position; None where nothing is kept."""
    if keys is None:
        return None
    return Cache(layers=[Prefix(k[:, :, :position], v[:, :, :position]) for k, v in keys])
