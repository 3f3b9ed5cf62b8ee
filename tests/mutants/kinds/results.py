"""Stored results that answer for another model, picture, edit or question."""

from tests.mutants.fault import Fault

RESULTS: tuple[Fault, ...] = (
    Fault(
        "a sweep's key leaves out its system prompt",
        "experiments/sweeps.py",
        "asked = (point, over, where, edit, score, system, ",
        "asked = (point, over, where, edit, score, ",
        ("experiments/test_sweeps.py::test_a_folder_answers_for_the_settings_of_its_sweep_alone",),
    ),
    Fault(
        "a key leaves out the pixels",
        "experiments/keys.py",
        "identity.value((told, identity.scene(sample)))",
        "identity.value((told,))",
        ("experiments/test_keys.py::test_every_part_of_a_cell_changes_its_key",),
    ),
    Fault(
        "a key leaves out the edits",
        "experiments/keys.py",
        "parts = [self.base, content.of(more)]",
        "parts = [self.base]",
        ("experiments/test_keys.py::test_every_part_of_a_cell_changes_its_key",),
    ),
    Fault(
        "a key leaves out the versions of libraries",
        "experiments/keys.py",
        "identity.decisive() | dict(sorted(content.libraries.items()))",
        "{}",
        ("experiments/test_keys.py::test_every_change_of_a_model_changes_its_keys",),
    ),
    Fault(
        "hooks of the user's own are not looked for",
        "experiments/keys.py",
        "if on := identity.hooks_on(model.hf_model, model.hook_dict):",
        "if on := '':",
        ("experiments/test_keys.py::test_nothing_is_stored_while_somebodys_hook_is_on",),
    ),
    Fault(
        "a function is known without its defaults",
        "identity/code.py",
        "parts += [content.of(given.__defaults__), content.of(given.__kwdefaults__)]",
        "parts += []",
        ("identity/test_code.py::test_code_that_does_otherwise_is_another",),
    ),
    Fault(
        "a function is known without the globals that it reads",
        "identity/code.py",
        "*content.named(_read(given.__code__, given.__globals__)),",
        "",
        ("identity/test_code.py::test_code_that_does_otherwise_is_another",),
    ),
    Fault(
        "a tensor is known without its shape",
        "identity/tensors.py",
        'content.joined("tensor", str(x.dtype), str(tuple(x.shape)), *inside',
        'content.joined("tensor", str(x.dtype), *inside',
        ("identity/test_code.py::test_no_two_values_are_the_same",),
    ),
    Fault(
        "a result of another condition is read",
        "store/shards.py",
        "here = self._by_condition.get(condition)\n        if here is None:\n            return np",
        "here = self._by_condition[self.order[0]]\n        if here is None:\n            return np",
        ("store/test_stores.py::test_a_result_is_read_under_its_own_condition_alone",),
    ),
    Fault(
        "a damaged file is accepted",
        "store/shards.py",
        'if path.stem != f"{kind}-{digest(data)[:24]}":',
        "if not data:",
        ("experiments/test_store.py::test_a_file_that_is_not_what_was_kept_is_missing_and_said",),
    ),
    Fault(
        "rows that were read are in the order of their files",
        "store/store.py",
        "order = np.argsort(places)",
        "order = np.arange(len(places))",
        ("store/test_stores.py::test_rows_come_in_the_order_that_is_asked_for",),
    ),
    Fault(
        "a stored table keeps the widths of its words",
        "experiments/files.py",
        "    plain = data.drop_encoding()\n",
        "    plain = data\n",
        ("experiments/test_store.py::test_what_a_table_remembers_of_another_file_changes_nothing",),
    ),
    Fault(
        "a table that is read keeps the widths of its words",
        "experiments/files.py",
        "found = found.drop_encoding()",
        "found = found",
        (
            "experiments/test_store.py::test_words_of_a_table_that_was_read_are_not_cut_where_others_join_it",
        ),
    ),
    Fault(
        "samples of an edit are counted in the batch",
        "experiments/cell.py",
        "here = tuple(at for at, row in enumerate(rows) if row in meant)",
        "here = tuple(at for at, row in enumerate(rows) if at in meant)",
        (
            "experiments/test_failing.py::test_chosen_samples_are_those_of_the_experiment_at_any_batch",
        ),
    ),
    Fault(
        "a batch is left out with the one sample of it that fails",
        "experiments/work.py",
        "if len(rows) == 1:\n                yield tuple(rows), error",
        "if len(rows) >= 1:\n                yield tuple(rows), error",
        ("experiments/test_failing.py::test_a_sample_that_fails_is_left_out_by_name",),
    ),
    Fault(
        "a file written twice within a tick of the clock is read once",
        "identity/pictures.py",
        "< JUST_NOW:",
        "< 0:",
        (
            "identity/test_picture_identity.py::test_a_file_written_twice_within_a_tick_of_the_clock_is_read_twice",
        ),
    ),
    Fault(
        "functions put among a library's globals do not count",
        "identity/code.py",
        "for place in (base, sys.modules.get(base.__module__))",
        "for place in (base,)",
        ("experiments/test_keys.py::test_every_change_of_a_model_changes_its_keys",),
    ),
)
