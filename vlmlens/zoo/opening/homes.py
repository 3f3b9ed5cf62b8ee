"""Where trained models are kept: in the package itself, and in ``vlmlens-models`` beside it."""

import json
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from vlmlens.errors import UnfetchedModelError
from vlmlens.extras import command

#: The distribution of the larger models, and its module. In a clone both are one folder.
BESIDE, MODULE = "vlmlens-models", "vlmlens_models"
#: sha256 of all published weights, by folder and file.
HASHES = "hashes.json"


def own() -> Path:
    """The package's own folder of models."""
    return Path(str(files("vlmlens.zoo"))) / "weights"


def homes() -> list[Path]:
    """The folders that hold models, the package's own first."""
    found = find_spec(MODULE)
    places = found.submodule_search_locations if found is not None else None
    return [own(), *(Path(place) for place in places or ())]


def kept(holding: str) -> dict[str, Path]:
    """The folders that hold a file of this name, by their own name.

    Args:
        holding: such as ``config.json``.
    """
    found: dict[str, Path] = {}
    for home in homes():
        for path in sorted(home.glob(f"*/{holding}")):
            found.setdefault(path.parent.name, path.parent)
    return found


def published() -> dict[str, dict[str, str]]:
    """sha256 of the weights of every published model, by name and file; those too that are away."""
    return json.loads((own() / HASHES).read_text())


def absent(name: str) -> UnfetchedModelError:
    """The error for a published model that is not installed.

    Args:
        name: of ``published()``.
    """
    return UnfetchedModelError(
        f"{name} comes with {BESIDE}, which is not installed: {command(BESIDE)}"
    )
