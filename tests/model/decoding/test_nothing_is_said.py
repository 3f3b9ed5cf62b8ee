"""No library's warning reaches who only uses a model, whatever its checkpoint is set to."""

import logging
import warnings

import pytest
from conftest import QUESTIONS, build, by_turns, picture
from transformers.utils import logging as theirs

import vlmlens as vl
from vlmlens.interventions import ZeroAblate

#: What checkpoints' generation_config files say, alone and together.
SETTINGS = {
    "nothing": {},
    "drawn": {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 20},
    "drawn without saying so": {"temperature": 0.7, "top_k": 5},
    "rare ways to draw": {"min_p": 0.1, "typical_p": 0.9, "epsilon_cutoff": 0.1},
    "a length": {"max_length": 30},
    "a new length": {"max_new_tokens": 5},
    "a least length": {"min_length": 3},
    "several ends, no padding": {"eos_token_id": [2, 3], "pad_token_id": None},
    "its own cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
    "its own output": {"return_dict_in_generate": True, "output_scores": True},
    "output without a dictionary": {"output_scores": True},
    "beams of one": {"num_beams": 1, "early_stopping": True, "length_penalty": 0.5},
}


def of_this_machine(line: str) -> bool:
    """Whether it is said that a kernel is not installed, which is so, and not ours to hide."""
    return "reference PyTorch implementation" in line


@pytest.fixture
def said():
    """What is warned of, and what transformers says, while a test lasts."""
    theirs.warning_once.cache_clear()
    records = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: records.append(record.getMessage())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DeprecationWarning)  # as for whoever does not run tests
        logging.getLogger("transformers").addHandler(listener)
        try:
            yield lambda: [
                line
                for line in (*records, *(str(warning.message) for warning in caught))
                if not of_this_machine(line)
            ]
        finally:
            logging.getLogger("transformers").removeHandler(listener)


def use(model):
    """Every door that decodes or keeps keys."""
    inputs = model.inputs([picture(0), picture(1)], list(QUESTIONS))
    alone = model.inputs([picture(0)], [QUESTIONS[0]])
    answered = model.inputs([picture(0)], [QUESTIONS[0]], answers=["red"])
    model.run(inputs, ZeroAblate("hook_embed"), save="blocks.0.hook_resid_post")
    model.generate(inputs, max_new_tokens=2)
    model.generate(inputs, max_new_tokens=3, min_new_tokens=2, temperature=0.5)
    model.generate(alone, max_new_tokens=2, stop=False, answered=[answered])
    model.resume(model.prefill(alone), [[]])
    model.audit(inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", by_turns(SETTINGS, [*SETTINGS][:3]))
def test_whatever_a_checkpoint_is_set_to(said, name):
    with vl.HookedVLM(*build("llava")) as model:
        settings = model.hf_model.generation_config
        for key, value in SETTINGS[name].items():
            setattr(settings, key, value)
        before = settings.to_dict()
        use(model)
        assert model.hf_model.generation_config is settings and settings.to_dict() == before
    assert said() == []


@pytest.mark.slow
def test_every_family(said, every_vlm):
    use(every_vlm)
    assert said() == []


@pytest.mark.slow
def test_what_an_audit_shows_itself_is_no_users_picture(caplog):
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        model.audit()
        assert "cuts off" not in caplog.text
        model.inputs([picture(0).resize((160, 40))], [QUESTIONS[0]])
        assert "cuts off" in caplog.text
