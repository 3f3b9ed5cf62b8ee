"""Whether an argument is of the class that a signature names: a model, a run, a table.

Only classes of this package, of xarray and of plotly are looked for, alone, in a union or in a
collection. Whatever else an annotation says is for the function itself to check.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from vlmlens.checks import plain

#: Packages whose classes are looked for.
OURS = ("vlmlens", "xarray", "plotly")
#: Python's own that stand beside them, and what of them is taken, numpy's and torch's too.
SIMPLE: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    Path: (Path,),
    bool: (bool,),
    int: (int,),
    float: (int, float),
    NoneType: (NoneType,),
}
#: What messages call them, and where they come from; others are called by their names.
WORDS = {
    "HookedVLM": "a model, as HookedVLM.from_pretrained(...) opens",
    "Inputs": "inputs, as model.inputs(...) makes",
    "Run": "a run, as model.run(...) returns",
    "Generation": "a generation, as model.generate(...) returns",
    "TokenLayout": "a layout, as inputs.layouts holds",
    "DataArray": "a labelled array, as probes return",
    "Dataset": "a table, as experiments return",
    "Diagnosis": "a diagnosis, as experiments.diagnose(...) returns",
    "Evaluation": "an evaluation, as evaluation.evaluate(...) returns",
    "TunedLens": "a TunedLens, as TunedLens.load(file) or experiments.tune_lens(...) makes",
    "Harvest": "a Harvest, as experiments.harvest(...) makes",
    "Intervention": "an intervention, such as ZeroAblate(point=...)",
    "Circuit": "a circuit, such as Circuit.top(edges, 50)",
    "Sample": "a Sample(question, images)",
    "BaseFigure": "a figure, as vlmlens.plots draws",
    "str": "a text",
    "Path": "a path",
}


def fits(given: Any, annotation: Any) -> bool:
    """Whether a value is what an annotation asks for, as far as classes of ours are concerned.

    Examples:
        >>> from vlmlens.classes import fits
        >>> fits(model, vl.HookedVLM | None), fits("llava", vl.HookedVLM | None)
        (True, False)
        >>> fits([run, 3], list[vl.Run]), fits("3", int)  # no class of ours: not looked at
        (False, True)
    """
    return not _ours(annotation) or _fits(given, annotation)


def in_words(annotation: Any) -> list[str]:
    """What an annotation asks for, one by one, as a message says it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return list(dict.fromkeys(word for each in inner for word in in_words(each)))
    if origin is tuple and Ellipsis not in inner:
        return [f"({', '.join(' or '.join(in_words(each)) for each in inner)})"]
    if origin is not None and inner:
        key = "a mapping to" if _is(origin, Mapping) else "several, each"
        own = [each for each in inner if each is not Ellipsis][-1:]
        return [f"{key} {' or '.join(in_words(each))}" for each in own]
    if annotation is NoneType:
        return ["None"]
    name = getattr(annotation, "__name__", str(annotation))
    return [WORDS.get(name, f"{'an' if name[0] in 'AEIO' else 'a'} {name}")]


def _ours(annotation: Any) -> bool:
    """Whether a class of ours is anywhere in it."""
    if inner := get_args(annotation):
        return any(_ours(each) for each in inner)
    return _a_class(annotation) and annotation.__module__.partition(".")[0] in OURS


def _a_class(annotation: Any) -> bool:
    """Whether it is a class whose instances can be told: no protocol, which anything may fill."""
    return isinstance(annotation, type) and not getattr(annotation, "_is_protocol", False)


def _is(origin: Any, kind: type) -> bool:
    return isinstance(origin, type) and issubclass(origin, kind)


def _fits(given: Any, annotation: Any) -> bool:
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in SIMPLE:
        return isinstance(plain(given), SIMPLE[annotation])
    if not _ours(annotation):
        return True
    if origin in (Union, UnionType):
        return any(_fits(given, each) for each in inner)
    if _is(origin, Mapping):
        return isinstance(given, Mapping) and all(_fits(x, inner[-1]) for x in given.values())
    if origin is tuple and Ellipsis not in inner:
        alike = isinstance(given, list | tuple) and len(given) == len(inner)
        return alike and all(map(_fits, given, inner))
    if _is(origin, Iterable):
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            return False
        held = isinstance(given, Sequence)  # what comes one by one is not used up here
        return all(_fits(x, inner[0]) for x in given) if held else not _is(origin, Sequence)
    return isinstance(given, annotation) if _a_class(annotation) else True
