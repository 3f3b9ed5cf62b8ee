"""Edits and intervals that are right only where axes, units or windows happen to agree."""

from tests.mutants.fault import Fault

EDITS: tuple[Fault, ...] = (
    Fault(
        "columns are pooled by the number of rows",
        "interventions/compress.py",
        "column * self.columns // wide\n",
        "column * self.columns // high\n",
        (
            "interventions/test_uneven.py::test_cells_of_a_wide_grid_are_pooled_along_each_axis_by_its_own_length",
        ),
    ),
    Fault(
        "dropped tokens stay in the means of their image",
        "interventions/drop.py",
        '"" if g else kind for g, kind',
        "kind for g, kind",
        (
            "interventions/test_uneven.py::test_what_was_dropped_is_in_no_mean_and_no_row_that_is_left",
        ),
    ),
    Fault(
        "position ids of words stay where they are",
        "interventions/move.py",
        "(*images, meant & (layout.image < 0))",
        "(*images,)",
        ("interventions/test_uneven.py::test_words_move_as_well",),
    ),
    Fault(
        "attention to a first token that a window hides is no attention at all",
        "interventions/attention.py",
        'isinstance(self.to, Stored) or self.to == "first"',
        "isinstance(self.to, Stored)",
        (
            "interventions/test_uneven.py::test_the_first_token_gets_no_weight_where_a_window_hides_it",
        ),
    ),
    Fault(
        "a share's interval counts pictures, however unequal",
        "estimates.py",
        "total**2 / (count**2).sum(0)",
        "units.astype(float)",
        (
            "probes/test_interval_formulas.py::test_a_share_has_wilsons_interval_of_as_many_answers_as_vary_so",
        ),
    ),
    Fault(
        "a bootstrap is bent the wrong way",
        "probes/statistics/intervals.py",
        "apart.mean() - apart if",
        "apart - apart.mean() if",
        ("probes/test_interval_formulas.py::test_a_bootstrap_is_efrons_with_students_quantile",),
    ),
    Fault(
        "a result that is kept twice is read twice",
        "store/store.py",
        "                    taken[name][at] = True\n",
        "",
        ("store/test_stores.py::test_rows_of_several_forms_and_twice_the_same",),
    ),
    Fault(
        "a model that is closed takes the attention of another with its configuration",
        "model/wiring/implementation.py",
        "        if self._closed or self._left:",
        "        if self._closed or self._left or True:",
        (
            "model/lifetime/test_left_behind.py::test_a_model_of_the_same_configuration_takes_nothing_along_when_it_is_closed",
        ),
    ),
)
