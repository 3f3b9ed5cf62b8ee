"""Dictionaries that encode, train, act or are read wrongly."""

from tests.mutants.fault import Fault

_SPLICED = "model/wiring/spliced.py"
_SPLICE = "model/doors/test_splice.py"

DICTIONARIES: tuple[Fault, ...] = (
    Fault(
        "the error is what features make less the activation",
        _SPLICED,
        "left = x - recons",
        "left = recons - x",
        (f"{_SPLICE}::test_a_transcoder_reads_the_mlps_input_and_writes_its_output",),
    ),
    Fault(
        "without an error term it is added all the same",
        _SPLICED,
        'made = out = self._at("hook_sae_recons", first)\n        if self.splice.error:',
        'made = out = self._at("hook_sae_recons", first)\n        if True:',
        (
            "model/doors/test_splice_heads.py::test_heads_side_by_side_are_what_a_torch_hook_would_do",
        ),
    ),
    Fault(
        "a transcoder reads what it writes",
        _SPLICED,
        "source, self._read = as_rows(self._read, self._source.axes), None",
        "self._read = None",
        (f"{_SPLICE}::test_a_transcoder_reads_the_mlps_input_and_writes_its_output",),
    ),
    Fault(
        "topk keeps negative features",
        "interop/sae/dictionary.py",
        "return torch.zeros_like(pre).scatter(-1, kept.indices, kept.values.relu())",
        "return torch.zeros_like(pre).scatter(-1, kept.indices, kept.values)",
        ("interop/test_sae.py::test_topk_features_are_never_negative",),
    ),
    Fault(
        "features below their threshold are active",
        "interop/sae/dictionary.py",
        "return pre.relu() * (pre > self.threshold)",
        "return pre.relu()",
        ("interop/test_sae.py::test_features_and_what_they_make_are_saelenss_own",),
    ),
    Fault(
        "files are read as if rows were centred",
        "interop/sae/files.py",
        'told.get("apply_b_dec_to_input", not transcodes)',
        "not transcodes",
        ("interop/test_sae.py::test_features_and_what_they_make_are_saelenss_own",),
    ),
    Fault(
        "decoder rows grow while they are trained",
        "interop/sae/training.py",
        "trained.W_dec /= trained.W_dec.norm(dim=-1, keepdim=True)",
        "trained.W_dec /= 1",
        ("interop/test_sae_training.py::test_planted_directions_are_found",),
    ),
    Fault(
        "the feature is chosen on the pictures that it is measured on",
        "probes/features.py",
        "there = ~np.isin(np.arange(len(each)), chosen) & ~np.isnan(each[:, 0])",
        "there = here",
        ("probes/test_features.py::test_choosing_a_feature_of_noise_is_not_paid_for",),
    ),
    Fault(
        "tokens that are as active count as more active",
        "probes/features.py",
        "ranks = rankdata(x[own], axis=0)[on].sum(0)",
        'ranks = rankdata(x[own], axis=0, method="max")[on].sum(0)',
        ("probes/test_features.py::test_auroc_within_a_picture_is_scikit_learns",),
    ),
    Fault(
        "how often a feature is active is counted over samples",
        "probes/active.py",
        '"density": ((), float((every > 0).mean())),',
        '"density": ((), len(rows) / sample),',
        ("probes/test_most_active.py::test_the_most_active_tokens_are_those_of_a_loop",),
    ),
    Fault(
        "a direction is read out without the final norm's gain",
        "probes/active.py",
        "(direction.to(table) * model.ln_final.w.to(table)) @ table",
        "direction.to(table) @ table",
        ("probes/test_most_active.py::test_what_a_direction_writes_is_what_the_head_makes_of_it",),
    ),
    Fault(
        "positions of a packed tower are counted image by image",
        "experiments/activations/harvesting.py",
        "1 if packed else len(saved[names[0]])",
        "len(saved[names[0]])",
        ("experiments/test_harvest.py::test_of_a_tower_all_of_its_positions_are_kept",),
    ),
)
