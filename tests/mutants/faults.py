"""Every fault."""

from tests.mutants.fault import Fault
from tests.mutants.kinds.circuits import CIRCUITS
from tests.mutants.kinds.dictionaries import DICTIONARIES
from tests.mutants.kinds.edits import EDITS
from tests.mutants.kinds.evaluations import EVALUATIONS
from tests.mutants.kinds.numbers import NUMBERS
from tests.mutants.kinds.places import PLACES
from tests.mutants.kinds.results import RESULTS

FAULTS: tuple[Fault, ...] = (
    *PLACES,
    *RESULTS,
    *NUMBERS,
    *EVALUATIONS,
    *EDITS,
    *CIRCUITS,
    *DICTIONARIES,
)
