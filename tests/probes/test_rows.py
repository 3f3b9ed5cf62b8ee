"""Attention rows from rotated q and k are those of transformers' eager attention, to 1e-6."""

import pytest
import torch
from closeness import assert_close
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward
from transformers.models.llama.modeling_llama import (
    eager_attention_forward as llama_attention_forward,
)

from vlmlens.model.arithmetic.attending import scores, softmax
from vlmlens.model.wiring.attention import RowRequest, ask_rows, register, withdraw

HEADS, KV_HEADS, POS, D = 4, 2, 12, 8


class Gemma2Like(nn.Module):
    """As much of an attention module as eager attention reads."""

    num_key_value_groups = HEADS // KV_HEADS
    head_dim = D
    is_causal = True


class LlamaLike(Gemma2Like):
    """The same, for the implementation without soft caps."""


# Eager attention is found in the module that the class says it is from.
Gemma2Like.__module__ = eager_attention_forward.__module__
LlamaLike.__module__ = llama_attention_forward.__module__


def tensors(batch=2, queries=POS):
    g = torch.Generator().manual_seed(0)
    q = torch.randn(batch, HEADS, queries, D, generator=g)
    k, v = (torch.randn(batch, KV_HEADS, POS, D, generator=g) for _ in range(2))
    return q * 2, k * 2, v


def causal():
    return torch.ones(POS, POS, dtype=torch.bool).tril()[None, None]


def window(size=4):
    return causal() & torch.ones(POS, POS, dtype=torch.bool).triu(1 - size)[None, None]


def image_block():
    """Positions 2 to 6 see each other both ways."""
    seen = causal().clone()
    seen[..., 2:7, 2:7] = True
    return seen


def padded():
    """The second sample is padded by three on the left, the first not at all."""
    seen = causal().expand(2, 1, POS, POS).clone()
    seen[1, ..., :3] = False
    seen[1, 0, :3] = torch.eye(POS, dtype=torch.bool)[:3]  # what transformers does with padding
    return seen


MASKS = {
    "causal": causal,
    "window": window,
    "image": image_block,
    "padded": padded,
}


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("scaling", [None, 0.2])
@pytest.mark.parametrize("name", MASKS)
def test_rows_are_eagers(name, scaling, softcap):
    q, k, v = tensors()
    bias = torch.zeros(()).masked_fill(~MASKS[name](), torch.finfo(torch.float32).min)
    module = (LlamaLike if softcap is None else Gemma2Like)().eval()
    options = {"scaling": scaling or D**-0.5, "dropout": 0.0}
    options |= {"softcap": softcap} if softcap else {}
    whole = {True: llama_attention_forward, False: eager_attention_forward}[softcap is None]
    _, pattern = whole(module, q, k, v, bias, **options)
    queries = torch.tensor([[3, 11], [7, 11]])
    found = []
    register("eager")
    request = RowRequest(queries, found.append)
    ask_rows(module, request)
    try:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        out, _ = ALL_ATTENTION_FUNCTIONS["vlmlens_eager"](module, q, k, v, bias, **options)
    finally:
        withdraw(module, request)
    (rows,) = found
    assert rows.shape == (2, HEADS, 2, POS)
    for sample in range(2):
        expected = pattern[sample][:, queries[sample]]
        assert_close(rows[sample], expected, like=1.0, depth=1)
    torch.testing.assert_close(out, whole(module, q, k, v, bias, **options)[0])  # bit for bit
    if name == "window":
        assert (rows[0, :, 1, : 11 - 3] == 0).all()


def test_a_soft_cap_and_a_window_matter():
    """The masks and caps above are no empty test: without them rows differ."""
    q, k, _ = tensors()
    seen = causal()
    plain = softmax(scores(q, k, seen, None, {"scaling": 1.0}))
    capped = softmax(scores(q, k, seen, None, {"scaling": 1.0, "softcap": 5.0}))
    narrow = softmax(scores(q, k, window(), None, {"scaling": 1.0}))
    assert (plain - capped).abs().max() > 0.1
    assert (plain - narrow).abs().max() > 0.1
    for pattern in (plain, capped, narrow):
        assert_close(pattern.sum(-1), 1.0, depth=1)
