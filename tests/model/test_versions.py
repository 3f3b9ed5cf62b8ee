"""What transformers renames from one version to the next: both names work, and nobody is warned."""

import inspect
import warnings

import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, picture
from transformers import DynamicCache, LlavaForConditionalGeneration
from transformers.models.llava.modeling_llava import LlavaModel

import vlmlens as vl
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.interventions import Scale
from vlmlens.versions import CACHE_NAMES, cache_argument, cache_name, one_cache
from vlmlens.zoo.tiny import build

pytestmark = pytest.mark.versions


class Newer(LlavaForConditionalGeneration):
    """A forward with the newest name, whatever its language model calls it."""

    def forward(self, *args, cache=None, **kwargs):
        return super().forward(
            *args, **{cache_name(LlavaForConditionalGeneration): cache}, **kwargs
        )


class Older(LlavaForConditionalGeneration):
    """The same with the old name: remote code keeps it for years."""

    def forward(self, *args, past_key_values=None, **kwargs):
        own = cache_name(LlavaForConditionalGeneration)
        return super().forward(*args, **{own: past_key_values}, **kwargs)


class Whole(LlavaForConditionalGeneration):
    """A forward that computes all logits, whichever are asked for, and takes the word for it."""

    def forward(self, *args, past_key_values=None, **kwargs):
        kwargs.pop("logits_to_keep", None)
        own = cache_name(LlavaForConditionalGeneration)
        return super().forward(*args, **{own: past_key_values}, **kwargs)


def test_the_name_is_read_off_the_forward():
    assert cache_name(Newer) == "cache"
    assert cache_name(Older) == "past_key_values"
    own = cache_name(LlavaForConditionalGeneration)
    assert own in inspect.signature(LlavaForConditionalGeneration.forward).parameters
    model, _ = build("llava")
    assert cache_argument(model, 3) == {own: 3} == cache_argument(model.model.language_model, 3)
    with pytest.raises(UnsupportedModelError, match=r"Linear.forward takes no cache or"):
        cache_argument(torch.nn.Linear(1, 1), None)


def test_one_thing_under_two_names():
    first, second = DynamicCache(), DynamicCache()
    assert one_cache(cache=first, past_key_values=None) is first
    assert one_cache(cache=None, past_key_values=first) is first
    assert one_cache(cache=first, past_key_values=first) is first
    assert one_cache(cache=None, past_key_values=None) is None
    with pytest.raises(InputError, match="cache and past_key_values are one thing"):
        one_cache(cache=first, past_key_values=second)


@pytest.mark.parametrize("kind", [Newer, Older, Whole])
def test_whatever_a_model_calls_it(kind):
    """Decoding, scoring, a prefill, another after it, and resuming: the numbers of whole passes."""
    usual, processor = build("llava")
    usual.__class__ = kind
    with vl.HookedVLM(usual, processor) as model:
        inputs = model.inputs([picture(0)], [QUESTIONS[0]])
        answered = model.inputs([picture(0)], [QUESTIONS[0]], answers=["red and blue"])
        told = model.generate(inputs, max_new_tokens=3, stop=False, answered=[answered])
        whole = model.run(inputs.appended(told.tokens)).logits
        start = len(inputs.layouts[0]) - 1
        for number, step in enumerate(told.steps):
            assert_close(step.logits[:, -1], whole[:, start + number])
        assert not told.scores.whole
        said = model.run(answered).logits
        ids, roles = answered.tensors["input_ids"][0], answered.layouts[0].mask("assistant")
        at = torch.from_numpy(roles.nonzero()[0])
        log_p = said[0].log_softmax(-1)[at - 1, ids[at]].sum()
        assert_close(told.scores.log_probs[0, 0], log_p, like=said)
        some = model.run(inputs, logits="last").logits
        assert_close(some, model.run(inputs).logits[:, -1:])
        edit = Scale("blocks.2.hook_resid_pre", vl.Where(positions="last"), by=0.5)
        longer = model.inputs([picture(0)], [QUESTIONS[0] + " And left of it?"])
        first = model.prefill(inputs)
        after = model.prefill(longer, after=first)
        assert after.shared > 0
        for prefill, asked in ((first, inputs), (after, longer)):
            found = model.resume(prefill, [[edit]])
            assert not found.whole
            assert_close(found.logits[0], model.run(asked, [edit]).logits[0, -1:])


def test_nothing_that_a_user_calls_warns():
    """Every door that hands a cache over, with warnings as errors whatever pytest was told."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("llava", "vlmlens_llava_grid"):
            with vl.HookedVLM(*build(name)) as model:
                inputs = model.inputs([picture(0)], [QUESTIONS[0]])
                said = model.inputs([picture(0)], [QUESTIONS[0]], answers=["red"])
                model.generate(inputs, max_new_tokens=2, stop=False, answered=[said])
                model.resume(model.prefill(inputs), [[]])


@pytest.mark.parametrize("name", CACHE_NAMES)
def test_the_variant_with_a_grid_takes_both_names(name):
    model, processor = build("vlmlens_llava_grid")
    with vl.HookedVLM(model, processor) as vlm:
        tensors = dict(vlm.inputs([picture(0)], [QUESTIONS[0]]).tensors)
        counted = {k: v for k, v in tensors.items() if k != "position_ids"}
    inside = model.model
    with torch.no_grad():
        cache = DynamicCache()
        whole = inside(**counted).last_hidden_state
        begin = {k: v[:, :-2] if k != "pixel_values" else v for k, v in counted.items()}
        inside(**begin, **{name: cache}, use_cache=True)
        rest = inside(input_ids=counted["input_ids"][:, -2:], **{name: cache}, use_cache=True)
    assert cache.get_seq_length() == whole.shape[1]
    assert_close(rest.last_hidden_state, whole[:, -2:])
    assert issubclass(type(inside), LlavaModel)


def test_transformers_own_decoding_equals_whole_passes(every_vlm):
    """Ids alone, as its ``generate`` hands them on: every step as one pass over everything."""
    inputs = every_vlm.inputs([picture(0)], [QUESTIONS[0]])
    image = every_vlm.config.image_token_id
    counted = {k: v for k, v in inputs.tensors.items() if k != "position_ids"}
    told = every_vlm.hf_model.generate(
        **counted,
        max_new_tokens=4,
        min_new_tokens=4,
        do_sample=False,
        suppress_tokens=[image],
        output_logits=True,
        return_dict_in_generate=True,
    )
    size = inputs.tensors["input_ids"].shape[1]
    whole = every_vlm.run(inputs.appended(told.sequences[:, size:])).logits
    for step, logits in enumerate(told.logits):
        assert_close(logits, whole[:, size - 1 + step])


@pytest.mark.parametrize("attention", ["auto", "eager", "sdpa"])
def test_the_weights_that_are_shown_are_those_in_use(every_vlm, attention):
    """Put back with a bit changed, they give the same logits: also where a cap is passed over."""
    inputs = every_vlm.inputs([picture(0)], [QUESTIONS[0]])
    again = [Scale("blocks.*.attn.hook_pattern", by=1 + 2.0**-22)]
    try:
        clean = every_vlm.run(inputs, attention=attention).logits
    except InputError as error:
        assert "this model has no attention=" in str(error)
        return
    assert_close(every_vlm.run(inputs, again, attention=attention).logits, clean)
