"""Benchmarks: models side by side on published sets, item by item."""

from vlmlens.evaluation.conditions import CONDITIONS, Condition
from vlmlens.evaluation.evaluation import Evaluation, evaluate, regrade
from vlmlens.evaluation.saving import claim, save
from vlmlens.evaluation.sets import Questions, questions
from vlmlens.evaluation.turned import flips

__all__ = [
    "CONDITIONS",
    "Condition",
    "Evaluation",
    "Questions",
    "claim",
    "evaluate",
    "flips",
    "questions",
    "regrade",
    "save",
]
