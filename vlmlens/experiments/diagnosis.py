"""What ``diagnose`` found: its tables, its PSI, the versions that decided, and how it is kept."""

import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import xarray as xr

import vlmlens
from vlmlens.annotations import checked
from vlmlens.experiments.folder import write_tables
from vlmlens.experiments.given import as_folder
from vlmlens.probes import position_sensitivity_index

LIBRARIES = ("vlmlens", "torch", "transformers", "transformer-lens", "numpy", "xarray", "scipy")


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What ``diagnose`` found.

    Attributes:
        results: every measurement of every sample.
        psi: the Position Sensitivity Index, overall and per category.
        tables: what ``diagnose_all`` found besides, by name.

    Examples:
        >>> found = vl.experiments.diagnose(
        ...     model, samples[:1], permutations=1, max_new_tokens=2, progress=False
        ... )
        >>> found.results.sizes["sample"], "psi" in found.psi, found.tables
        (1, True, {})
    """

    results: xr.Dataset
    psi: xr.Dataset
    tables: dict[str, xr.Dataset] = field(default_factory=dict)


def psi_of(results: xr.Dataset, *, scene: str | bool | None = None, seed: int = 0) -> xr.Dataset:
    """PSI of a table of answers, with KL where that was measured.

    Args:
        results: of ``permutation_test`` or ``diagnose``; the attribute ``reference`` says what
            answers were measured against.
        scene: what is drawn, as in ``position_sensitivity_index``.
        seed: of the test.

    Returns:
        ``position_sensitivity_index``'s table. Where the reference is the model's own answers,
        ``accuracy_permuted`` is the share of answers that shuffling keeps and ``psi`` the share
        that it changes, and their attributes say so.
    """
    correct = results["correct"]
    if correct["chance"].isnull().any():
        correct = correct.drop_vars("chance")
    psi = position_sensitivity_index(
        correct,
        results["log_prob"],
        results.get("kl"),
        scene=scene,
        reference=results.attrs.get("reference"),
        seed=seed,
    )
    psi.attrs = results.attrs | psi.attrs
    if results.attrs.get("reference") == "own":
        psi["accuracy"].attrs["long_name"] = "answers, intact"
        psi["accuracy_permuted"].attrs["long_name"] = "share of answers kept when shuffled"
        psi["psi"].attrs["long_name"] = "share of answers changed by shuffling"
    return psi


@checked
def save(diagnosis: Diagnosis, folder: Path | str) -> dict[str, Path]:
    """Write ``results.nc``, ``psi.nc``, each further table, ``meta.json``, whole or not at all.

    Raises:
        DataError: a folder that holds another model's results, or cannot be written into.

    Examples:
        >>> found = vl.experiments.diagnose(
        ...     model, samples[:1], permutations=1, max_new_tokens=2, progress=False
        ... )
        >>> sorted(path.name for path in vl.experiments.save(found, "results").values())
        ['meta.json', 'psi.nc', 'results.nc']
    """
    tables = {"results": diagnosis.results, "psi": diagnosis.psi, **diagnosis.tables}
    return write_tables(diagnosis.results, tables, as_folder(folder))


def versions() -> dict[str, str]:
    """The versions that decide over a number."""
    python = ".".join(map(str, sys.version_info[:3]))
    found = {name: version(name) for name in LIBRARIES if name != "vlmlens"}
    return {"python": python, "vlmlens": vlmlens.__version__} | found
