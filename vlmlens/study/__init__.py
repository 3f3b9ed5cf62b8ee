"""The study of the four arms: what is asked, what is measured, how seeds are pooled."""

from vlmlens.study.conditions import CONDITIONS, Condition
from vlmlens.study.example import example_answers
from vlmlens.study.measuring import TABLES, measured, study_samples
from vlmlens.study.pooling import (
    by_kind,
    condition_table,
    difference_table,
    dose_table,
    each_run,
    pooled,
    psi_table,
)

__all__ = [
    "CONDITIONS",
    "TABLES",
    "Condition",
    "by_kind",
    "condition_table",
    "difference_table",
    "dose_table",
    "each_run",
    "example_answers",
    "measured",
    "pooled",
    "psi_table",
    "study_samples",
]
