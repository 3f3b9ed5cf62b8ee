"""The table: samples x interventions x measures, resumable."""

from vlmlens.experiments.experiment import Cell, Experiment
from vlmlens.experiments.measures import Answering, Choosing, Diagnosing, Measure, Probing
from vlmlens.experiments.recipes import Diagnosis, diagnose, permutation_test, save
from vlmlens.experiments.store import Store, read

__all__ = [
    "Answering",
    "Cell",
    "Choosing",
    "Diagnosing",
    "Diagnosis",
    "Experiment",
    "Measure",
    "Probing",
    "Store",
    "diagnose",
    "permutation_test",
    "read",
    "save",
]
