"""The bundled model: an ordinary transformers folder, small, and as good as its card says."""

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import vlmlens as vl
from vlmlens import zoo
from vlmlens.datasets import shapes_2d
from vlmlens.experiments import Answering, Experiment
from vlmlens.interventions import PermuteVision

FOLDER = zoo.bundled()["shapes-base"]


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


def test_it_is_small_and_brings_its_card():
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 10e6
    assert "| object | 200 |" in (FOLDER / "README.md").read_text()


def test_plain_transformers_opens_it_and_agrees(model):
    plain = AutoModelForImageTextToText.from_pretrained(FOLDER)
    processor = AutoProcessor.from_pretrained(FOLDER)
    sample = shapes_2d(1)[0]
    content = [{"type": "image"}, {"type": "text", "text": sample.question}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    given = processor(text=text, images=sample.pictures(), return_tensors="pt")
    inputs = model.inputs([sample])
    assert torch.equal(given["input_ids"], inputs.tensors["input_ids"])
    with torch.no_grad():
        assert torch.equal(plain(**given).logits, model.run(inputs).logits)
        said = plain.generate(**given, max_new_tokens=8, do_sample=False)
    answer = processor.tokenizer.decode(said[0, given["input_ids"].shape[1] :], True).strip()
    assert model.generate(inputs).texts[0] == answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("category", "intact", "shuffled"),
    [("object", (0.9, 1.0), (0.85, 1.0)), ("color_abs", (0.8, 1.0), (0.3, 0.8))],
)
def test_it_knows_things_without_their_order_and_places_only_with_it(
    model, category, intact, shuffled
):
    samples = shapes_2d(48, seed=7, categories=[category])
    edits = {"intact": (), "shuffled": (PermuteVision(),)}
    correct = Experiment(model, samples, Answering(), edits).run()["correct"]
    for label, (low, high) in (("intact", intact), ("shuffled", shuffled)):
        assert low <= float(correct.sel(intervention=label).mean()) <= high, label
