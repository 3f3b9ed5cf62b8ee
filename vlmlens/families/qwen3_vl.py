"""Qwen3-VL: features of several tower layers, each added to the stream after an early block."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vlmlens.families.qwen2_vl import QWEN2_VL


def _kinds(text: Any) -> Sequence[str]:
    every, dense = text.decoder_sparse_step, text.mlp_only_layers
    return [
        "experts" if layer not in dense and (layer + 1) % every == 0 else ""
        for layer in range(text.num_hidden_layers)
    ]


QWEN3_VL = replace(QWEN2_VL, model_type="qwen3_vl", deepstack="model.visual.deepstack_merger_list")
QWEN3_VL_MOE = replace(QWEN3_VL, model_type="qwen3_vl_moe", lm_kinds=_kinds)
