"""Experts are planned for, too: in every dtype, and their products are counted."""

import pytest
from conftest import by_turns

from vlmlens import planning
from vlmlens.zoo.tiny import TINY, build

#: Families whose tokens go to some of several small MLPs.
WITH_EXPERTS = tuple(
    name
    for name, tiny in TINY.items()
    if {"num_experts_per_tok", "num_local_experts", "top_k_experts", "moe_k"}
    & set(tiny.config["text_config"])
)


@pytest.mark.parametrize("name", by_turns(WITH_EXPERTS, ("qwen3_vl_moe",)))
def test_a_model_of_experts_is_planned_for_in_every_dtype(name):
    found = planning.plan(name, build(name)[0].config)
    assert found.memory["float32"].weights > found.memory["bfloat16"].weights
    assert found.jobs[0].operations > 0


@pytest.mark.slow
def test_another_expert_for_every_token_costs_its_products():
    """Three products a row: gate, up and down, in every layer that has experts."""
    config = build("qwen3_vl_moe")[0].config
    text = config.text_config
    sparse = text.num_hidden_layers - len(text.mlp_only_layers)
    passes = []
    for each in (1, 2):
        text.num_experts_per_tok = each
        found = planning.plan("qwen3_vl_moe", config)
        passes.append(found.jobs[0].operations)
    tokens = found.vision + found.text
    products = 2 * 3 * tokens * text.hidden_size * text.moe_intermediate_size
    assert passes[1] - passes[0] == sparse * products
