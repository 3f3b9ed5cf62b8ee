"""Where modules of earlier versions are now: old import paths go on working, and say so."""

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: Old name -> new name, of modules that pages, cards and notebooks of version 0.3 imported. Where
#: a public function is called the same, ``already`` keeps the import from hiding it.
MOVED = {
    "vlmlens.datasets.shapes_2d": "vlmlens.datasets.shapes",
    "vlmlens.experiments.card": "vlmlens.study.model_card",
    "vlmlens.experiments.paired": "vlmlens.study.paired",
    "vlmlens.experiments.study": "vlmlens.study",
    "vlmlens.model.residual": "vlmlens.model.reading.residual",
    "vlmlens.model.rotary": "vlmlens.model.wiring.rotary",
    "vlmlens.model.wrapped": "vlmlens.model.doors.wrapped",
    "vlmlens.probes.turning": "vlmlens.probes.rotating",
    "vlmlens.zoo.original_llava": "vlmlens.zoo.opening.original_llava",
    "vlmlens.zoo.processors": "vlmlens.zoo.opening.processors",
    "vlmlens.zoo.recipe": "vlmlens.zoo.training.recipe",
    "vlmlens.zoo.smol.recipe": "vlmlens.zoo.training.smol.recipe",
}


class Moved(MetaPathFinder, Loader):
    """Finds a module that moved, where nothing else is found under its old name."""

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A way to load it, for old names alone."""
        return ModuleSpec(fullname, self) if new_name(fullname) else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Python's own empty module, which ``exec_module`` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        """Have the old name mean the module where it is now."""
        old, new = module.__name__, new_name(module.__name__)
        warnings.warn(f"{old} has moved: import {new}", DeprecationWarning, stacklevel=2)
        sys.modules[old] = import_module(new)


def new_name(name: str) -> str:
    """What a module is called now; empty for one that did not move."""
    for old, new in MOVED.items():
        if name == old or name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    return ""


def already(old: str, module: ModuleType) -> None:
    """Have an old name mean a module from now on, and leave what its package calls the same."""
    sys.modules[old] = module


def install() -> None:
    """Have old names found from now on."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, Moved())
