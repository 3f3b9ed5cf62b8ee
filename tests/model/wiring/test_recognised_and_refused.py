"""A family whose checkpoints may hold what no point could tell: said before anything runs."""

import pytest

import vlmlens as vl
from vlmlens.errors import UnsupportedModelError
from vlmlens.zoo.tiny import build


def test_blocks_that_scale_what_they_write_by_a_number():
    model, processor = build("hyperclovax_vision_v2")
    model.config.text_config.residual_multiplier = 0.5
    with pytest.raises(UnsupportedModelError, match=r"'hyperclovax'.* known.*residual_multiplier"):
        vl.HookedVLM(model, processor)
