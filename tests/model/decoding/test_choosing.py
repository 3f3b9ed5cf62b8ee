"""Tokens are chosen as the checkpoint's own settings say: transformers' ``generate`` is the law."""

from threading import Thread

import numpy as np
import pytest
import torch
from as_users import as_users
from conftest import KINDS, QUESTIONS, build, by_turns, picture
from transformers import TextIteratorStreamer, TextStreamer
from transformers.generation.streamers import BaseStreamer

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.model.decoding.choosing import Request
from vlmlens.zoo.tiny import TINY

NEW = 8


def plain(first, second, length):
    """Settings by name, from what two samples say without any, after prompts of this length."""
    a, b, c, d = first[:4]
    return {
        "nothing": {},
        "repetition_penalty": {"repetition_penalty": 1.5},
        "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
        "encoder_repetition_penalty": {"encoder_repetition_penalty": 3.0},
        "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
        "suppress_tokens": {"suppress_tokens": [a, b]},
        "begin_suppress_tokens": {"begin_suppress_tokens": [a]},
        "bad_words_ids": {"bad_words_ids": [[b, c], [second[0]]]},
        "sequence_bias": {"sequence_bias": [[[a], -30.0], [[b, c], -30.0]]},
        "eos_token_id": {"eos_token_id": [c, second[3]]},
        "pad_token_id": {"eos_token_id": [c], "pad_token_id": d},
        "min_new_tokens": {"eos_token_id": [a], "min_new_tokens": 4},
        "min_length": {"eos_token_id": [a], "min_length": length + 4},
        "forced_eos_token_id": {"forced_eos_token_id": 2},
        "exponential_decay": {"exponential_decay_length_penalty": (1, 3.0)},
        "renormalize_logits": {"renormalize_logits": True},
        "remove_invalid_values": {"remove_invalid_values": True},
        "sampling is not asked for": {"do_sample": True, "temperature": 0.3, "top_p": 0.1},
        "a length of its own": {"max_length": 3, "max_new_tokens": 3},
        "several": {
            "repetition_penalty": 1.2,
            "no_repeat_ngram_size": 2,
            "suppress_tokens": [b],
            "min_new_tokens": 3,
            "eos_token_id": [c, d],
        },
    }


SETTINGS = list(plain([0, 1, 2, 3], [0, 1, 2, 3], 9))
#: These leave alone what is said here, or what some of the models say.
SILENT = {
    "nothing",
    "encoder_no_repeat_ngram_size",
    "pad_token_id",
    "renormalize_logits",
    "remove_invalid_values",
    "sampling is not asked for",
    "a length of its own",
}


@pytest.fixture(scope="module", params=KINDS)
def vlm(request):
    with vl.HookedVLM(*build(request.param)) as model:
        yield model


@pytest.fixture(scope="module")
def asked(vlm):
    """Two samples of different length: one has padding on its left."""
    return vlm.inputs([picture(0), picture(1)], list(QUESTIONS))


@pytest.fixture
def setting(vlm, monkeypatch):
    """Give the checkpoint settings for one test."""

    def give(**settings):
        for name, value in settings.items():
            monkeypatch.setattr(vlm.hf_model.generation_config, name, value)

    return give


def theirs(vlm, inputs, **options):
    """What transformers' own ``generate`` adds to the prompts."""
    given = {k: v for k, v in inputs.tensors.items() if k != "position_ids"}
    options = {"max_new_tokens": NEW, "do_sample": False} | options
    told = vlm.hf_model.generate(**given, **options)
    return told[:, given["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("name", SETTINGS)
def test_tokens_are_transformers_own(vlm, asked, setting, name):
    before = vlm.generate(asked, max_new_tokens=NEW, stop=False).tokens.tolist()
    setting(**plain(*before, asked.tensors["input_ids"].shape[1])[name])
    ours = vlm.generate(asked, max_new_tokens=NEW)
    assert ours.tokens.tolist() == theirs(vlm, asked)
    if name not in SILENT:
        assert ours.tokens.tolist() != before


def test_min_new_tokens_forbids_the_end_until_then(vlm, asked, setting):
    first = vlm.generate(asked, max_new_tokens=1).tokens[0].tolist()
    setting(eos_token_id=first, min_length=0)
    assert vlm.generate(asked, max_new_tokens=NEW).lengths[0] == 1
    for least in (0, 1, 3, NEW):
        ours = vlm.generate(asked, max_new_tokens=NEW, min_new_tokens=least)
        assert ours.tokens.tolist() == theirs(vlm, asked, min_new_tokens=least)
        assert (ours.lengths >= least).all()
        followed = vlm.generate(asked, max_new_tokens=NEW, min_new_tokens=least, stop=False)
        kept = ours.tokens.shape[1]
        for row, length in enumerate(ours.lengths.tolist()):
            assert torch.equal(followed.tokens[row, :length], ours.tokens[row, :length])
        assert followed.tokens.shape[1] == NEW >= kept


def test_strings_that_stop(vlm, asked, setting):
    before = vlm.generate(asked, max_new_tokens=NEW, stop=False)
    tokenizer = vlm.processor.tokenizer
    words = [
        (row, tokenizer.decode([t])) for row in (0, 1) for t in before.tokens[row, :6].tolist()
    ]
    row, word = next((row, word) for row, word in words if word.strip().isascii() and word.strip())
    setting(stop_strings=[word])
    ours = vlm.generate(asked, max_new_tokens=NEW)
    assert ours.tokens.tolist() == theirs(vlm, asked, tokenizer=tokenizer)
    assert ours.lengths[row] < NEW
    assert word.strip() in ours.texts[row]
    said = vlm.generate(asked, max_new_tokens=NEW, stop=False)
    assert torch.equal(said.tokens, before.tokens)


def test_logits_and_scores_stay_the_models_own(vlm, asked, setting):
    answers = vlm.inputs([picture(0), picture(1)], list(QUESTIONS), answers=["red", "yes"])
    raw = vlm.generate(asked, max_new_tokens=1, answered=[answers])
    setting(suppress_tokens=raw.tokens[:, 0].tolist(), repetition_penalty=2.0)
    ours = vlm.generate(asked, max_new_tokens=1, answered=[answers])
    assert torch.equal(raw.steps[0].logits, ours.steps[0].logits)
    assert torch.equal(raw.scores.log_probs, ours.scores.log_probs)
    assert (raw.tokens != ours.tokens).all()


def test_what_is_drawn_is_drawn_from_transformers_own_scores(vlm, asked, setting):
    """``top_k=1`` leaves one token to draw; without it many are drawn, and seeds decide."""
    setting(top_k=1)
    likeliest = vlm.generate(asked, max_new_tokens=NEW).tokens
    assert torch.equal(vlm.generate(asked, max_new_tokens=NEW, temperature=5.0).tokens, likeliest)
    setting(top_k=0, repetition_penalty=1.5)
    drawn = [vlm.generate(asked, temperature=5.0, seed=seed).tokens for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert drawn[0].tolist() != drawn[2].tolist()
    setting(suppress_tokens=drawn[0].flatten().tolist())
    again = vlm.generate(asked, temperature=5.0, seed=0, stop=False).tokens
    assert not set(again.flatten().tolist()) & set(drawn[0].flatten().tolist())


DRAWN = {
    "nothing": {"top_k": 0},
    "top_k": {"top_k": 4},
    "top_p": {"top_k": 0, "top_p": 0.6},
    "min_p": {"top_k": 0, "min_p": 0.2},
    "typical_p": {"top_k": 0, "typical_p": 0.4},
    "eta_cutoff": {"top_k": 0, "eta_cutoff": 0.05},
    "several": {"top_k": 30, "top_p": 0.9, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
}


@pytest.mark.parametrize("name", DRAWN)
def test_tokens_that_are_drawn_are_those_of_the_same_seed(vlm, asked, setting, name):
    setting(**DRAWN[name])
    for seed, temperature in ((0, 1.0), (3, 1.7)):
        ours = vlm.generate(asked, max_new_tokens=NEW, temperature=temperature, seed=seed)
        torch.manual_seed(seed)
        told = theirs(vlm, asked, do_sample=True, temperature=temperature)
        assert ours.tokens.tolist() == told


class Heard(BaseStreamer):
    """What a streamer is handed."""

    def __init__(self):
        self.tokens, self.ended = [], 0

    def put(self, value):
        assert not self.ended
        self.tokens.append(value.tolist())

    def end(self):
        self.ended += 1


def test_a_streamer_is_handed_what_transformers_hands_it(vlm, asked, setting):
    first = vlm.generate(asked, max_new_tokens=4, stop=False).tokens[0, 2].item()
    setting(eos_token_id=[first])
    ours, own = Heard(), Heard()
    said = vlm.generate(asked, max_new_tokens=NEW, streamer=ours)
    theirs(vlm, asked, streamer=own)
    assert (ours.tokens, ours.ended) == (own.tokens, own.ended)
    assert list(zip(*ours.tokens[1:], strict=True)) == [tuple(row) for row in said.tokens.tolist()]


def test_texts_are_streamed_to_a_thread(vlm):
    alone = vlm.inputs([picture(0)], [QUESTIONS[0]])
    streamer = TextIteratorStreamer(vlm.processor.tokenizer, skip_prompt=True, timeout=60)
    said = []
    worker = Thread(target=lambda: said.append(vlm.generate(alone, streamer=streamer, stop=False)))
    worker.start()
    text = "".join(streamer)
    worker.join(timeout=60)
    assert text == vlm.processor.tokenizer.decode(said[0].tokens[0])


def test_what_is_no_streamer(vlm, asked):
    with as_users(), pytest.raises(InputError, match=r"has no put\(\)"):
        vlm.generate(asked, streamer=print)
    with as_users(), pytest.raises(InputError, match="TextStreamer writes one sample's text"):
        vlm.generate(asked, streamer=TextStreamer(vlm.processor.tokenizer))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_beam_groups", 2),
        ("num_return_sequences", 2),
        ("penalty_alpha", 0.6),
        ("guidance_scale", 1.5),
        ("prompt_lookup_num_tokens", 3),
        ("token_healing", True),
        ("dola_layers", "high"),
    ],
)
def test_another_way_of_decoding_is_refused_by_name(vlm, asked, setting, name, value):
    setting(**{name: value})
    with pytest.raises(InputError, match=f"says {name}=.*token by token"):
        vlm.generate(asked)


def test_settings_that_transformers_refuses_are_our_error(vlm, asked, setting):
    setting(bad_words_ids=[["a"]])
    with pytest.raises(InputError, match="refuses the checkpoint's generation_config"):
        vlm.generate(asked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"most": 2.5}, r"max_new_tokens=2\.5: a whole number"),
        ({"most": 0}, "max_new_tokens=0: a whole number of at least 1"),
        ({"most": -3}, "max_new_tokens=-3"),
        ({"most": None}, "max_new_tokens=None"),
        ({"most": "8"}, "max_new_tokens='8'"),
        ({"least": 0.5}, r"min_new_tokens=0\.5: a whole number"),
        ({"least": 17}, "min_new_tokens=17: a whole number from 0 to 16"),
        ({"least": -1}, "min_new_tokens=-1"),
        ({"temperature": -1}, "temperature=-1: a finite number of at least 0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"temperature": None}, "temperature=None"),
        ({"temperature": "warm"}, "temperature='warm'"),
        ({"seed": 0.5}, r"seed=0\.5: a whole number"),
        ({"stop": "no"}, "stop='no'"),
    ],
)
def test_numbers_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        Request(**{"most": 16} | options)


def test_numbers_of_numpy_and_torch_are_numbers(vlm, asked):
    wish = Request(np.int64(3), torch.tensor(2), np.float32(0.5), np.uint8(1))
    assert (wish.most, wish.least, wish.temperature, wish.seed) == (3, 2, 0.5, 1)
    with pytest.raises(InputError, match="min_new_tokens=9: a whole number from 0 to 8"):
        vlm.generate(asked, max_new_tokens=8, min_new_tokens=9)


@pytest.mark.parametrize("name", by_turns(n for n in TINY if n not in KINDS))
def test_every_other_family_once(name):
    with vl.HookedVLM(*build(name)) as vlm:
        asked = vlm.inputs([picture(0), picture(1)], list(QUESTIONS))
        before = vlm.generate(asked, max_new_tokens=4, stop=False).tokens.tolist()
        told = vlm.hf_model.generation_config
        told.repetition_penalty, told.suppress_tokens = 1.3, [before[0][0]]
        ours = vlm.generate(asked, max_new_tokens=4).tokens.tolist()
        assert ours == theirs(vlm, asked, max_new_tokens=4) != before
