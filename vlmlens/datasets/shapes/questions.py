"""Questions about a scene whose answer geometry decides.

A question is asked only where exactly one answer is right: distances that decide are at least
``MARGIN`` of the canvas, and what is called "the circle" is the only circle.

Six categories as in the published 2DS set (Qi et al. 2025, arXiv:2503.17349), by what the
question names, ``color``, ``shape`` or ``shape_color``, and by whether it is about a place on
the canvas (``abs``) or relative to another shape (``rel``), plus controls that ask for no place.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vlmlens.datasets.shapes.scene import COLORS, MARGIN, SHAPES, Scene, Shape

ABSOLUTE = ("color_abs", "shape_abs", "shape_color_abs")
RELATIVE = ("color_rel", "shape_rel", "shape_color_rel")
#: Questions about what is there, not where: looking things up, counting, existence.
CONTROLS = ("object", "count", "exist")
#: Rows and columns of an 8 x 8 grid, counted from 1 at the top left; a lesson for training.
LESSON = "grid"
CATEGORIES = tuple(c for pair in zip(ABSOLUTE, RELATIVE, strict=True) for c in pair)

EDGES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}
RELATIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
QUADRANTS = ("top left", "top right", "bottom left", "bottom right")
NUMBERS = ("2", "3", "4", "5", "6")
CELLS = 8
CAPTION = "Describe the image."


@dataclass(frozen=True)
class Question:
    """A question about a scene.

    Attributes:
        text: what is asked.
        answer: the one right answer.
        choices: every answer that the form allows; the right one is among them.
        category: one of ``CATEGORIES`` or ``CONTROLS``.
        form: how it is asked (``edge``, ``quadrant``, ``neighbour``, ``side``, ``yes_no``, ...).

    Examples:
        >>> from vlmlens.datasets.shapes import entries
        >>> question = next(entries(1)).question
        >>> question.category, question.form, question.answer in question.choices
        ('color_abs', 'edge', True)
    """

    text: str
    answer: str
    choices: tuple[str, ...]
    category: str
    form: str


@dataclass(frozen=True)
class Kind:
    """A way of naming shapes: by colour, by kind, or by both."""

    name: str
    what: str  # asks for it: "What color is ..."
    value: Callable[[Shape], str]  # the answer
    refer: Callable[[Shape], str]  # "the red shape"
    values: tuple[str, ...]


KINDS = {
    "color": Kind(
        "color", "What color is", lambda s: s.color, lambda s: f"the {s.color} shape", tuple(COLORS)
    ),
    "shape": Kind("shape", "What shape is", lambda s: s.shape, lambda s: f"the {s.shape}", SHAPES),
    "shape_color": Kind(
        "shape_color",
        "What is",
        lambda s: s.name,
        lambda s: f"the {s.name}",
        tuple(f"{c} {s}" for c in COLORS for s in SHAPES),
    ),
}


def ask(scene: Scene, category: str) -> Iterator[Question]:
    """Every unambiguous question of one category, in a fixed order.

    Examples:
        >>> from vlmlens.datasets.shapes import Scene, Shape, ask
        >>> left, right = (0.2, 0.5, 0.1), (0.8, 0.5, 0.1)
        >>> scene = Scene((Shape("circle", "red", *left), Shape("star", "blue", *right)))
        >>> question = next(ask(scene, "color_rel"))
        >>> question.text, question.answer
        ('What color is right of the red shape?', 'blue')
    """
    match category:
        case "object":
            yield from _objects(scene)
        case "count":
            count = str(len(scene.shapes))
            yield Question("How many shapes are there?", count, NUMBERS, category, "count")
        case "exist":
            there = {s.name for s in scene.shapes}
            for name in KINDS["shape_color"].values:
                answer = "yes" if name in there else "no"
                yield Question(f"Is there a {name}?", answer, ("yes", "no"), category, "exist")
        case "grid":
            yield from _grid(scene)
        case _:
            name, _, reach = category.rpartition("_")
            yield from (_absolute if reach == "abs" else _relative)(scene, KINDS[name])


def caption(scene: Scene) -> str:
    """All shapes from left to right: ``"a red circle, a blue star"``.

    Examples:
        >>> from vlmlens.datasets.shapes import Scene, Shape, caption
        >>> left, right = (0.2, 0.5, 0.1), (0.8, 0.5, 0.1)
        >>> scene = Scene((Shape("circle", "red", *left), Shape("star", "blue", *right)))
        >>> caption(scene), caption(scene.mirror())
        ('a red circle, a blue star', 'a blue star, a red circle')
    """
    return ", ".join(f"a {s.name}" for s in sorted(scene.shapes, key=lambda s: s.x))


def _absolute(scene: Scene, kind: Kind) -> Iterator[Question]:
    category = f"{kind.name}_abs"
    for edge, (axis, sign) in EDGES.items():
        first, second = sorted(scene.shapes, key=lambda s: -sign * (s.x, s.y)[axis])[:2]
        if abs((first.x, first.y)[axis] - (second.x, second.y)[axis]) >= MARGIN:
            text = f"{kind.what} at the {edge}?"
            yield Question(text, kind.value(first), kind.values, category, "edge")
    for shape in _named(scene, kind):
        if min(abs(shape.x - 0.5), abs(shape.y - 0.5)) >= MARGIN / 2:
            place = QUADRANTS[2 * (shape.y > 0.5) + (shape.x > 0.5)]
            text = f"Where is {kind.refer(shape)}?"
            yield Question(text, place, QUADRANTS, category, "quadrant")


def _relative(scene: Scene, kind: Kind) -> Iterator[Question]:
    category = f"{kind.name}_rel"
    named = _named(scene, kind)
    for a in named:
        for relation, (axis, sign) in RELATIONS.items():
            steps = {s: sign * (_at(s, axis) - _at(a, axis)) for s in scene.shapes if s is not a}
            there = [s for s, step in steps.items() if step > 0]
            if len(there) == 1 and all(abs(step) >= MARGIN for step in steps.values()):
                text = f"{kind.what} {relation} {kind.refer(a)}?"
                yield Question(text, kind.value(there[0]), kind.values, category, "neighbour")
        for b in named:
            if b is a:
                continue
            for axis, (low, high) in enumerate((("left", "right"), ("above", "below"))):
                step = _at(a, axis) - _at(b, axis)
                if abs(step) < MARGIN:
                    continue
                side = low if step < 0 else high
                tail = " of" if axis == 0 else ""
                text = f"Is {kind.refer(a)} {low} or {high}{tail} {kind.refer(b)}?"
                yield Question(text, side, (low, high), category, "side")
                for said in (low, high):
                    text = f"Is {kind.refer(a)} {said}{tail} {kind.refer(b)}?"
                    answer = "yes" if said == side else "no"
                    yield Question(text, answer, ("yes", "no"), category, "yes_no")


def _objects(scene: Scene) -> Iterator[Question]:
    color, shape = KINDS["color"], KINDS["shape"]
    for named, asked in ((shape, color), (color, shape)):
        for s in _named(scene, named):
            text = f"{asked.what} {named.refer(s)}?"
            yield Question(text, asked.value(s), asked.values, "object", f"{asked.name}_of")


def _grid(scene: Scene) -> Iterator[Question]:
    cells = tuple(str(i + 1) for i in range(CELLS))
    for kind in KINDS.values():
        for s in _named(scene, kind):
            for axis, line in enumerate(("column", "row")):
                cell, inside = divmod(_at(s, axis) * CELLS, 1)
                if 0.15 <= inside <= 0.85:
                    text = f"Which {line} is {kind.refer(s)} in?"
                    yield Question(text, cells[int(cell)], cells, "grid", line)


def _named(scene: Scene, kind: Kind) -> list[Shape]:
    """The shapes that their name singles out."""
    values = [kind.value(s) for s in scene.shapes]
    return [s for s in scene.shapes if values.count(kind.value(s)) == 1]


def _at(shape: Shape, axis: int) -> float:
    return (shape.x, shape.y)[axis]
