"""What an answer scores is of the last one, however many came before, and whatever is dropped."""

import pytest
import torch
from closeness import assert_close
from conftest import build, picture

import vlmlens as vl
from vlmlens import experiments, probes
from vlmlens.errors import EmptySelectionError
from vlmlens.interventions import DropTokens, ZeroAblate
from vlmlens.model.decoding.likelihood import answer_log_probs

SHOTS = [
    vl.Sample("What is left?", [picture(0)], answer="red and green"),
    vl.Sample("What is in it?", [picture(1)], answer="a cat"),
]
ASKED = vl.Sample("What is right?", [picture(2)], answer="blue", choices=["blue", "red"])


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl", "gemma3"])
def vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


def by_hand(vlm, sample, answer):
    """The sum of log p of an answer's tokens, read off plain transformers."""
    inputs = vlm.inputs([sample], answers=[answer])
    size = len(vlm.inputs([sample]).layouts[0])
    ids = inputs.tensors["input_ids"][0, size:]
    with torch.no_grad():
        logits = vlm.hf_model(**inputs.tensors).logits[0, size - 1 : -1]
    return float(logits.log_softmax(-1).gather(1, ids[:, None]).sum())


@pytest.mark.parametrize("shots", [0, 1, 2])
def test_every_score_of_an_answer_is_of_the_last(vlm, shots):
    sample = ASKED.after(SHOTS[:shots]) if shots else ASKED
    blue, red = (torch.tensor([by_hand(vlm, sample, answer)]) for answer in ("blue", "red"))
    expected = {"answer_log_prob": blue, "answer_difference": blue - red}
    for score, wanted in expected.items():
        found = experiments.sweep(
            vlm,
            [sample],
            edit=ZeroAblate(),
            point="blocks.*.hook_mlp_out",
            over=("layer",),
            score=score,
            answers=[("blue", "red")],
            progress=False,
        )
        assert_close(torch.from_numpy(found["clean"].values).float(), wanted)
    inputs = vlm.inputs([sample], answers=["blue"])
    run = vlm.run(inputs)
    assert_close(probes.answer_score(run), blue)
    assert_close(answer_log_probs(run.logits, inputs.tensors["input_ids"], inputs.layouts), blue)
    found = vlm.generate(vlm.inputs([sample]), max_new_tokens=1, answered=[inputs]).scores
    assert_close(found.log_probs[0], blue)
    first = inputs.tensors["input_ids"][0, inputs.layouts[0].answer()[0]]
    recited = run.logits[0, inputs.layouts[0].telling()[0]].argmax() == first
    assert bool(probes.answer_recited(run)[0]) <= bool(recited)


def test_before_a_token_that_was_dropped_the_last_that_stands_tells(vlm):
    """The end of the prompt is gone: what predicts the answer is the token before it."""
    inputs = vlm.inputs([ASKED], answers=["blue"])
    layout = inputs.layouts[0]
    said = layout.answer()
    gone = (int(said[0]) - 1, int(said[0]) - 2)
    run = vlm.run(inputs, DropTokens(where=vl.Where(positions=gone)))
    left = run.inputs.layouts[0]
    assert left.telling()[0] == said[0] - 3 and (left.telling()[1:] == said[1:] - 1).all()
    ids = inputs.tensors["input_ids"][0]
    log_p = run.logits[0].log_softmax(-1)
    wanted = sum(log_p[at, ids[of]] for at, of in zip(left.telling(), said, strict=True))[None]
    assert_close(probes.answer_score(run), wanted)
    assert_close(answer_log_probs(run.logits, ids[None], run.inputs.layouts), wanted)
    with pytest.raises(EmptySelectionError, match="nothing before its answer"):
        left_alone = DropTokens(where=vl.Where(positions=range(int(said[0]))))
        probes.answer_score(vlm.run(inputs, left_alone))
    with pytest.raises(EmptySelectionError, match="holds no answer"):
        probes.answer_score(vlm.run(vlm.inputs([ASKED])))
