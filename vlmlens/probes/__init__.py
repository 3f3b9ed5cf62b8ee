"""One measurement per file: functions from a run to labelled numbers."""

from vlmlens.probes.accuracy import accuracy, answer_log_prob, answers, grade
from vlmlens.probes.attention_entropy import attention_entropy
from vlmlens.probes.cmb import cross_modality_balance, modality_dominance, paper_balance
from vlmlens.probes.norms import hidden_norms
from vlmlens.probes.psi import position_sensitivity_index
from vlmlens.probes.rope import rope_sensitivity
from vlmlens.probes.shares import attention_shares, paper_shares
from vlmlens.probes.sinks import sink_tokens

PROBES = {
    probe.__name__: probe
    for probe in (
        accuracy,
        answer_log_prob,
        attention_entropy,
        attention_shares,
        cross_modality_balance,
        hidden_norms,
        modality_dominance,
        paper_balance,
        paper_shares,
        position_sensitivity_index,
        rope_sensitivity,
        sink_tokens,
    )
}

__all__ = [*PROBES, "PROBES", "answers", "grade"]  # pyright: ignore[reportUnsupportedDunderAll]
