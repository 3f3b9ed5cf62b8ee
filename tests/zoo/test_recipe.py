"""The recipe runs, goes on where it was cut off, and trains as the model is asked."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import vlmlens as vl
from vlmlens.datasets.shapes_2d import entries
from vlmlens.zoo import recipe
from vlmlens.zoo.recipe import Lessons, Recipe, packed_mask, train

SHORT = Recipe(
    tower_steps=2, tower_batch=2, steps=4, batch=2, lookup_batch=2, questions=2, checkpoint_every=2
)


@pytest.mark.filterwarnings("default")  # what torch's loader warns of in a worker is torch's
def test_a_run_that_was_cut_off_ends_where_a_whole_one_does(tmp_path, monkeypatch):
    whole = train(SHORT, tmp_path / "whole")
    real = recipe.answer_loss
    calls = []

    def cut(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(recipe, "answer_loss", cut)
    with pytest.raises(KeyboardInterrupt):
        train(SHORT, tmp_path / "cut")
    monkeypatch.setattr(recipe, "answer_loss", real)
    again = train(SHORT, tmp_path / "cut")
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, again))
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], msg=name)


def test_a_packed_question_is_the_prompt_that_the_model_gets():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        (entry,) = entries(1)
        asked = model.inputs([entry.sample()], answers=[entry.question.answer])
        lessons = Lessons(SHORT, model.processor)
        ids, segments, positions, learn = lessons.pack("", [entry.question])
    assert ids == asked.tensors["input_ids"][0].tolist()
    assert positions == asked.tensors["position_ids"][0].tolist()
    assert np.flatnonzero(learn).tolist() == asked.layouts[0].positions("assistant").tolist()
    assert set(segments) == {0, 1}


def test_packed_questions_see_the_prefix_and_themselves():
    seen = packed_mask(torch.tensor([[0, 0, 1, 2, 2, -1]]))[0, 0] == 0
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]
