"""Benchmarks: what is drawn, what is beside a number, and what is taken for complete."""

from tests.mutants.fault import Fault

ASKED = "evaluation/test_commands.py::test_every_set_is_asked_graded_and_tabulated_by_one_command"
EVALUATIONS: tuple[Fault, ...] = (
    Fault(
        "questions about one picture are drawn one by one",
        "evaluation/asking.py",
        '"unit": entry or f"none: {name}"',
        '"unit": f"none: {name}"',
        (ASKED,),
    ),
    Fault(
        "what is drawn as one is drawn by picture",
        "identity/pictures.py",
        "if sample.unit:",
        "if sample.unit and not sample.groups:",
        ("experiments/test_own_units.py::test_both_commands_draw_by_the_unit_of_the_set",),
    ),
    Fault(
        "what a model gets without pictures is what it gets with noise",
        "evaluation/tables.py",
        "key, blind = (model, condition), (model, TEXT_ONLY)",
        'key, blind = (model, condition), (model, "noise")',
        ("evaluation/test_commands.py::test_models_stand_side_by_side",),
    ),
    Fault(
        "one half of a pair that failed leaves the other",
        "evaluation/tables.py",
        "kept &= ~np.isin(one, one[~kept])",
        "kept &= ~np.isin(one, [])",
        ("evaluation/test_tables.py::test_a_pair_is_left_out_whole",),
    ),
    Fault(
        "a difference is as wide as if two models were asked about other pictures",
        "evaluation/intervals.py",
        "r = float(np.clip(_product(a, b) / size, -1, 1)) if size > 0 else 0.0",
        "r = 0.0",
        (
            "evaluation/test_metric_intervals.py"
            "::test_a_difference_in_pairs_is_narrower_than_that_of_two_sets",
        ),
    ),
    Fault(
        "a download counts by its size alone",
        "datasets/fetching.py",
        "if not file.sha256:",
        "if file.sha256 or not file.sha256:",
        ("datasets/test_fetching.py::test_what_is_not_what_the_hub_says_is_removed",),
    ),
    Fault(
        "a diagnosis grades by the general rule",
        "cli/grading.py",
        "return rule_of_set(data)",
        'return rule_of("letter")',
        ("experiments/test_own_rules.py::test_both_commands_give_every_answer_the_same_grade",),
    ),
    Fault(
        "shuffles of an image count as one answer",
        "evaluation/tables.py",
        "answers=len(made))",
        "answers=1)",
        ("evaluation/test_tables.py::test_an_accuracy_has_one_interval_whichever_table_tells_it",),
    ),
    Fault(
        "what follows from a wrong answer counts for consistency",
        "datasets/benchmarks/scene_graphs.py",
        "np.flatnonzero(right & (_counted(found) > 0))",
        "np.flatnonzero(_counted(found) > 0)",
        ("datasets/benchmarks/test_metrics.py::test_gqa_counts_as_its_own_script_does",),
    ),
    Fault(
        "a picture that was cut is kept",
        "datasets/linked.py",
        "                image.load()",
        "                image.size",
        ("datasets/test_fetching.py::test_a_picture_that_does_not_come_leaves_the_set_incomplete",),
    ),
    Fault(
        "a row that is there twice is asked twice",
        "datasets/benchmarks/faulty.py",
        "if sample.id in seen:",
        "if sample.id in ():",
        (
            "datasets/benchmarks/test_broken_sets.py"
            "::test_a_row_that_can_be_read_and_not_asked_is_named",
        ),
    ),
    Fault(
        "a model has another colour in every figure",
        "report/forest.py",
        "hue = list(series or drawn).index(name)",
        "hue = number",
        (
            "report/test_evaluated_figures.py"
            "::test_models_keep_their_colours_and_the_first_is_what_others_are_held_against",
        ),
    ),
)
