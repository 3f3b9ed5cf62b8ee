"""The explorer takes weights and tokens that come from anywhere, and shows the same weights."""

import numpy as np
import pytest
import torch

from vlmlens import plots
from vlmlens.errors import InputError
from vlmlens.plots.interactive.payload import packed, unpacked

TOKENS = ["<s>", " a", " red", " circle", "?"]


def causal(*lead, queries=5, keys=5):
    drawn = np.random.default_rng(0).random((*lead, queries, keys)).astype(np.float32)
    drawn *= np.tri(keys, dtype=np.float32)[keys - queries :]
    return drawn / drawn.sum(-1, keepdims=True)


def shown(view):
    (table,) = view.runs.values()
    return unpacked(packed(view.runs), 1, table)[0].transpose(1, 2, 0, 3)


FORMS = {
    "query key": (causal(), lambda w: w[None, None]),
    "head query key": (causal(3), lambda w: w[None]),
    "layer head query key": (causal(2, 3), lambda w: w),
    "layer batch head query key": (causal(2, 1, 3), lambda w: w[:, 0]),
    "one layer of a batch": (causal(1, 3), lambda w: w),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [np.asarray, lambda w: torch.tensor(w, requires_grad=True)])
def test_every_form_is_its_layers_and_heads(form, kind):
    weights, whole = FORMS[form]
    view = plots.explorer(kind(weights), TOKENS)
    np.testing.assert_allclose(shown(view), whole(weights), atol=0.011)
    (table,) = view.runs.values()
    np.testing.assert_array_equal(table["attention"], whole(weights))
    assert table["token"].values.tolist() == TOKENS
    assert view.selection.position == 4  # the last word


def test_lists_of_layers_as_transformers_and_bertviz_have_them():
    layers = [torch.tensor(causal(1, 3)).bfloat16() for _ in range(2)]
    view = plots.explorer(tuple(layers), TOKENS)
    assert dict(view.runs["attention"]["attention"].sizes) == {
        "layer": 2,
        "head": 3,
        "query": 5,
        "key": 5,
    }
    heads = [layer[0].float() for layer in layers]
    again = plots.explorer(heads, TOKENS)
    assert again.runs["attention"].equals(view.runs["attention"])
    flat = plots.explorer([causal(), causal()], TOKENS)
    assert dict(flat.runs["attention"]["attention"].sizes)["head"] == 1


def test_fewer_queries_are_the_last_ones():
    view = plots.explorer(causal(3, queries=2), TOKENS)
    assert view.runs["attention"]["query"].values.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("pattern", "tokens", "said"),
    [
        (causal(3), None, r"needs its tokens: explorer\(pattern, tokens\), 5 texts"),
        (causal(3), TOKENS[:-1], r"4 tokens for a pattern of 5 keys"),
        (causal(3), "abcde", "one text for a pattern"),
        (causal(4, 2, 3), TOKENS, "one sample, not 2"),
        ([causal(2, 3)], TOKENS, "one sample, not 2"),
        ([causal(2), causal(3)], TOKENS, "one shape"),
        (causal(1, 1, 1, 1), TOKENS, "not "),
        (np.ones(5), TOKENS, "not "),
        ("shapes-base", TOKENS, "str is no attention: .* an open model"),
        (None, TOKENS, "not "),
        (causal(3) - 1, TOKENS, "not negative"),
        (causal(3).swapaxes(-1, -2)[:, :, :3], TOKENS[:3], "5 queries and 3 keys"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern, tokens, said):
    with pytest.raises(InputError, match=said):
        plots.explorer(pattern, tokens)


def test_tokens_are_of_bare_patterns_alone(tmp_path):
    view = plots.explorer(causal(3), TOKENS)
    with pytest.raises(InputError, match="stand alone"):
        plots.explorer(view.runs["attention"], TOKENS)
    assert " circle" in view.save(tmp_path / "page.html").read_text()
