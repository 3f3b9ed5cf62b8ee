"""The paper's own functions agree with ours: arrays they produced on tiny random models."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from closeness import assert_apart, assert_close
from transformers import LlavaForConditionalGeneration

import vlmlens as vl
from vlmlens.interventions import PermuteVision
from vlmlens.probes import cmb, norms, rope

FOLDER = Path(os.environ.get("VLMLENS_GOLDEN", Path(__file__).parents[1] / "golden"))
CASES = sorted(p.parent for p in FOLDER.glob("*/expected.npz"))


def test_there_are_cases():
    assert CASES, f"no golden cases under {FOLDER}"


class Case:
    def __init__(self, folder: Path):
        self.expected = np.load(folder / "expected.npz")
        arrays = np.load(folder / "inputs.npz")
        self.spans = json.loads((folder / "spans.json").read_text())
        self.generated = arrays["generated"]
        self.permutation = tuple(int(i) for i in arrays["permutation"])
        model = LlavaForConditionalGeneration.from_pretrained(folder / "model")
        self.vlm = vl.HookedVLM(model)
        roles = {name: self.spans[name] for name in ("system", "vision", "user", "bos")}
        self.inputs = self.vlm.inputs_from(
            torch.from_numpy(arrays["input_ids"]).long(),
            pixel_values=torch.from_numpy(arrays["pixel_values"]),
            roles=roles,
        )


@pytest.fixture(scope="module", params=CASES, ids=lambda p: p.name)
def case(request):
    return Case(request.param)


def test_logits_clean_and_permuted(case):
    clean = case.vlm.run(case.inputs).logits[0, -1]
    assert_close(clean, case.expected["logits.clean"])
    shuffle = PermuteVision(permutation=case.permutation)
    permuted = case.vlm.run(case.inputs, [shuffle]).logits[0, -1]
    assert_close(permuted, case.expected["logits.permuted"])
    assert_apart(clean, permuted)


@pytest.mark.parametrize("keys", ["past", "all"])
def test_rope_sensitivity(case, keys):
    end = torch.tensor([[case.spans["appended_query_token"]]])
    inputs = case.inputs.appended(end)
    assert len(inputs.layouts[0]) - 1 == case.spans["query_row"]
    run = case.vlm.run(inputs, save=rope.NEEDS)
    found = vl.probes.rope_sensitivity(run, delta=case.spans["delta_steps"], keys=keys)
    alpha = found["alpha_v"][0]
    assert_close(alpha, case.expected[f"alpha_v.{keys}"], like=1.0)
    assert_close(alpha * (1 - alpha), case.expected[f"alpha_v_times_rest.{keys}"], like=1.0)
    assert_close(found["delta_g_v"][0], case.expected[f"delta_g_v.{keys}"], like=1.0)
    assert_close(found["delta_alpha_v"][0], case.expected[f"delta_alpha_v.{keys}"], like=1.0)


def test_cross_modality_balance(case):
    run = case.vlm.generate(case.inputs, save=cmb.NEEDS, max_new_tokens=8, min_new_tokens=8)
    assert run.tokens[0].tolist() == case.generated.tolist()
    for text in ("user", "system"):
        balance = vl.probes.cross_modality_balance(run, text=(text,))
        assert_close(balance[0], case.expected[f"cmb_{text}"], like=1.0)
        paper = vl.probes.paper_balance(run, against=text)
        assert_close(paper[0], case.expected[f"cmb_{text}"], like=1.0)


def test_hidden_norms(case):
    found = vl.probes.hidden_norms(case.vlm.run(case.inputs, save=norms.NEEDS))
    for role in ("system", "user", "vision"):
        assert_close(found.sel(role=role)[0], case.expected[f"hidden_norm.{role}"])
