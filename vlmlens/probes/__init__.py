"""One measurement per file: functions from a run to labelled numbers."""

from vlmlens.probes.accuracy import accuracy, answer_log_prob, answers, grade
from vlmlens.probes.attribution import (
    answer_score,
    attribution_patching,
    integrated_gradients,
    patch_map,
)
from vlmlens.probes.cmb import cross_modality_balance
from vlmlens.probes.norms import hidden_norms
from vlmlens.probes.psi import position_sensitivity_index
from vlmlens.probes.rope import rope_sensitivity

PROBES = {
    probe.__name__: probe
    for probe in (
        accuracy,
        answer_log_prob,
        attribution_patching,
        cross_modality_balance,
        hidden_norms,
        integrated_gradients,
        position_sensitivity_index,
        rope_sensitivity,
    )
}

__all__ = [
    "PROBES",
    "accuracy",
    "answer_log_prob",
    "answer_score",
    "answers",
    "attribution_patching",
    "cross_modality_balance",
    "grade",
    "hidden_norms",
    "integrated_gradients",
    "patch_map",
    "position_sensitivity_index",
    "rope_sensitivity",
]
