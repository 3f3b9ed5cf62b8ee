"""Edges and circuits that have a wrong end, a wrong place or a wrong way."""

from tests.mutants.fault import Fault

CIRCUITS: tuple[Fault, ...] = (
    Fault(
        "an MLP that reads beside attention is fed by it",
        "experiments/circuits/nodes.py",
        'late = self.kind == "mlp" and not self.parallel',
        'late = self.kind == "mlp"',
        (
            "experiments/test_path_patching.py::test_all_writers_together_tell_an_mlp_what_it_reads_in_the_clean_run",
        ),
    ),
    Fault(
        "image and text write the same",
        "experiments/circuits/writes.py",
        'mine = seen if node.kind == "image" else ~seen',
        "mine = seen",
        ("experiments/test_circuits.py::test_a_circuits_run_is_that_of_a_slow_reference",),
    ),
    Fault(
        "what a deep tower adds stays where it is along the way",
        "experiments/circuits/along.py",
        'if node.kind in ("embed", "deepstack")]',
        'if node.kind == "embed"]',
        ("experiments/test_edges.py::test_an_edge_is_that_of_a_slow_reference",),
    ),
    Fault(
        "the way is walked from its first step's beginning",
        "experiments/circuits/along.py",
        "[(k + 0.5) / steps for k in range(steps)]",
        "[k / steps for k in range(steps)]",
        ("experiments/test_edges.py::test_an_edge_is_that_of_a_slow_reference",),
    ),
    Fault(
        "logits are read at every position",
        "experiments/circuits/graph.py",
        'ends = {"logits": masks & read}',
        "ends = {}",
        ("experiments/test_edges.py::test_places_cut_an_edge_into_parts_that_sum_to_it",),
    ),
    Fault(
        "a position in two places counts in both",
        "experiments/circuits/places.py",
        "free = free & ~mask",
        "free = free",
        ("experiments/test_edges.py::test_places_cut_an_edge_into_parts_that_sum_to_it",),
    ),
    Fault(
        "a head's gradient is that of all heads",
        "experiments/circuits/gradients.py",
        "piece.copy_(pieces(grad, shares)[which].chunk(self.count, -1)[head])",
        "own.copy_(grad)",
        ("experiments/test_edges.py::test_an_edge_is_that_of_a_slow_reference",),
    ),
    Fault(
        "heads whose sum is normed are normed one by one",
        "experiments/circuits/kept.py",
        'if node.kind == "head" and is_normed(self.twins.model, node.layer):',
        "if False:",
        ("experiments/test_circuits.py::test_a_circuits_run_is_that_of_a_slow_reference",),
    ),
    Fault(
        "writers write what they write in the clean run, whatever they hear",
        "experiments/circuits/kept.py",
        "now = self._cache(hook.name, x)",
        "now = self.twins.source.saved",
        ("experiments/test_circuits.py::test_a_circuits_run_is_that_of_a_slow_reference",),
    ),
    Fault(
        "a query goes on from any place",
        "ends.py",
        "return (reader.head, reader.place) == (writer.head, writer.place)",
        "return reader.head == writer.head",
        ("experiments/test_circuits.py::test_pruning_by_hand",),
    ),
    Fault(
        "keys are those of the query head of their number",
        "ends.py",
        "return reader.head == writer.head // grouped",
        "return reader.head == writer.head",
        ("experiments/test_circuits.py::test_pruning_by_hand",),
    ),
    Fault(
        "completeness is what the rest restores",
        "experiments/circuits/faithfulness.py",
        "complete = 1 - share[[0, 2, 1], 1]",
        "complete = share[:, 1]",
        (
            "experiments/test_circuits.py::test_shares_are_of_sums_over_pairs_and_pairs_run_together_are_those_run_alone",
        ),
    ),
    Fault(
        "keys change names apart from their queries",
        "experiments/circuits/overlapping.py",
        'heads[layer, "kv"] = keys.tolist()',
        'heads[layer, "kv"] = rng.permutation(many).tolist()',
        ("experiments/test_circuits.py::test_heads_that_change_names_share_what_has_no_head",),
    ),
    Fault(
        "a mean is position by position where prompts differ",
        "experiments/circuits/means.py",
        "if stretch != self.like:",
        "if False:",
        (
            "experiments/test_means.py::test_stretches_that_differ_share_one_mean_and_others_have_one_each_by_hand",
        ),
    ),
    Fault(
        "means of heads whose sum is normed are not normed",
        "experiments/circuits/means.py",
        "made[stream] = made[stream] + moved.to(made[stream])",
        "made[stream] = made[stream] + 0 * moved.to(made[stream])",
        ("experiments/test_means.py::test_a_circuits_run_among_means_is_that_of_a_slow_reference",),
    ),
    Fault(
        "shares among means are counted from the corrupted run",
        "experiments/circuits/faithfulness.py",
        'floor = table["none"] if "none" in table.coords else table["corrupted"]',
        'floor = table["corrupted"]',
        ("experiments/test_means.py::test_pairs_run_together_have_the_means_of_those_run_alone",),
    ),
    Fault(
        "the second answer counts for the first one",
        "experiments/circuits/attributing.py",
        "found = found + twins.weight * own",
        "found = found + own",
        (
            "experiments/test_scores_of_circuits.py::test_ends_are_transformers_own_and_everything_makes_up_the_way_between",
        ),
    ),
    Fault(
        "an answer's own positions are in no place",
        "experiments/circuits/twins.py",
        "found[-1] = free & ~found[:-1].any(0)",
        "pass",
        (
            "experiments/test_scores_of_circuits.py::test_pairs_with_answers_of_several_lengths_are_run_together_as_alone",
        ),
    ),
    Fault(
        "beside an answer, places are counted anew",
        "experiments/circuits/paths.py",
        "prompt = None if reading.answer is None else layout",
        "prompt = None",
        (
            "experiments/test_scores_of_circuits.py::test_a_path_at_places_of_the_prompt_is_the_same_beside_an_answer",
        ),
    ),
    Fault(
        "an answer's tokens are read where they stand",
        "experiments/readings.py",
        "found[layout.telling()] = True",
        "found[layout.answer()] = True",
        (
            "experiments/test_scores_of_circuits.py::test_ends_are_transformers_own_and_everything_makes_up_the_way_between",
        ),
    ),
    Fault(
        "where a dictionary of heads acts is said of channels",
        "model/wiring/spliced.py",
        "mask = as_rows(mask.expand(x.shape), self._host.axes)",
        "mask = mask[..., 0]",
        ("model/doors/test_splice_heads.py::test_heads_of_a_tower_and_one_head_alone",),
    ),
    Fault(
        "a dictionary that flattens heads itself is given them flat",
        "model/wiring/dictionaries.py",
        'return bool(getattr(dictionary, "hook_z_reshaping_mode", False))',
        "return False",
        (
            "model/doors/test_splice_heads.py::test_heads_side_by_side_are_what_a_torch_hook_would_do",
        ),
    ),
    Fault(
        "features are said to mark a label of another feature",
        "plots/interactive/features.py",
        'own := np.flatnonzero(marks["feature"].values == number)',
        'own := np.flatnonzero(marks["feature"].values >= number)',
        ("plots/test_features_page.py::test_the_index_says_what_was_measured",),
    ),
    Fault(
        "crops lie a patch too high",
        "plots/crops.py",
        'crop.paste(picture.convert("RGB"), (-round(x), -round(y)))',
        'crop.paste(picture.convert("RGB"), (-round(x), -round(top)))',
        ("plots/test_features_page.py::test_every_crop_holds_its_own_region_in_the_outline",),
    ),
    Fault(
        "bfloat16 is read as the lower half of a float32",
        "experiments/activations/harvesting.py",
        "values.astype(np.uint32) << 16",
        "values.astype(np.uint32)",
        ("experiments/test_harvest.py::test_only_the_rows_that_are_asked_for",),
    ),
)
