"""What a table keeps of its pairs and of its settings, so that one cell can be run again."""

import ast
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlmlens import interventions, positions
from vlmlens.datasets.shapes import Drawn, Scene, Shape
from vlmlens.errors import DataError, VLMLensError
from vlmlens.experiments.readings import Both
from vlmlens.identity import scene
from vlmlens.picture import at_home
from vlmlens.sample import Sample
from vlmlens.select import Where

#: The coordinate that says what each pair is, and the attribute that says what was asked.
PAIR, ASKED = "pair", "asked"
WORDS = ("question", "answer", "choices", "id", "options", "references")
#: What settings may be made of, beside plain values.
MADE: Mapping[str, Any] = {
    name: getattr(home, name)
    for home in (interventions, positions)
    for name in home.__all__
    if isinstance(getattr(home, name), type)
} | {"Where": Where, "range": range, "slice": slice}


def pair_told(both: Both) -> str:
    """A pair as text: words, what the pictures are, and where from if a text can say so."""
    return json.dumps([None if each is None else _told(each) for each in both])


def pair_again(text: str, clean: Sample | None = None, edited: Sample | None = None) -> Both:
    """A pair of its text.

    Args:
        text: what ``pair_told`` gave.
        clean: whose pictures are taken; by default those that the text names.
        edited: the same of the sample that is edited, where that is another one.

    Raises:
        DataError: pictures that a text cannot hold, or that are others than they were.
    """
    one, other = json.loads(text)
    if other is None:
        return _again(one, edited or clean, "the sample"), None
    second = _again(other, edited, "the sample that is edited")
    return _again(one, clean, "the clean sample (second=)"), second


def is_of(told: str, sample: Sample) -> bool:
    """Whether the sample that is edited in a pair asks this of these pictures."""
    one, other = json.loads(told)
    meant = other or one
    return meant["question"] == sample.question and meant["shows"] == scene(sample)


def asked_told(what: str, model: str, settings: Mapping[str, Any]) -> str:
    """Settings as text; None where none can say them: functions, tensors."""
    texts = {name: _written(value) for name, value in settings.items()}
    return json.dumps({"what": what, "model": model, "settings": texts})


def asked_again(text: str) -> tuple[str, str, dict[str, Any]]:
    """What was measured, the model's name, and the settings.

    Raises:
        DataError: a setting that the text does not hold.
    """
    told = json.loads(text)
    if lost := [name for name, value in told["settings"].items() if value is None]:
        raise DataError(
            f"this table does not hold the {', '.join(lost)} that it was made with (a function, or "
            "an edit that holds tensors), so its cells cannot be made again"
        )
    settings = {name: _read(value) for name, value in told["settings"].items()}
    return told["what"], told["model"], settings


def _told(sample: Sample) -> dict[str, Any]:
    words = {name: getattr(sample, name) for name in WORDS}
    return words | {"shows": scene(sample), "pictures": list(map(_picture, sample.images))}


def _picture(given: Any) -> Any:
    if isinstance(given, Drawn):
        return {"shapes": [vars(shape) for shape in given.scene.shapes], "size": given.size}
    return str(given) if isinstance(given, str | Path) else None


def _again(told: Mapping[str, Any], given: Sample | None, who: str) -> Sample:
    """A sample of what is told of it.

    Raises:
        DataError: it cannot be made, or it is another.
    """
    words: dict[str, Any] = {
        n: tuple(told[n]) if isinstance(told[n], list) else told[n] for n in WORDS
    }
    if given is not None:
        if given.question != told["question"]:
            raise DataError(
                f"{who} asks {given.question!r}; the table's asked {told['question']!r}"
            )
        made = replace(given, **{name: words[name] for name in WORDS if name != "question"})
    elif any(each is None for each in told["pictures"]) or not told["pictures"]:
        raise DataError(
            f"the table does not hold the picture of {who}, {told['question']!r}, which was given "
            "as pixels: pass it"
        )
    else:
        made = Sample(images=tuple(map(_drawn, told["pictures"])), **words)
    if scene(made) != told["shows"]:
        raise DataError(f"{who}, {told['question']!r}, shows another picture than in the table")
    return made


def _drawn(told: Any) -> Any:
    if isinstance(told, str):
        return at_home(told)
    return Drawn(Scene(tuple(Shape(**shape) for shape in told["shapes"])), told["size"])


def _written(value: Any) -> str | None:
    text = repr(value)
    try:
        return text if _read(text) == value else None
    except (SyntaxError, ValueError, TypeError, VLMLensError):
        return None


def _read(text: str) -> Any:
    """A value as it is written: plain ones, selections and interventions, and nothing else.

    Raises:
        ValueError: anything else.
    """
    return _value(ast.parse(text, mode="eval").body)


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Tuple(elts=parts):
            return tuple(map(_value, parts))
        case ast.List(elts=parts):
            return list(map(_value, parts))
        case ast.Call(func=ast.Name(id=name)) if name in MADE:
            named = {each.arg: _value(each.value) for each in node.keywords if each.arg}
            return MADE[name](*map(_value, node.args), **named)
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            return _value(left) & _value(right)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _value(left) | _value(right)
        case ast.UnaryOp(op=ast.Invert(), operand=inner):
            return ~_value(inner)
    return ast.literal_eval(node)
