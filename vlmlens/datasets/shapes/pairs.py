"""Matched pairs of scenes for patching: one prompt, two pictures, and what differs is known."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from operator import eq, ne

import numpy as np

from vlmlens.annotations import checked
from vlmlens.datasets.shapes import FORMS, SIZE, Entry, seeded
from vlmlens.datasets.shapes.questions import CATEGORIES, Question, ask
from vlmlens.datasets.shapes.scene import COLORS, MARGIN, Scene, random_scene
from vlmlens.errors import DataError, UnknownNameError
from vlmlens.sample import Sample

#: An edited scene, and the indices of the shapes that changed; None where none came out.
Edited = tuple[Scene, tuple[int, ...]] | None
Asked = tuple[Scene, Question]


@dataclass(frozen=True)
class Pair:
    """Two samples with one prompt, whose scenes differ by one edit.

    Attributes:
        clean: the scene as drawn by chance.
        corrupted: the scene after the edit; its answer has as many words.
        kind: the edit, one of ``EDITS``.
        changed: which of the scene's shapes the edit changed.

    Examples:
        >>> pair = vl.datasets.counterfactual_pairs(1, kind="mirror")[0]
        >>> pair.clean.question == pair.corrupted.question
        True
        >>> pair.clean.answer, pair.corrupted.answer
        ('left', 'right')
    """

    clean: Sample
    corrupted: Sample
    kind: str
    changed: tuple[int, ...]


@dataclass(frozen=True)
class Edit:
    """How scenes are edited, what can be asked of both, and what becomes of the answer."""

    apply: Callable[[Scene, np.random.Generator], Edited]
    categories: tuple[str, ...]
    forms: tuple[str, ...]
    promise: Callable[[str, str], bool]


@checked
def counterfactual_pairs(
    pairs: int = 100,
    *,
    kind: str,
    seed: int = 0,
    split: str = "test",
    category: str = "color_rel",
    size: int = SIZE,
) -> list[Pair]:
    """Pairs of pictures under one prompt, whose answers differ by a known edit.

    * ``"swap"``: two shapes change places. Same things, other places; the answer differs.
    * ``"mirror"``: left and right exchanged, and so they are in the answer.
    * ``"recolor"``: one shape, the one asked for, in another colour. Same places, other things.
    * ``"shift"``: everything moved alike, by ``MARGIN`` or more. The answer stays: the control.

    Both scenes are of the split and fit the canvas, and both answers are the only right ones.
    The forms of question that the edit allows take turns.

    Args:
        pairs: how many.
        kind: one of the four.
        seed: another seed, other pairs.
        split: ``"test"`` or ``"train"``.
        category: of ``CATEGORIES``; for ``"recolor"`` one whose answers name a colour, where
            ``"object"`` will do too.
        size: width and height of the pictures, in pixels.

    Raises:
        UnknownNameError: a kind, or a split, that is not there.
        DataError: no pairs, a negative seed, or a category that the edit cannot change.

    Examples:
        >>> pairs = vl.datasets.counterfactual_pairs(4, kind="swap")
        >>> [pair.clean.answer != pair.corrupted.answer for pair in pairs]
        [True, True, True, True]
        >>> [len(pair.changed) for pair in pairs]
        [2, 2, 2, 2]
    """
    if kind not in EDITS:
        raise UnknownNameError(kind, EDITS, "These are the kinds of pairs.")
    edit = EDITS[kind]
    if category not in edit.categories:
        raise DataError(
            f"no {kind} pairs of category {category!r}: that edit goes with questions of "
            f"{', '.join(edit.categories)}"
        )
    if pairs < 1:
        raise DataError(f"{pairs} pairs asked for; ask for at least one")
    rng = seeded(seed, split, f"{kind} {category}")
    forms = [form for form in edit.forms if form in FORMS[category]]
    drawn = []
    for number, form in enumerate(islice(cycle(forms), pairs)):
        before, after, changed = _pair(rng, edit, split, category, form)
        name = f"2ds-{split}-{seed}-{kind}-{category}-{number:05d}"
        clean = Entry(f"{name}-clean", *before).sample(size)
        drawn.append(Pair(clean, Entry(f"{name}-corrupted", *after).sample(size), kind, changed))
    return drawn


def _pair(
    rng: np.random.Generator, edit: Edit, split: str, category: str, form: str
) -> tuple[Asked, Asked, tuple[int, ...]]:
    """Scene and question before and after an edit that keeps what the kind promises."""
    while True:
        scene = random_scene(rng)
        if scene.split != split or (edited := edit.apply(scene, rng)) is None:
            continue
        other, changed = edited
        if not other.fits() or other.split != split:
            continue
        again = {q.text: q for q in ask(other, category)}
        both = [
            (q, again[q.text])
            for q in ask(scene, category)
            if q.form == form and q.text in again and edit.promise(q.answer, again[q.text].answer)
        ]
        if both:
            before, after = both[rng.integers(len(both))]
            return (scene, before), (other, after), changed


def _swap(scene: Scene, rng: np.random.Generator) -> Edited:
    i, j = sorted(int(k) for k in rng.choice(len(scene.shapes), 2, replace=False))
    return scene.swap(i, j), (i, j)


def _mirror(scene: Scene, _: np.random.Generator) -> Edited:
    return scene.mirror(), tuple(range(len(scene.shapes)))


def _shift(scene: Scene, rng: np.random.Generator) -> Edited:
    left, top, right, bottom = zip(*(s.box for s in scene.shapes), strict=True)
    dx = float(rng.uniform(0.01 - min(left), 0.99 - max(right)))
    dy = float(rng.uniform(0.01 - min(top), 0.99 - max(bottom)))
    if max(abs(dx), abs(dy)) < MARGIN:
        return None
    return scene.shift(dx, dy), tuple(range(len(scene.shapes)))


def _recolor(scene: Scene, rng: np.random.Generator) -> Edited:
    i = int(rng.integers(len(scene.shapes)))
    alike = {s.color for s in scene.shapes if s.shape == scene.shapes[i].shape}
    free = [color for color in COLORS if color not in alike]
    return (scene.recolor(i, free[rng.integers(len(free))]), (i,)) if free else None


PLACES = ("edge", "quadrant", "neighbour", "side", "yes_no")
COLORED = ("color_abs", "color_rel", "shape_color_abs", "shape_color_rel", "object")
EDITS: dict[str, Edit] = {
    "swap": Edit(_swap, CATEGORIES, PLACES, ne),
    "mirror": Edit(_mirror, CATEGORIES, ("quadrant", "side"), ne),
    "shift": Edit(_shift, CATEGORIES, PLACES, eq),
    "recolor": Edit(_recolor, COLORED, ("edge", "neighbour", "color_of"), ne),
}
