"""The table: samples x interventions x measures, resumable; ``keys.py`` names a stored result."""

from vlmlens.experiments.ablating import head_effects
from vlmlens.experiments.activations.harvested import Harvest
from vlmlens.experiments.activations.harvesting import Harvesting
from vlmlens.experiments.activations.running import harvest
from vlmlens.experiments.activations.tuning import tune_lens
from vlmlens.experiments.aligning import Alignment, align, interchange
from vlmlens.experiments.blind import Blank, Noise, blinded, control_table, controls
from vlmlens.experiments.by_patch import attention_shown, linear_table, shown
from vlmlens.experiments.cell import Cell
from vlmlens.experiments.choosing import Choosing
from vlmlens.experiments.circuits.circuit import Circuit
from vlmlens.experiments.circuits.edge_attribution import edges
from vlmlens.experiments.circuits.faithfulness import faithfulness
from vlmlens.experiments.circuits.overlapping import overlap
from vlmlens.experiments.circuits.path_patching import path_edits, path_patch
from vlmlens.experiments.diagnosis import Diagnosis, save
from vlmlens.experiments.effects import causal_effects, compare, dose_effects
from vlmlens.experiments.everything import diagnose_all
from vlmlens.experiments.executors import Local, Shard
from vlmlens.experiments.experiment import Experiment
from vlmlens.experiments.files import read
from vlmlens.experiments.folder import claim
from vlmlens.experiments.function_vectors import FunctionVector, function_vector
from vlmlens.experiments.looking import Looking
from vlmlens.experiments.measures import (
    Answering,
    Comparing,
    Diagnosing,
    Measure,
    Probing,
    Reciting,
)
from vlmlens.experiments.on_ray import OnRay
from vlmlens.experiments.permuting import permutation_test, refuse_unscored
from vlmlens.experiments.progress import Event
from vlmlens.experiments.readings import SampleScore
from vlmlens.experiments.recipes import diagnose
from vlmlens.experiments.summary import summarise
from vlmlens.experiments.sweeps import sweep
from vlmlens.store import Store

__all__ = [
    "Alignment",
    "Answering",
    "Blank",
    "Cell",
    "Choosing",
    "Circuit",
    "Comparing",
    "Diagnosing",
    "Diagnosis",
    "Event",
    "Experiment",
    "FunctionVector",
    "Harvest",
    "Harvesting",
    "Local",
    "Looking",
    "Measure",
    "Noise",
    "OnRay",
    "Probing",
    "Reciting",
    "SampleScore",
    "Shard",
    "Store",
    "align",
    "attention_shown",
    "blinded",
    "causal_effects",
    "claim",
    "compare",
    "control_table",
    "controls",
    "diagnose",
    "diagnose_all",
    "dose_effects",
    "edges",
    "faithfulness",
    "function_vector",
    "harvest",
    "head_effects",
    "interchange",
    "linear_table",
    "overlap",
    "path_edits",
    "path_patch",
    "permutation_test",
    "read",
    "refuse_unscored",
    "save",
    "shown",
    "summarise",
    "sweep",
    "tune_lens",
]
