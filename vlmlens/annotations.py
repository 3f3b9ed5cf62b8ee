"""Checks by annotation: the arguments of a function, the fields of a value."""

from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from functools import partial, wraps
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from vlmlens.checks import flag, number, path, refuse_unknown, shown, texts, whole, word
from vlmlens.classes import fits, in_words
from vlmlens.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
#: From a value and its name to the value as a plain Python object; raises ``InputError``.
Rule = Callable[[Any, str], Any]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function with its arguments checked before it is called.

    Unknown keywords are refused with the nearest names; numbers, booleans, texts and paths are
    checked by their annotations, and passed on as plain Python objects. What should be a model, a
    run, a table or another class of this package or of xarray, and is not, is refused by functions;
    methods do so in words of their own.
    """
    taken = signature(function).parameters.values()
    known = [p.name for p in taken if p.kind != p.VAR_KEYWORD and p.name != "self"]
    further = any(p.kind == p.VAR_KEYWORD for p in taken)
    in_order = [p for p in taken if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = {p.name: p for p in taken}
    called = f"{function.__name__}(...)"
    look = _as_annotated if "self" in by_name else partial(_as_wanted, called=called)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not further:
            refuse_unknown(kwargs, known, called)
        places = [look(x, p) for x, p in zip(args, in_order, strict=False)]
        rest: tuple[Any, ...] = args[len(places) :]
        named = {
            name: look(x, by_name[name]) if name in by_name else x for name, x in kwargs.items()
        }
        return function(*places, *rest, **named)  # pyright: ignore[reportCallIssue]

    return call


def _as_annotated(given: Any, taken: Parameter) -> Any:
    """An argument after the rule for what it is annotated as, where there is one."""
    rule = RULES.get(kinds(taken.annotation))
    return given if rule is None or _left(given, taken) else rule(given, taken.name)


def _as_wanted(given: Any, taken: Parameter, called: str) -> Any:
    """The same of an argument that is of the class which the annotation names, if one of ours."""
    if not _left(given, taken) and not fits(given, taken.annotation):
        raise InputError(
            f"{taken.name}={shown(given)}: {called} takes "
            f"{' or '.join(in_words(taken.annotation))}; this is a {type(given).__name__}"
        )
    return _as_annotated(given, taken)


def _left(given: Any, taken: Parameter) -> bool:
    """Whether it is left at its default, or at nothing where it may be."""
    optional = taken.default is None or NoneType in get_args(taken.annotation)
    return given is taken.default or (given is None and optional)


class Checked:
    """A value whose unknown keywords are refused with the nearest names."""

    #: What to write instead of keywords that belong elsewhere.
    ADVICE: ClassVar[Mapping[str, str]] = {}

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.keys() <= getattr(cls, "__dataclass_fields__", {}).keys():
            refuse_unknown(kwargs, signature(cls).parameters, f"{cls.__name__}(...)", cls.ADVICE)
        return object.__new__(cls)  # super() does not travel to another machine's Python


#: What the fields of a value may hold, by the kinds in their annotation (None aside).
RULES: dict[frozenset[Any], Rule] = {
    frozenset({bool}): flag,
    frozenset({int}): whole,
    frozenset({float}): number,
    frozenset({int, float}): number,
    frozenset({str}): word,
    frozenset({str, Path}): path,
    frozenset({tuple[str, ...]}): texts,
}


def kinds(annotation: Any) -> frozenset[Any]:
    """The types that an annotation names, None aside."""
    union = get_origin(annotation) in (Union, UnionType)
    return frozenset(get_args(annotation) if union else (annotation,)) - {NoneType}


def settle(value: Any, rules: Mapping[frozenset[Any], Rule] = RULES) -> None:
    """Check the fields of a frozen dataclass by their annotations, and put plain values in place.

    A field of another kind is its class's own to check; so is one that is left at its default.

    Raises:
        InputError: names the field.
    """
    for item in fields(value):
        given = getattr(value, item.name)
        if given is item.default:
            continue
        annotation = _annotation(type(value), item)
        rule = rules.get(kinds(annotation))
        optional = item.default is None or NoneType in get_args(annotation)
        if rule is None or (given is None and optional):
            continue
        if (made := rule(given, item.name)) is not given:
            object.__setattr__(value, item.name, made)


def settled(
    kind: type, given: Mapping[str, Any], rules: Mapping[frozenset[Any], Rule] = RULES
) -> dict[str, Any]:
    """What came from outside for fields of a dataclass, checked and made plain before it is made.

    Raises:
        InputError: names the field.
    """
    made = dict(given)
    for item in fields(kind):
        annotation = _annotation(kind, item)
        rule = rules.get(kinds(annotation))
        optional = item.default is None or NoneType in get_args(annotation)
        here = item.name in made and not (made[item.name] is None and optional)
        if rule is not None and here:
            made[item.name] = rule(made[item.name], item.name)
    return made


def _annotation(kind: type, item: Field) -> Any:
    """A field's type; one that was written as a text is looked up."""
    if not isinstance(item.type, str):
        return item.type
    try:
        return get_type_hints(kind)[item.name]
    except Exception:  # names that only a type checker sees, in a user's own class
        return item.type
