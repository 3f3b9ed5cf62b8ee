"""Beam search is transformers' own: its ``generate(num_beams=...)`` is the law."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from as_users import as_users
from conftest import KINDS, QUESTIONS, build, by_turns, picture
from transformers.generation.streamers import BaseStreamer

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.interventions import AddNoise, KnockOut, Scale, ZeroAblate
from vlmlens.zoo.tiny import TINY

NEW, BEAMS = 6, 3


@pytest.fixture(scope="module", params=by_turns(KINDS, ("llava/siglip-qwen2", "qwen2_5_vl")))
def vlm(request):
    with vl.HookedVLM(*build(request.param)) as model:
        yield model


@pytest.fixture(scope="module")
def asked(vlm):
    return both(vlm)


def both(vlm):
    """Two samples of different length: one has padding on its left."""
    return vlm.inputs([picture(0), picture(1)], list(QUESTIONS))


def alone(vlm, row):
    return vlm.inputs([picture(row)], [QUESTIONS[row]])


def theirs(vlm, inputs, **options):
    """Tokens and scores of transformers' own search."""
    given = {k: v for k, v in inputs.tensors.items() if k != "position_ids"}
    told = {"max_new_tokens": NEW, "do_sample": False, "num_beams": BEAMS} | options
    told |= {"return_dict_in_generate": True, "output_scores": True}
    made = vlm.hf_model.generate(**given, **told)
    return made.sequences[:, given["input_ids"].shape[1] :], made.sequences_scores


def likelihood(vlm, inputs, tokens):
    """log p of every token, in one pass over prompts and answers."""
    logits = vlm.run(inputs.appended(tokens)).logits[:, -1 - tokens.shape[1] : -1]
    return logits.log_softmax(-1).gather(2, tokens[..., None])[..., 0]


def refuse_unlike(vlm, ours, tokens):
    """The answers are theirs, and as long; behind its end each has the pad token.

    transformers puts its end token there where the pad token is number 0, which reads as none.
    """
    pad = vlm.hf_model.generation_config.pad_token_id
    assert ours.tokens.shape == tokens.shape
    for own, told, length in zip(ours.tokens, tokens, ours.lengths.tolist(), strict=True):
        assert own[:length].tolist() == told[:length].tolist()
        assert set(own[length:].tolist()) <= {pad}
        assert not pad or own.tolist() == told.tolist()


def same(vlm, inputs, **options):
    """Whether ours are theirs; what is said."""
    ours = vlm.generate(inputs, max_new_tokens=NEW, num_beams=BEAMS, **options)
    tokens, scores = theirs(vlm, inputs, **options)
    refuse_unlike(vlm, ours, tokens)
    torch.testing.assert_close(ours.beam_scores, scores, rtol=1e-4, atol=1e-4)
    return ours


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_tokens_and_scores_are_transformers_own(name):
    with vl.HookedVLM(*build(name)) as vlm:
        asked = both(vlm)
        settings = vlm.hf_model.generation_config
        names = ("image_token_id", "video_token_id")  # of these, a whole pass asks for pictures
        settings.suppress_tokens = [getattr(vlm.config, n) for n in names if hasattr(vlm.config, n)]
        ours = vlm.generate(asked, max_new_tokens=NEW, num_beams=BEAMS, stop=False)
        own = likelihood(vlm, asked, ours.tokens).mean(1)
        torch.testing.assert_close(ours.beam_scores, own, rtol=1e-4, atol=1e-4)
        settings.eos_token_id = None
        try:
            tokens, scores = theirs(vlm, asked)
        except ValueError as error:  # it repeats one sample's tiles after another's
            pytest.skip(f"this transformers has no beams for pictures in tiles: {error}")
        if not torch.allclose(likelihood(vlm, asked, tokens).mean(1), scores, atol=1e-3):
            pytest.skip("the scores of this transformers are not those of its own model")
        assert ours.tokens.tolist() == tokens.tolist()
        settings.eos_token_id = ours.tokens[0, 0].item()
        ended = same(vlm, asked, length_penalty=-1.0)
        assert ended.lengths.min() < NEW


@pytest.mark.parametrize(
    ("early", "penalty"),
    [(False, 1.0), (True, 1.0), ("never", 1.0), (False, -1.0), (True, 0.0), ("never", 3)],
)
def test_ends_and_penalties(vlm, asked, monkeypatch, early, penalty):
    said = vlm.generate(asked, max_new_tokens=NEW, num_beams=BEAMS, stop=False).tokens
    ends = [said[0, 1].item(), said[1, 3].item()]
    monkeypatch.setattr(vlm.hf_model.generation_config, "eos_token_id", ends)
    for pad in (0, 7):
        monkeypatch.setattr(vlm.hf_model.generation_config, "pad_token_id", pad)
        ours = same(vlm, asked, early_stopping=early, length_penalty=penalty)
    for row, length in enumerate(ours.lengths.tolist()):
        assert ours.tokens[row, length - 1] in ends or length == NEW
        assert not set(ours.tokens[row, : length - 1].tolist()) & set(ends)


def test_what_the_checkpoint_says(vlm, asked, monkeypatch):
    plain = vlm.generate(asked, max_new_tokens=NEW)
    assert plain.beam_scores is None
    settings = vlm.hf_model.generation_config
    told = {"num_beams": 2, "length_penalty": 2.0, "early_stopping": True}
    told |= {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "renormalize_logits": True}
    told |= {"min_length": asked.tensors["input_ids"].shape[1] + 3}
    for name, value in told.items():
        monkeypatch.setattr(settings, name, value)
    monkeypatch.setattr(settings, "eos_token_id", plain.tokens[:, 0].tolist())
    ours = vlm.generate(asked, max_new_tokens=NEW)
    tokens, scores = theirs(vlm, asked, num_beams=2)
    refuse_unlike(vlm, ours, tokens)
    assert ours.tokens.tolist() != plain.tokens.tolist()
    torch.testing.assert_close(ours.beam_scores, scores, rtol=1e-4, atol=1e-4)
    assert vlm.generate(asked, max_new_tokens=NEW, num_beams=1).beam_scores is None
    assert vlm.hf_model.generation_config is settings and settings.num_beams == 2


def test_strings_end_beams_too(vlm, asked, monkeypatch):
    said = vlm.generate(asked, max_new_tokens=NEW, num_beams=BEAMS, stop=False)
    tokenizer = vlm.processor.tokenizer
    words = [tokenizer.decode([t]).strip() for t in said.tokens[:, :3].flatten().tolist()]
    word = next(word for word in words if word.isascii() and word)
    monkeypatch.setattr(vlm.hf_model.generation_config, "stop_strings", [word])
    ours = vlm.generate(asked, max_new_tokens=NEW, num_beams=BEAMS)
    refuse_unlike(vlm, ours, theirs(vlm, asked, tokenizer=tokenizer)[0])
    assert ours.tokens.tolist() != said.tokens.tolist()


def test_what_is_saved_is_the_best_beams(vlm, asked):
    point = "blocks.*.hook_resid_post"
    said = vlm.generate(asked, save=point, max_new_tokens=NEW, num_beams=BEAMS, stop=False)
    whole = vlm.run(asked.appended(said.tokens), save=point)
    first = asked.tensors["input_ids"].shape[1] - 1
    assert len(said.steps) == NEW and said.tokens.shape == (2, NEW)
    for step, run in enumerate(said.steps):
        here = slice(first + step, first + step + 1)
        torch.testing.assert_close(run.logits, whole.logits[:, here], rtol=1e-3, atol=1e-4)
        for name in whole.saved:
            theirs_now = whole.saved[name][:, here]
            torch.testing.assert_close(run.saved[name][:, -1:], theirs_now, rtol=1e-3, atol=1e-4)


def zeroed(vlm, rows):
    """A torch hook of nobody's here, on the last block's MLP: it writes zeros at these rows."""
    path = f"{vlm.family.lm_layers}.{vlm.layers - 1}.mlp"

    def hook(module, args, out):
        out = out.clone()
        out[rows] = 0
        return out

    return vlm.hf_model.get_submodule(path).register_forward_hook(hook)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        (vl.Where(layers=-1), slice(None)),
        (vl.Where(layers=-1, samples=0), slice(BEAMS)),
        (vl.Where(layers=-1, samples=1), slice(BEAMS, None)),
    ],
)
def test_edits_act_on_every_beam_of_the_samples_that_they_mean(vlm, asked, where, rows):
    plain = vlm.generate(asked, max_new_tokens=NEW, num_beams=BEAMS)
    edit = ZeroAblate("blocks.*.mlp.hook_post", where)  # the down-projection of zeros is zero
    ours = vlm.generate(asked, edit, max_new_tokens=NEW, num_beams=BEAMS)
    handle = zeroed(vlm, rows)
    try:
        tokens, scores = theirs(vlm, asked)
    finally:
        handle.remove()
    refuse_unlike(vlm, ours, tokens)
    torch.testing.assert_close(ours.beam_scores, scores, rtol=1e-4, atol=1e-4)
    changed = (ours.beam_scores - plain.beam_scores).abs() > 1e-3
    assert changed.tolist() == [rows != slice(BEAMS, None), rows != slice(BEAMS)]


@pytest.mark.slow
def test_edits_see_one_sample_a_row_whatever_the_beams(vlm, asked):
    """Of two samples, one edited: each says what it says alone."""
    cut = KnockOut(where=vl.Where(queries="last", keys="vision", samples=1))
    noise = AddNoise("hook_embed", vl.Where(positions="vision", samples=1), by=2.0)
    for edits in ([cut], [noise, cut]):
        ours = vlm.generate(asked, edits, max_new_tokens=NEW, num_beams=BEAMS, stop=False)
        for row in (0, 1):
            there = [
                type(edit)(
                    **{**vars(edit), "where": vl.Where(**{**vars(edit.where), "samples": None})}
                )
                for edit in edits
            ]
            given = there if row else []
            one = vlm.generate(
                alone(vlm, row), given, max_new_tokens=NEW, num_beams=BEAMS, stop=False
            )
            assert ours.tokens[row].tolist() == one.tokens[0].tolist()
            torch.testing.assert_close(
                ours.beam_scores[row], one.beam_scores[0], rtol=1e-3, atol=1e-3
            )


@dataclass(frozen=True)
class Watchful(vl.Intervention):
    """Adds what it reads, and notes how many samples it is shown."""

    reads: ClassVar = ("hook_resid_pre",)
    by: float = 0.5

    def edit(self, x, site):
        assert len(x) == len(site.layouts) == len(site.keys) == 2
        newest = [layout.tokens[-1] for layout in site.layouts]
        assert all(isinstance(word, str) for word in newest)
        return x + self.by * site.read("hook_resid_pre")


def test_edits_read_their_own_beam(vlm, asked):
    edit = Watchful("blocks.*.hook_mlp_out")
    ours = vlm.generate(asked, edit, max_new_tokens=NEW, num_beams=BEAMS, stop=False)
    whole = vlm.run(asked.appended(ours.tokens), edit).logits[:, -1 - NEW : -1]
    log_p = whole.log_softmax(-1).gather(2, ours.tokens[..., None])[..., 0]
    torch.testing.assert_close(ours.beam_scores, log_p.mean(1), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_point_is_cut_into_beams_and_put_together(name):
    """An edit of everything that changes nothing leaves the search as it is."""
    with vl.HookedVLM(*build(name)) as vlm:
        asked = both(vlm)
        plain = vlm.generate(asked, max_new_tokens=3, num_beams=BEAMS, attention="eager")
        edits = [
            Scale(point, by=1.0)
            for point in vlm.hook_dict
            if not point.startswith("vision.") and "hook_mask" not in point
        ]
        ours = vlm.generate(asked, edits, max_new_tokens=3, num_beams=BEAMS, attention="eager")
        assert ours.tokens.tolist() == plain.tokens.tolist()
        torch.testing.assert_close(ours.beam_scores, plain.beam_scores, rtol=1e-3, atol=1e-3)


def test_a_dictionary_at_one_sample_is_at_all_of_its_beams():
    class Nothing:
        def encode(self, x):
            return torch.zeros_like(x)

        def decode(self, acts):
            return acts

    with vl.HookedVLM(*build("llava")) as vlm:
        asked = both(vlm)
        host = "blocks.1.hook_mlp_out"
        where = vl.Where(samples=1)
        edit = ZeroAblate(host, where)
        told = vlm.generate(asked, edit, max_new_tokens=4, num_beams=BEAMS)
        plain = vlm.generate(asked, max_new_tokens=4, num_beams=BEAMS)
        with vlm.splice(host, Nothing(), error=False, where=where):
            ours = vlm.generate(asked, max_new_tokens=4, num_beams=BEAMS)
        assert ours.tokens.tolist() == told.tokens.tolist() != plain.tokens.tolist()
        torch.testing.assert_close(ours.beam_scores, told.beam_scores)


def test_hooks_see_a_row_a_beam(vlm, asked):
    rows = []
    with vlm.hooks([("blocks.0.hook_mlp_out", lambda x, hook: rows.append(len(x)))]):
        vlm.generate(asked, max_new_tokens=3, num_beams=BEAMS, stop=False)
    assert rows == [2, 2 * BEAMS, 2 * BEAMS, 2, 2]  # the prompt; the search; the best ones


def test_raw_tensors_without_a_processor(vlm, asked):
    kept = {k: v for k, v in asked.tensors.items() if k != "position_ids"}
    told = vlm.generate(asked, max_new_tokens=NEW, num_beams=BEAMS).tokens
    raw = vlm.inputs_from(**kept)
    assert torch.equal(vlm.generate(raw, max_new_tokens=NEW, num_beams=BEAMS).tokens, told)


def test_answers_are_scored_from_the_prompt_alone(vlm, asked):
    answers = vlm.inputs([picture(0), picture(1)], list(QUESTIONS), answers=["red", "yes"])
    plain = vlm.generate(asked, max_new_tokens=2, answered=[answers])
    ours = vlm.generate(asked, max_new_tokens=2, answered=[answers], num_beams=BEAMS)
    assert torch.equal(ours.scores.log_probs, plain.scores.log_probs)


class Heard(BaseStreamer):
    """A streamer that must not be reached."""

    def put(self, value):
        raise AssertionError

    end = put


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams=0: a whole number of at least 1"),
        ({"num_beams": 2.5}, r"num_beams=2\.5: a whole number"),
        ({"num_beams": 2, "length_penalty": float("nan")}, "length_penalty=nan"),
        ({"num_beams": 2, "early_stopping": "soon"}, "early_stopping='soon'.*never"),
        ({"num_beams": 2, "temperature": 0.5}, r"temperature=0\.5 draws tokens, and num_beams=2"),
        ({"num_beams": 2, "streamer": Heard()}, "num_beams=2 settles an answer's tokens"),
    ],
)
def test_what_makes_no_sense_of_beams(vlm, asked, options, message):
    with as_users(), pytest.raises(InputError, match=message):
        vlm.generate(asked, **options)


def test_an_edit_of_a_step_that_the_best_beam_never_reaches(vlm, asked, monkeypatch):
    said = vlm.generate(asked, max_new_tokens=NEW, num_beams=BEAMS, stop=False).tokens
    monkeypatch.setattr(vlm.hf_model.generation_config, "eos_token_id", said[0, 0].item())
    late = Scale("hook_embed", vl.Where(steps=NEW - 1), by=1.0)
    options = {"early_stopping": True, "length_penalty": -2.0}
    assert vlm.generate(asked, max_new_tokens=NEW, num_beams=BEAMS, **options).lengths[0] < NEW
    with as_users(), pytest.raises(InputError, match="the answer of sample 0 ended"):
        vlm.generate(asked, late, max_new_tokens=NEW, num_beams=BEAMS, **options)
