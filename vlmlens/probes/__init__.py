"""One measurement per file: functions from a run to labelled numbers."""

from vlmlens.probes.accuracy import accuracy, answer_log_prob, answers, grade
from vlmlens.probes.cmb import cross_modality_balance
from vlmlens.probes.norms import hidden_norms
from vlmlens.probes.psi import position_sensitivity_index
from vlmlens.probes.rope import rope_sensitivity
from vlmlens.probes.rows import attention_rows

PROBES = {
    probe.__name__: probe
    for probe in (
        accuracy,
        answer_log_prob,
        attention_rows,
        cross_modality_balance,
        hidden_norms,
        position_sensitivity_index,
        rope_sensitivity,
    )
}

__all__ = [
    "PROBES",
    "accuracy",
    "answer_log_prob",
    "answers",
    "attention_rows",
    "cross_modality_balance",
    "grade",
    "hidden_norms",
    "position_sensitivity_index",
    "rope_sensitivity",
]
