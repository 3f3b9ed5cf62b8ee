"""What identifies code: what it does, whatever it is called by, and wherever it was typed."""

import builtins
import dis
import functools
import importlib
import sys
import types
from collections.abc import Iterator
from importlib.util import resolve_name
from typing import Any

from vlmlens.errors import DataError
from vlmlens.identity.hasher import Hasher
from vlmlens.identity.libraries import is_library

#: What a class's namespace holds that is no part of what it does.
ABOUT = frozenset(
    {
        *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__"),
        *("__dataclass_fields__", "__match_args__", "__firstlineno__", "__static_attributes__"),
        *("__orig_bases__", "__parameters__", "__abstractmethods__", "_abc_impl"),
        *("__annotate__", "__annotate_func__", "__annotations_cache__", "__classdictcell__"),
        "__slotnames__",  # written down when an object of it is first pickled or copied
    }
)
#: What writes and gives nothing back: where it is all that code does with a list, a log for
#: example, what the list holds cannot change a result.
WRITES = {"append", "extend", "add", "clear", "insert"}
LOGS = (list, set)
#: What can read anything by a name that is made as it runs.
UNSEEN = frozenset({"globals", "eval", "exec"})
WRAPPERS = (classmethod, staticmethod, property, functools.cached_property)


def function(given: types.FunctionType, content: Hasher) -> str:
    """A function: its code, its defaults, what it closes over, and the globals that it reads."""
    home = given.__globals__.get("__name__") or ""
    library = is_library(home)
    # What a library's decorator made of one's own function calls itself that function.
    named = library and is_library(given.__module__ or "")
    if named and found(given.__module__, given.__qualname__) is given:
        return content.joined("library", given.__module__, given.__qualname__, content.met(home))
    if library:  # made by a library around something of one's own, a decorator's wrapper say
        return content.joined(
            "made", home, given.__code__.co_qualname, content.met(home), *_around(given, content)
        )
    parts = _held(given, content)
    with content.at(given.__name__):
        content.own_code = True
        own = {k: v for k, v in vars(given).items() if not k.startswith("__")}
        return content.joined(
            "function",
            body(given.__code__, content),
            *parts,
            content.of(own),
            *content.named(_read(given.__code__, given.__globals__)),
        )


def _held(given: types.FunctionType, content: Hasher) -> list[str]:
    """What a function closes over, and its defaults."""
    parts = []
    for name, cell in zip(given.__code__.co_freevars, given.__closure__ or (), strict=True):
        try:
            held = cell.cell_contents
        except ValueError:
            continue  # filled later, if ever
        with content.at(name):
            parts += [name, content.of(held)]
    with content.at(given.__name__):
        parts += [content.of(given.__defaults__), content.of(given.__kwdefaults__)]
    return parts


def _around(given: types.FunctionType, content: Hasher) -> list[str]:
    """What a library's wrapper holds; what it says it wraps, where that is all that can be read."""
    try:
        return _held(given, content)
    except DataError:
        if not callable(own := getattr(given, "__wrapped__", None)):
            raise
        # What functools.singledispatch chooses from is looked up as it runs.
        registry = getattr(given, "registry", None)
        chosen = dict(registry) if isinstance(registry, types.MappingProxyType) else {}
        return ["wraps", content.of(own), *[content.of(chosen)] * bool(chosen)]


def body(given: types.CodeType, content: Hasher) -> str:
    """What code does: its instructions, constants and names, but for line numbers and comments."""
    constants = list(given.co_consts)
    if constants and isinstance(constants[0], str) and given.co_flags & 2:  # perhaps a docstring
        constants[0] = None if _is_docstring(given) else constants[0]
    arguments = given.co_argcount + given.co_kwonlyargcount
    return content.joined(
        "code",
        given.co_code.hex(),
        given.co_exceptiontable.hex(),
        *map(str, (given.co_argcount, given.co_posonlyargcount, given.co_kwonlyargcount)),
        str(given.co_flags),
        *given.co_names,
        *given.co_varnames[:arguments],
        *map(content.of, constants),
    )


def class_(given: type, content: Hasher) -> str:
    """A class: its bases and all that it defines; a library's by its name and version."""
    if is_library(given.__module__):
        # Somebody may have put a function of their own in the place of a library's, in a class
        # or among the globals that its methods read.
        put = [
            (name, held)
            for base in given.__mro__
            if is_library(base.__module__)
            for place in (base, sys.modules.get(base.__module__))
            if place is not None and place is not builtins
            for name, held in vars(place).items()
            if isinstance(held, types.FunctionType)
            and not is_library(held.__globals__.get("__name__") or "")
        ]
        own = content.named(put)
        return content.joined(
            "library", given.__module__, given.__qualname__, content.met(given.__module__), *own
        )
    content.own_code = True
    with content.at(given.__name__):
        return content.joined(
            "class",
            given.__name__,
            *map(content.of, given.__bases__),
            *[content.of(type(given))] * (not is_library(type(given).__module__)),
            *content.named((k, v) for k, v in vars(given).items() if k not in ABOUT),
        )


def module(given: types.ModuleType, content: Hasher) -> str:
    """A module as a whole: a library's by its name; one's own by everything in it."""
    if is_library(given.__name__):
        return content.joined("library", given.__name__, content.met(given.__name__))
    return content.joined(
        "module", *content.named((k, v) for k, v in vars(given).items() if not k.startswith("__"))
    )


def state(given: Any) -> dict[str, Any]:
    """What an object of one's own class holds, but for what was worked out and kept."""
    kind = type(given)
    held = dict(getattr(given, "__dict__", {}))
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            name = f"_{base.__name__.lstrip('_')}{slot}" if _private(slot) else slot
            if slot not in ("__dict__", "__weakref__") and hasattr(given, name):
                held[name] = getattr(given, name)
    return {name: value for name, value in held.items() if not is_cached(kind, name)}


def is_cached(kind: type, name: str) -> bool:
    """Whether an attribute is a ``cached_property``'s: worked out from the others."""
    return isinstance(getattr(kind, name, None), functools.cached_property)


def does_something(kind: type) -> bool:
    """Whether one's own class defines any behaviour: an object without is a mere marker."""
    return any(
        isinstance(held, (types.FunctionType, *WRAPPERS))
        for base in kind.__mro__
        if base is not object
        for held in vars(base).values()
    )


def _private(name: str) -> bool:
    return name.startswith("__") and not name.endswith("__")


def _is_docstring(given: types.CodeType) -> bool:
    """Whether the first constant is the docstring: then no instruction loads it."""
    return not any(
        step.opname.startswith("LOAD_CONST") and step.arg == 0
        for step in dis.get_instructions(given)
    )


def found(home: str, qualname: str) -> Any:
    """What a module has by that name; None for nothing."""
    at: Any = sys.modules.get(home)
    for name in qualname.split("."):
        at = getattr(at, name, None)
    return at


def _read(given: types.CodeType, scope: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The globals that code reads, nested code too; of one's own modules, what it reads of them.

    Raises:
        DataError: what it reads is known only as it runs.
    """
    for name, follows in sorted(_globals(given)):
        if name in UNSEEN and name not in scope:
            raise _unseen(given, name)
        if name in scope:
            yield from _reached(name, scope[name], follows)
        elif not hasattr(builtins, name):
            yield name, "not there"
    yield from _imported(given, scope)


def _unseen(given: types.CodeType, what: str) -> DataError:
    return DataError(
        f"{given.co_name} calls {what}(), so what it reads is known only as it runs and its "
        "results could not be found again; read it before, and give it as an argument or a "
        "global, or run without a folder"
    )


def _reached(name: str, held: Any, follows: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    while isinstance(held, types.ModuleType) and follows and not is_library(held.__name__):
        first, *rest = follows
        name, follows = f"{name}.{first}", tuple(rest)
        if not hasattr(held, first):
            yield name, "not there"
            return
        held = getattr(held, first)
    if not (follows and follows[0] in WRITES and type(held) in LOGS):
        yield name, held


def _globals(given: types.CodeType) -> set[tuple[str, tuple[str, ...]]]:
    """Names of globals that are loaded, each with the attributes that are taken of it there."""
    found = set()
    steps = list(dis.get_instructions(given))
    for number, step in enumerate(steps):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            follows = []
            for after in steps[number + 1 :]:
                if after.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                    break
                follows.append(after.argval)
            found.add((step.argval, tuple(follows)))
    for constant in given.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _globals(constant)
    return found


def _imported(given: types.CodeType, scope: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What code imports when it runs."""
    steps = list(dis.get_instructions(given))
    for number, step in enumerate(steps):
        if step.opname != "IMPORT_NAME":
            continue
        level = steps[number - 2].argval
        name = "." * level + step.argval
        try:
            found = importlib.import_module(
                resolve_name(name, scope.get("__package__") or "") if level else name
            )
        except ImportError:
            yield f"import {name}", "not there"
            continue
        taken = []
        for after in steps[number + 1 :]:
            if after.opname == "IMPORT_FROM":
                taken.append(after.argval)
            elif not after.opname.startswith("STORE_"):
                break
        if is_library(found.__name__):
            yield f"import {name}", found
            continue
        for part in taken:
            yield f"from {name} import {part}", getattr(found, part, "not there")
        if not taken:
            yield f"import {name}", found
    for constant in given.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _imported(constant, scope)
