"""The laws of interventions, once more, on the bundled trained model."""

import pytest
from conftest import picture
from test_designs import (  # noqa: F401
    test_position_ids_may_move_in_place_of_content,
    test_the_projector_and_the_sequence_are_two_views_of_one,
    test_twice_is_nothing,
)
from test_edits_while_decoding import test_what_is_said_token_by_token_is_what_one_pass_says  # noqa: F401
from test_replace import (  # noqa: F401
    others,
    test_a_patch_from_the_same_run_is_nothing,
    test_a_patch_of_everything_is_the_other_run,
    test_a_patched_image_stays_patched_while_decoding,
    test_a_sweeps_baseline_is_plain_transformers,
    test_cells_are_chosen_at_the_projector_too,
    test_patterns_by_name,
    test_samples_that_are_not_meant_stay_as_they_are,
    test_the_first_pattern_does_not_see_how_long_vision_tokens_are,
    test_what_is_outside_stays_bit_for_bit,
)
from test_sequence import (  # noqa: F401
    test_an_image_that_enters_late,
    test_dropped_tokens_might_never_have_been,
    test_one_token_is_the_sequence_with_one_token,
    test_the_papers_formula,
    test_to_its_own_grid_it_is_nothing,
)
from test_turning import (  # noqa: F401
    test_a_turn_is_a_shift_of_position_ids,
    test_turning_everything_by_the_same_changes_nothing,
    test_turns_add_up,
    test_without_rope_every_position_is_the_first,
)

import vlmlens as vl

QUESTIONS = ("What color is the circle?", "Is the red square left of the blue star?")


@pytest.fixture(scope="module")
def vlm():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        yield model


@pytest.fixture(scope="module")
def inputs(vlm):
    return vlm.inputs([picture(0), picture(1)], list(QUESTIONS), system="Answer in a word or two.")
