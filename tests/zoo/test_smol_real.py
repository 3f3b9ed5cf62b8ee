"""On smol-llava itself: that it is what it was made of, that it answers, and how it does it.

vlmlens fetch smol-llava
python -m pytest -m real
"""

import json

import numpy as np
import pytest
import torch
from closeness import assert_close
from PIL import Image, ImageDraw
from transformers import AutoModelForImageTextToText, AutoProcessor

import vlmlens as vl
from vlmlens.datasets import shapes_2d
from vlmlens.datasets.shapes import entries
from vlmlens.datasets.shapes.pairs import counterfactual_pairs
from vlmlens.errors import UnfetchedModelError
from vlmlens.experiments import Answering, Experiment
from vlmlens.interventions import PatchFrom
from vlmlens.zoo import smol
from vlmlens.zoo.smol import compose, prove, wheels
from vlmlens.zoo.training.smol.lessons import pack

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def folder():
    try:
        return smol.fetched("smol-llava")
    except UnfetchedModelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model(folder):
    with vl.HookedVLM.from_pretrained("smol-llava") as opened:
        yield opened


@pytest.mark.slow
def test_it_is_found_again_and_was_proved(folder, monkeypatch):
    monkeypatch.setattr(wheels, "_download", lambda *_: pytest.fail("downloaded once more"))
    assert smol.fetch("smol-llava") == folder
    proof = json.loads((folder / smol.MANIFEST).read_text())["proof"]
    assert proof["logits"] <= prove.LOGITS and proof["features"] <= prove.FEATURES


@pytest.mark.slow
def test_the_tower_computes_what_the_original_was_recorded_to(model):
    tower = model.hf_model.model.vision_tower
    with torch.no_grad():
        ours = tower(torch.from_numpy(prove.noise())).last_hidden_state.numpy()
    recorded = np.load(prove._recorded())["features"]
    np.testing.assert_allclose(ours[:, :: prove.EVERY, :: prove.EVERY], recorded, atol=1e-3)


@pytest.mark.slow
def test_plain_transformers_opens_it_and_agrees(model, folder):
    plain = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
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


@pytest.mark.parametrize("system", ["", "Answer in a word or two."])
def test_it_is_asked_as_it_was_trained(model, system):
    (entry,) = entries(1)
    asked = model.inputs([entry.sample()], answers=[entry.question.answer], system=system or None)
    ids, *_ = pack(model.processor.tokenizer, system, [entry.question])
    given = asked.tensors["input_ids"][0].tolist()
    assert given[: len(ids)] == ids
    assert model.processor.tokenizer.decode(given[len(ids) :]) in ("", "\n")


def drawn() -> Image.Image:
    """By hand, not by the generator: a red circle, and a blue square right of it."""
    image = Image.new("RGB", (300, 300), "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((40, 110, 110, 180), fill="red")
    pen.rectangle((190, 115, 255, 180), fill="blue")
    return image


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What color is the circle?", "red"),
        ("What shape is the red shape?", "circle"),
        ("What color is the square?", "blue"),
        ("What shape is the blue shape?", "square"),
        ("What color is at the left?", "red"),
        ("What shape is at the right?", "square"),
        ("What is left of the blue square?", "red circle"),
        ("Is there a green circle?", "no"),
        ("What is right of the red circle?", "blue square"),
        ("Is the red shape left or right of the blue shape?", "left"),
    ],
)
def test_it_answers_about_a_picture_drawn_by_the_user(model, question, answer):
    """What it misses in this picture stands in docs/smol_llava.md."""
    given = model.inputs([drawn()], [question])
    assert model.generate(given, max_new_tokens=6).texts[0].strip().lower() == answer


@pytest.mark.slow
def test_the_normalize_arm_gives_image_tokens_the_length_of_words_and_answers():
    try:
        smol.fetched("smol-llava-normalize")
    except UnfetchedModelError as error:
        pytest.skip(str(error))
    with vl.HookedVLM.from_pretrained("smol-llava-normalize") as arm:
        given = arm.inputs([drawn()], ["What is right of the red circle?"])
        out = arm.run(given, save=["projector.hook_out"]).saved["projector.hook_out"]
        lengths = arm.hf_model.get_input_embeddings().weight.norm(dim=-1)
        table = lengths[lengths > 0].mean()
        assert_close(out.norm(dim=-1), table.expand(out.shape[:-1]), depth=1)
        assert arm.generate(given, max_new_tokens=6).texts[0].strip() == "blue square"


@pytest.mark.slow
def test_it_knows_what_there_is_on_held_out_pictures(model):
    samples = shapes_2d(24, seed=7, categories=["object"])
    correct = Experiment(model, samples, Answering()).run()["correct"]
    assert float(correct.mean()) >= 0.6


@pytest.mark.parametrize("part", ["vision.blocks", "blocks"])
def test_the_residual_stream_adds_up(model, part):
    given = model.inputs(shapes_2d(1))
    sites = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
    saved = model.run(given, save=[f"{part}.*.{site}" for site in sites]).saved
    pre, attention, mlp, post = (saved.stack(f"{part}.*.{site}") for site in sites)
    assert len(pre) == {"vision.blocks": compose.LAYER, "blocks": 30}[part]
    assert_close(pre + attention + mlp, post, depth=1)


@pytest.mark.slow
def test_the_image_hands_over_to_the_last_token(model):
    """Early the answer lies in the image's tokens, late in the last one: Meng et al.'s tracing."""

    def says(samples, *edits, **options):
        run = model.run(model.inputs(samples), list(edits), **options)
        tokens = run.logits[:, -1].argmax(-1)
        return run, model.processor.tokenizer.batch_decode(tokens[:, None])

    pairs = counterfactual_pairs(8, kind="recolor", category="object", seed=1)
    _, before = says([pair.clean for pair in pairs])
    _, after = says([pair.corrupted for pair in pairs])
    known = [
        pair
        for pair, one, other in zip(pairs, before, after, strict=True)
        if (one, other) == (pair.clean.answer, pair.corrupted.answer)
    ]
    assert len(known) >= 3
    clean, corrupted = [p.clean for p in known], [p.corrupted for p in known]
    every = [f"blocks.{layer}.hook_resid_post" for layer in (0, 29)]
    source, _ = says(clean, save=every)

    def restored(point, positions):
        patch = PatchFrom(point, vl.Where(positions=positions), source.saved)
        return [word == s.answer for word, s in zip(says(corrupted, patch)[1], clean, strict=True)]

    assert all(restored(every[0], "vision")) and not any(restored(every[0], "last"))
    assert all(restored(every[1], "last")) and not any(restored(every[1], "vision"))
