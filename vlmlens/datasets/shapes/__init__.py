"""2DS: plain coloured shapes on a plane, and questions about where they are.

The published set (Qi et al. 2025, arXiv:2503.17349) came without its generator and without its
vocabularies; these are our own scenes and wordings, with its six categories. Every answer
follows from geometry, so no judge is needed.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice

import numpy as np
from PIL import Image

from vlmlens.annotations import checked
from vlmlens.checks import texts, whole
from vlmlens.datasets.draw import MOST
from vlmlens.datasets.shapes.questions import (
    CATEGORIES,
    CELLS,
    CONTROLS,
    KINDS,
    LESSON,
    NUMBERS,
    QUADRANTS,
    Question,
    ask,
    caption,
)
from vlmlens.datasets.shapes.scene import COLORS, SHAPES, Scene, Shape, random_scene
from vlmlens.errors import DataError, UnknownNameError
from vlmlens.sample import Sample

__all__ = [
    "CATEGORIES",
    "COLORS",
    "CONTROLS",
    "FORMS",
    "LESSON",
    "SHAPES",
    "SPLITS",
    "Drawn",
    "Entry",
    "Question",
    "Scene",
    "Shape",
    "ask",
    "caption",
    "entries",
    "random_scene",
    "seeded",
    "shapes_2d",
]

SPLITS = ("train", "test")
SIZE = 224
#: Shapes keep off the edge, so next to no centre is in row or column 1 or 8.
_LINES = tuple(str(i + 1) for i in range(1, CELLS - 1))

#: The forms of each category's questions, and every answer that each form can have.
FORMS: dict[str, dict[str, tuple[str, ...]]] = {
    **{f"{k}_abs": {"edge": kind.values, "quadrant": QUADRANTS} for k, kind in KINDS.items()},
    **{
        f"{k}_rel": {
            "neighbour": kind.values,
            "side": ("left", "right", "above", "below"),
            "yes_no": ("yes", "no"),
        }
        for k, kind in KINDS.items()
    },
    "object": {"color_of": tuple(COLORS), "shape_of": SHAPES},
    "count": {"count": NUMBERS},
    "exist": {"exist": ("yes", "no")},
    LESSON: {"column": _LINES, "row": _LINES},
}
#: Forms whose answers are names of shapes, which may be exchanged for one another.
_NAMING = ("edge", "neighbour", "color_of", "shape_of")


@dataclass(frozen=True)
class Drawn:
    """The picture of a scene, drawn when somebody asks for it.

    Examples:
        >>> from vlmlens.datasets.shapes import Drawn, entries
        >>> entry = next(entries(1))
        >>> Drawn(entry.scene, size=56)().size
        (56, 56)
    """

    scene: Scene
    size: int = SIZE

    def __post_init__(self) -> None:
        if self.size < 1:
            raise DataError(f"a picture of {self.size} pixels; the size must be at least 1")

    def __call__(self) -> Image.Image:
        return self.scene.draw(self.size)


@dataclass(frozen=True)
class Entry:
    """A scene and one question about it: what a sample is made from.

    Attributes:
        id: split, seed, category and number in it, which together decide everything else.
        scene: what there is, with each shape's box.
        question: what is asked, in which form, and the right answer.

    Examples:
        >>> from vlmlens.datasets.shapes import entries
        >>> entry = next(entries(1))
        >>> entry.id, entry.question.text
        ('2ds-test-0-color_abs-00000', 'What color is at the top?')
        >>> [shape.name for shape in entry.scene.shapes]
        ['green diamond', 'blue circle']
    """

    id: str
    scene: Scene
    question: Question

    def sample(self, size: int = SIZE) -> Sample:
        """The entry as a sample whose picture is ``size`` pixels wide and high."""
        q = self.question
        # Experiments keep results by the sample's id: other pixels need another id.
        name = self.id if size == SIZE else f"{self.id}-{size}px"
        return Sample(q.text, (Drawn(self.scene, size),), q.answer, q.choices, q.category, name)


@checked
def shapes_2d(
    samples: int = 600,
    *,
    seed: int = 0,
    split: str = "test",
    categories: Sequence[str] = CATEGORIES,
    size: int = SIZE,
) -> list[Sample]:
    """Questions about 2 to 6 shapes, drawn by seed and balanced throughout.

    Categories take turns, within a category its forms, and within a form every answer comes
    once before any comes again. So the first n samples are balanced as well, and are the same
    n whatever ``samples`` is.

    Args:
        samples: how many, over all categories.
        seed: another seed, other scenes and questions.
        split: ``"test"``, or ``"train"``: no layout of shapes occurs in both.
        categories: of ``CATEGORIES``; of ``CONTROLS``, which ask for no place; or ``"grid"``.
        size: width and height of the pictures, in pixels; they are drawn when opened.

    Raises:
        UnknownNameError: a split or category that is not there.
        DataError: no samples, no or repeated categories, a negative seed or a size below 1.

    Examples:
        >>> found = vl.datasets.shapes_2d(12, categories=("color_abs", "color_rel"))
        >>> found[0].question, found[0].choices[:3], found[0].answer
        ('What color is at the top?', ('red', 'green', 'blue'), 'green')
        >>> found[0].images[0]().size
        (224, 224)
    """
    return [
        entry.sample(size)
        for entry in entries(samples, seed=seed, split=split, categories=categories)
    ]


def entries(
    samples: int = 600,
    *,
    seed: int = 0,
    split: str = "test",
    categories: Sequence[str] = CATEGORIES,
) -> Iterator[Entry]:
    """What ``shapes_2d`` makes its samples from: the scenes with their questions and forms.

    Examples:
        >>> from vlmlens.datasets.shapes import entries
        >>> [entry.question.category for entry in entries(3)]
        ['color_abs', 'color_rel', 'shape_abs']
    """
    if isinstance(categories, str):
        raise DataError(f"categories is a sequence of names: write ({categories!r},)")
    for category in texts(categories, "categories"):
        if category not in FORMS:
            raise UnknownNameError(category, FORMS, "These are the categories of shapes-2d.")
    whole(samples, "samples", most=MOST)
    if samples < 1 or not categories or len(set(categories)) < len(categories):
        raise DataError(
            f"cannot spread {samples} samples over the categories {', '.join(categories) or '()'}; "
            "ask for at least one sample, and name each category once"
        )
    streams = [_stream(seeded(seed, split, c), f"2ds-{split}-{seed}", split, c) for c in categories]
    return islice(chain.from_iterable(zip(*streams, strict=True)), samples)


def seeded(seed: int, split: str, label: str) -> np.random.Generator:
    """Randomness of its own for each seed, split and label, so that none depends on the others.

    Examples:
        >>> from vlmlens.datasets.shapes import seeded
        >>> test, again, train = (
        ...     seeded(0, split, "count").integers(1000) for split in ("test", "test", "train")
        ... )
        >>> bool(test == again), bool(test == train)
        (True, False)
    """
    if split not in SPLITS:
        raise UnknownNameError(split, SPLITS, "These are the splits of shapes-2d.")
    if seed < 0:
        raise DataError(f"the seed {seed} is negative; take 0 or more")
    return np.random.default_rng([seed, zlib.crc32(f"{split} {label}".encode())])


def _stream(rng: np.random.Generator, prefix: str, split: str, category: str) -> Iterator[Entry]:
    """Entries of one category without end."""
    answers = {form: _rounds(rng, possible) for form, possible in FORMS[category].items()}
    for number, form in enumerate(cycle(answers)):
        scene, question = _scene_asked(rng, split, category, form, next(answers[form]))
        yield Entry(f"{prefix}-{category}-{number:05d}", scene, question)


def _rounds(rng: np.random.Generator, answers: tuple[str, ...]) -> Iterator[str]:
    """Every answer once in random order, then every answer once more, without end."""
    while True:
        for i in rng.permutation(len(answers)):
            yield answers[i]


def _scene_asked(
    rng: np.random.Generator, split: str, category: str, form: str, answer: str
) -> tuple[Scene, Question]:
    """A random scene of the split, and a question of the form with that answer."""
    while True:
        scene = random_scene(rng)
        if scene.split != split:
            continue
        asked = [q for q in ask(scene, category) if q.form == form]
        if asked and form in _NAMING:
            # Waiting for one answer of 36 would throw away nearly every scene. All colours are
            # alike to ``random_scene``, and all kinds: exchanging names keeps its distribution.
            found = asked[rng.integers(len(asked))].answer
            scene = _with_names_exchanged(scene, found, answer)
            asked = [q for q in ask(scene, category) if q.form == form]
        asked = [q for q in asked if q.answer == answer]
        if asked:
            return scene, asked[rng.integers(len(asked))]


def _with_names_exchanged(scene: Scene, a: str, b: str) -> Scene:
    """Colours and kinds renamed so that what was ``a`` is ``b``, and the other way round."""
    a_words, b_words = a.split(), b.split()
    new = dict(zip(a_words + b_words, b_words + a_words, strict=True))
    return Scene(
        tuple(
            replace(s, color=new.get(s.color, s.color), shape=new.get(s.shape, s.shape))
            for s in scene.shapes
        )
    )
