"""The trial of a card, as far as it can be tried without one; marked ``gpu``, on a real one."""

import json

import pytest
import torch

import vlmlens as vl
from vlmlens.gpu import __main__ as command
from vlmlens.gpu import laws, subject
from vlmlens.gpu.card import Card
from vlmlens.gpu.costs import costs
from vlmlens.gpu.findings import tried
from vlmlens.gpu.page import page
from vlmlens.gpu.subject import Size, Subject

SMALL = Size(64, 96, 2, 4, vision_width=64, vision_layers=2, grid=4, dtype=torch.float32)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(command, "NARROW", SMALL)
    monkeypatch.setattr(command, "FEW", ("llava",))
    monkeypatch.setattr(laws, "FEW", ("llava",))
    monkeypatch.setattr(laws, "BACK_ENDS", ("MATH", "EFFICIENT_ATTENTION"))
    monkeypatch.setattr(laws, "compiled", lambda subject: (None, "takes a compiler"))
    monkeypatch.setattr(command, "laws", lambda *given: laws.laws(*given, SMALL))


@pytest.mark.slow
def test_a_trial_is_kept_and_shown(small, tmp_path, capsys):
    shown = tmp_path / "page.md"
    given = ["--device", "cpu", "--quick", "--rounds", "2", "--out", str(tmp_path)]
    assert command.main([*given, "--page", str(shown)]) == 0
    (file,) = tmp_path.glob("*.json")
    trial = json.loads(file.read_text())
    assert {law["holds"] for law in trial["laws"]} == {True, None}
    jobs = {cost["name"]: cost for cost in trial["costs"]}
    assert jobs["sweep, layers x heads, last token"]["naive"] == 2 + SMALL.layers * SMALL.heads
    assert all(cost["low"] <= cost["passes"] <= cost["high"] for cost in jobs.values())
    assert trial["about"]["torch"] == torch.__version__
    text = shown.read_text()
    for name in (*jobs, "the audit, float32", "could not be tried"):
        assert name in text
    assert page([trial]).strip() in capsys.readouterr().out


def test_a_law_that_breaks_is_a_finding():
    def broken():
        raise RuntimeError("CUDA error: an illegal memory access\nmore")

    law = tried("a law", "llava", broken)
    assert law.holds is False
    assert law.found == "RuntimeError: CUDA error: an illegal memory access (broken)"


@pytest.mark.slow
def test_an_audit_that_misses_says_by_how_much(monkeypatch):
    monkeypatch.setitem(vl.model.audit.measure.BOUNDS, torch.float32, 0.0)
    holds, found = laws.audited(Card("cpu"), "llava", torch.float32)
    assert holds is False
    assert " > 0e+00" in found


def test_both_models_are_one():
    both = Subject.of(SMALL, "cpu")
    with both.vlm as vlm:
        inputs = vlm.inputs([both.question()])
        with torch.no_grad():
            plain = both.plain(**inputs.tensors, use_cache=False).logits
        assert torch.equal(vlm.run(inputs).logits, plain)
        own = dict(vlm.hf_model.named_parameters())
        assert all(
            own[name].data_ptr() == p.data_ptr() for name, p in both.plain.named_parameters()
        )


def test_without_a_gpu_the_command_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main(["--device", "cuda"]) == 2
    assert "sees no GPU here" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA on this machine")
def test_peaks_and_waits_are_seen_on_a_gpu():
    card = Card("cuda")
    x = torch.ones(2**20, device="cuda")
    assert card.peak(lambda: x + 1) == pytest.approx(4, rel=0.01)
    assert laws.waits(lambda: x + 1) == []
    assert len(laws.waits(lambda: [x.sum().item(), x.max().item()])) == 2
    small = Subject.of(SMALL, "cuda")
    with small.vlm:
        found = list(costs(card, small, 2))
    assert all(cost.peak is not None and cost.peak > 0 for cost in found)


def test_a_large_model_is_for_a_large_card(monkeypatch):
    monkeypatch.setattr(Card, "free", lambda self: subject.ROOM)
    assert command.large(Card("cpu"), quick=False) == subject.SEVEN
    assert command.large(Card("cpu"), quick=True) == subject.NARROW
    monkeypatch.setattr(Card, "free", lambda self: subject.ROOM - 1)
    assert command.large(Card("cpu"), quick=False) == subject.NARROW
