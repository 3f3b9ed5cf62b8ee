"""Which model in memory this is, and who holds it."""

import gc
import weakref
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from vlmlens.errors import UnsupportedModelError

_PROCESS = uuid4().hex
#: Names of models, and who holds them. Module variables: a copy of a model takes along whatever is
#: written on the model itself.
_NAMES: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_HOLDERS: WeakKeyDictionary[Any, weakref.ref] = WeakKeyDictionary()


def instance(model: Any) -> str:
    """A name for this one model in memory: a copy of it, or the same opened twice, has another."""
    if model not in _NAMES:
        _NAMES[model] = f"{_PROCESS} {uuid4().hex}"
    return _NAMES[model]


def hold(model: Any, holder: Any) -> None:
    """Note who holds a model, until they let go of it or are gone.

    Raises:
        UnsupportedModelError: somebody else holds it.
    """
    if _holder(model) is not None:
        gc.collect()  # somebody who was dropped may be part of a cycle
    if _holder(model) is not None:
        raise UnsupportedModelError("another HookedVLM holds this model: close that one first")
    _HOLDERS[model] = weakref.ref(holder)


def let_go(model: Any) -> None:
    """Note that nobody holds a model."""
    _HOLDERS.pop(model, None)


def _holder(model: Any) -> Any:
    found = _HOLDERS.get(model)
    return None if found is None else found()
