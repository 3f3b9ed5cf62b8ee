"""vlmlens: see how a vision-language model sees where things are."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vlmlens import moved

__version__ = "0.3.0"

moved.install()

if TYPE_CHECKING:
    from vlmlens import (
        datasets,
        experiments,
        interop,
        interventions,
        live,
        plots,
        positions,
        probes,
        report,
        zoo,
    )
    from vlmlens.cache import ActivationCache, Save
    from vlmlens.errors import VLMLensError
    from vlmlens.experiments import Experiment
    from vlmlens.families import Family
    from vlmlens.interventions import Intervention
    from vlmlens.layout import TokenLayout
    from vlmlens.model import Generation, HookedVLM, Inputs, Run
    from vlmlens.sample import Sample
    from vlmlens.select import Where
    from vlmlens.video import Video

#: Public name -> the module that it comes from; imported when it is first asked for, since torch
#: and transformer_lens take seconds to load.
_FROM = {
    "ActivationCache": "vlmlens.cache",
    "Experiment": "vlmlens.experiments",
    "Family": "vlmlens.families",
    "Generation": "vlmlens.model",
    "HookedVLM": "vlmlens.model",
    "Inputs": "vlmlens.model",
    "Intervention": "vlmlens.interventions",
    "Run": "vlmlens.model",
    "Sample": "vlmlens.sample",
    "Save": "vlmlens.cache",
    "TokenLayout": "vlmlens.layout",
    "VLMLensError": "vlmlens.errors",
    "Video": "vlmlens.video",
    "Where": "vlmlens.select",
}
_MODULES = (
    "datasets",
    "experiments",
    "interop",
    "interventions",
    "live",
    "plots",
    "positions",
    "probes",
    "report",
    "zoo",
)

__all__ = [*_FROM, *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(import_module(_FROM[name]), name)
    if name in _MODULES:
        return import_module(f"vlmlens.{name}")
    raise AttributeError(f"module 'vlmlens' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
