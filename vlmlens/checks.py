"""Checks of what users pass: texts, numbers, keywords. A refusal says what there is."""

import inspect
import math
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from reprlib import Repr
from typing import Any

import numpy as np

from vlmlens.errors import InputError, UnknownKeywordError

#: Whole numbers from here on are passed on as float: torch computes with none that is larger.
LONG = 2**63
_short = Repr()
_short.maxstring = _short.maxother = 60


def shown(value: Any) -> str:
    """A value in a message: in one line, and never a whole tensor."""
    if hasattr(value, "shape"):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} of {_short.repr(list(value))}"
    return " ".join(_short.repr(value).split())


def plain(value: Any) -> Any:
    """Numbers and arrays of numpy, torch and xarray as Python's own; anything else as it is."""
    if hasattr(value, "__array__") and not isinstance(value, type):
        if not hasattr(value, "tolist"):
            value = np.asarray(value)
        try:
            return value.tolist()
        except RuntimeError as error:  # a tensor without data
            raise InputError(f"{shown(value)} holds no numbers to read: {error}") from error
    return value


def flag(value: Any, what: str) -> bool:
    """True or False.

    Raises:
        InputError: anything else.
    """
    if not isinstance(given := plain(value), bool):
        raise InputError(f"{what}={shown(value)}: say True or False")
    return given


def whole(value: Any, what: str, least: int | None = None, most: int | None = None) -> int:
    """A whole number, perhaps within bounds.

    Raises:
        InputError: no number, a fraction, True, or one out of bounds.
    """
    given = plain(value)
    inside = isinstance(given, int) and not isinstance(given, bool)
    if inside:
        inside = (least is None or given >= least) and (most is None or given <= most)
    if not inside:
        raise InputError(f"{what}={shown(value)}: a whole number{_bounds(least, most)} is wanted")
    return given


def wholes(value: Any, what: str, least: int | None = None) -> tuple[int, ...]:
    """Whole numbers, one after the other.

    Raises:
        InputError: no collection, or one with anything else in it.
    """
    given = plain(value)
    if not isinstance(given, list | tuple | range):
        raise InputError(f"{what}={shown(value)}: whole numbers are wanted, such as (2, 2)")
    return tuple(whole(each, what, least) for each in given)


def number(
    value: Any,
    what: str,
    least: int | float | None = None,
    most: int | float | None = None,
    above: int | float | None = None,
    finite: bool = True,
) -> int | float:
    """A number, finite unless it need not be, perhaps within bounds.

    Raises:
        InputError: no number, NaN, an infinite one, True, or one out of bounds.
    """
    given = plain(value)
    inside = isinstance(given, int | float) and not isinstance(given, bool)
    if inside and isinstance(given, int) and abs(given) >= LONG:
        given = _long(given)
    if inside:
        inside = math.isfinite(given) if finite else given == given
        inside = inside and (above is None or given > above)
        inside = inside and (least is None or given >= least) and (most is None or given <= most)
    if not inside:
        bounds = f" above {above:g}" if above is not None else _bounds(least, most)
        kind = "finite number" if finite else "number"
        raise InputError(f"{what}={shown(value)}: a {kind}{bounds} is wanted")
    return given


def name(value: Any, what: str) -> str:
    """A name, such as a file's, which may hold bytes that are no text.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, str):
        raise InputError(f"{what}={shown(value)}: a text is wanted")
    return value


def _long(given: int) -> float:
    try:
        return float(given)
    except OverflowError:
        return math.inf if given > 0 else -math.inf


def word(value: Any, what: str) -> str:
    """A text.

    Raises:
        InputError: anything else, or half of a character in it.
    """
    if not written(name(value, what)):
        raise InputError(
            f"{what}={value!r:.60} holds half of a character (a lone surrogate), which no "
            "tokenizer reads; take it out"
        )
    return value


def readable(said: Iterable[Any], named: str) -> None:
    """Refuse what no tokenizer reads.

    Args:
        said: texts.
        named: what messages call whose they are.

    Raises:
        InputError: no text, one with the character NUL, or one with half of a character.
    """
    for text in said:
        if not isinstance(text, str):
            raise InputError(f"{named}: {shown(text)} is no text; write it as one")
        if "\0" in text:
            raise InputError(f"{named}: a text holds the character NUL; take it out")
        if not written(text):
            raise InputError(
                f"{named}: {text!r:.60} holds half of a character (a lone surrogate), which "
                "no tokenizer reads; take it out"
            )


def written(text: str) -> bool:
    """Whether a text can be written down; half a character, as JSON may escape it, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def path(value: Any, what: str) -> str | Path:
    """The path of a file or a folder.

    Raises:
        InputError: anything else, or an empty text.
    """
    if not isinstance(value, str | Path) or not str(value):
        raise InputError(f"{what}={shown(value)}: a path is wanted")
    return value


def found_at(place: str | Path) -> str:
    """What lies at a path: ``"file"``, ``"folder"``, or "", also where no path can be so."""
    try:
        mode = Path(place).stat().st_mode
    except (OSError, ValueError):  # too long a name, a NUL in it
        return ""
    return "folder" if stat.S_ISDIR(mode) else "file"


def texts(value: Any, what: str, each: Callable[[Any, str], str] = word) -> tuple[str, ...]:
    """Texts, in a list or the like; each a `word`, or a `name`.

    Raises:
        InputError: one text alone, whose letters they would be; or anything else.
    """
    if not isinstance(value, list | tuple):
        raise InputError(f"{what}={shown(value)}: a tuple of texts is wanted")
    return tuple(each(one, what) for one in value)


def one_of(value: Any, what: str, known: Iterable[str], otherwise: str = "") -> str:
    """One of these words.

    Raises:
        InputError: says which there are.
    """
    known = list(known)
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{what}={shown(value)}; there is: {', '.join(known)}{otherwise}")
    return value


def refuse_unknown(
    given: Iterable[str], known: Iterable[str], where: str, advice: Mapping[str, str] | None = None
) -> None:
    """Refuse keywords that nobody would read.

    Args:
        given: the keywords.
        known: those that there are.
        where: of what.
        advice: what to do instead, for some that are known elsewhere.

    Raises:
        UnknownKeywordError: names the nearest ones.
    """
    known = list(known)
    for name in given:
        if name not in known:
            raise UnknownKeywordError(name, known, where, (advice or {}).get(name, ""))


def function(value: Any, what: str, wanted: str, *places: str, **named: str) -> Any:
    """Something that can be called so, or an error; what tells no signature is taken on trust.

    Args:
        value: what was given.
        what: its name.
        wanted: what it should be, in words.
        places: a word for every positional argument that it will get.
        named: the same for keywords.

    Raises:
        InputError: no function, or one that takes other arguments.
    """
    if not callable(value):
        raise InputError(f"{what}={shown(value)}: {wanted} is wanted")
    if isinstance(value, type):
        raise InputError(f"{what}={shown(value)} is a class: {wanted} is wanted, so make one first")
    try:
        taken = inspect.signature(getattr(value, "forward", value))  # a module's takes anything
    except (ValueError, TypeError):  # written in C
        if not named:
            return value
        raise InputError(
            f"{what}={shown(value)} does not tell what it takes; {wanted} takes "
            f"{', '.join([*places, *named])}, so write a function around it"
        ) from None
    try:
        taken.bind(*places, **named)
    except TypeError as error:
        given = ", ".join([*places, *(f"{name}=..." for name in named)])
        raise InputError(
            f"{what}={shown(value)} takes {taken}, and is called with ({given}): {error}"
        ) from None
    return value


def _bounds(least: int | float | None, most: int | float | None) -> str:
    if least is None and most is None:
        return ""
    if most is None:
        return f" of at least {least:g}"
    return f" up to {most:g}" if least is None else f" from {least:g} to {most:g}"


def allowed(limit: int | float, count: int) -> int:
    """How many of so many samples may fail.

    Raises:
        InputError: a limit below 0, or no number of samples.
    """
    number = plain(limit)
    proper = isinstance(number, int | float) and not isinstance(number, bool)
    proper = proper and math.isfinite(number) and number >= 0
    if not proper or (number >= 1 and number != int(number)):
        raise InputError(
            f"max_failed={limit!r}: a share below 1, such as 0.1, or a whole number of samples"
        )
    return max(1, int(limit * count)) if 0 < limit < 1 else int(limit)
