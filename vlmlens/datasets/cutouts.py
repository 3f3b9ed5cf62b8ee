"""Matched pairs of photographs: things cut out of pictures, pasted on others, moved by one edit.

The pictures come with scikit-learn: a pagoda by a lake, and a dahlia before leaves (creative
commons, by danielbuechele and vultilion).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from itertools import cycle, islice
from math import cos, sin, tau
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from vlmlens.annotations import checked
from vlmlens.checks import whole
from vlmlens.datasets.shapes.pairs import Pair
from vlmlens.errors import DataError, UnknownNameError
from vlmlens.extras import require
from vlmlens.sample import Sample

#: What can be pasted: its picture, its outline there, and the hue that it is said to have.
THINGS = {
    "flower": (
        "flower.jpg",
        [(309 + 133 * cos(n * tau / 36), 223 + 133 * sin(n * tau / 36)) for n in range(36)],
        "orange",
    ),
    "tower": (
        "china.jpg",
        [(198, 30), (213, 30), (218, 60), (265, 100), (320, 122), (304, 136), (304, 157),
         (329, 173), (320, 187), (321, 229), (352, 250), (334, 266), (341, 318), (80, 318),
         (82, 286), (63, 262), (106, 229), (104, 187), (84, 173), (113, 157), (107, 134),
         (94, 121), (153, 96), (197, 60)],
        "red",
    ),
}  # fmt: skip
#: Where photographs show neither: (picture, left, top, right, bottom).
PLACES = (("china.jpg", 385, 0, 640, 427), ("flower.jpg", 0, 0, 160, 427))
#: What a hue is turned by, and what it is then called: said of things whose own hue is warm.
TURNED = {"": 0.0, "green": 0.30, "blue": 0.58, "purple": 0.75}
SIZE, LEAST, MOST = 224, 0.28, 0.40
Edited: TypeAlias = tuple["Pasted", tuple[int, ...]] | None


@dataclass(frozen=True)
class Thing:
    """Something pasted on a photograph.

    Attributes:
        name: of ``THINGS``.
        x: its centre from the left, as a share of the picture's width.
        y: from the top.
        size: its longer side, as a share.
        color: "" as photographed, or what its hue is turned to.
    """

    name: str
    x: float
    y: float
    size: float
    color: str = ""

    @property
    def said(self) -> str:
        """Its colour, in a word."""
        return self.color or THINGS[self.name][2]

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom, as shares; the shorter side is narrower than this."""
        half = self.size / 2
        return self.x - half, self.y - half, self.x + half, self.y + half


@dataclass(frozen=True)
class Pasted:
    """A photograph with things pasted on it, drawn when somebody opens it.

    Attributes:
        place: index of ``PLACES``.
        corner: of the square that is cut out there, as shares of what there is to choose from.
        things: in the order in which they are pasted.
        size: width and height, in pixels.
        mirrored: whether left and right of the photograph are exchanged.
    """

    place: int
    corner: tuple[float, float]
    things: tuple[Thing, ...]
    size: int = SIZE
    mirrored: bool = False

    def __call__(self) -> Image.Image:
        """Draw it."""
        name, left, top, right, bottom = PLACES[self.place]
        side = min(right - left, bottom - top)
        x = left + round(self.corner[0] * (right - left - side))
        y = top + round(self.corner[1] * (bottom - top - side))
        made = _photograph(name).crop((x, y, x + side, y + side)).resize((self.size, self.size))
        if self.mirrored:
            made = made.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for thing in self.things:
            cut = _cutout(thing.name, thing.color, round(thing.size * self.size), self.mirrored)
            at = (
                round(thing.x * self.size) - cut.width // 2,
                round(thing.y * self.size) - cut.height // 2,
            )
            made.paste(cut, at, cut)
        return made

    def fits(self) -> bool:
        """Whether everything is inside, apart, and clearly left or right of each other."""
        boxes = [thing.box() for thing in self.things]
        inside = all(min(box) >= 0.01 and max(box) <= 0.99 for box in boxes)
        (a, b), gap = self.things, abs(self.things[0].x - self.things[1].x)
        return inside and gap > (a.size + b.size) / 2


@checked
def photo_pairs(pairs: int = 100, *, kind: str, seed: int = 0, size: int = SIZE) -> list[Pair]:
    """Pairs of photographs under one prompt, whose answers differ by a known edit.

    * ``"swap"``: the two things change places. The answer differs.
    * ``"mirror"``: left and right exchanged, in the whole picture. So is the answer.
    * ``"recolor"``: the thing that is asked for in another hue. Same places, other answer.
    * ``"shift"``: both things moved alike. The answer stays: the control.

    Of a pair both pictures have one size, one photograph behind, and one question; answers are a
    word each.

    Args:
        pairs: how many.
        kind: one of the four.
        seed: another seed, other pairs.
        size: width and height of the pictures, in pixels.

    Raises:
        UnknownNameError: a kind that is not there.
        DataError: no pairs.
        MissingToolError: scikit-learn is not installed, which the photographs come with.

    Examples:
        >>> pair = vl.datasets.photo_pairs(1, kind="swap")[0]
        >>> pair.clean.question == pair.corrupted.question
        True
        >>> pair.clean.answer == pair.corrupted.answer
        False
    """
    if kind not in EDITS:
        raise UnknownNameError(kind, EDITS, "These are the kinds of pairs.")
    if pairs < 1:
        raise DataError(f"{pairs} pairs asked for; ask for at least one")
    require("sklearn", "photo_pairs", "counterfactual_pairs draws shapes, and needs none")
    rng = np.random.default_rng([whole(seed, "seed", least=0), sorted(EDITS).index(kind)])
    apply, forms = EDITS[kind]
    made = []
    for number, form in enumerate(islice(cycle(forms), whole(pairs, "pairs"))):
        before, after, changed = _edited(rng, apply, whole(size, "size", least=16))
        name = f"photo-{seed}-{kind}-{number:05d}"
        both = [form(scene, before.things[0].name) for scene in (before, after)]
        clean, corrupted = (
            replace(one, id=f"{name}-{which}")
            for one, which in zip(both, ("clean", "corrupted"), strict=True)
        )
        made.append(Pair(clean, corrupted, kind, changed))
    return made


def _edited(
    rng: np.random.Generator, apply: Callable[[Pasted, np.random.Generator], Edited], size: int
) -> tuple[Pasted, Pasted, tuple[int, ...]]:
    while True:
        names = rng.permutation(sorted(THINGS)).tolist()
        drawn = [(*rng.uniform(0.15, 0.85, 2), rng.uniform(LEAST, MOST)) for _ in names]
        things = tuple(
            Thing(name, float(x), float(y), float(longer))
            for name, (x, y, longer) in zip(names, drawn, strict=True)
        )
        corner = (float(rng.random()), float(rng.random()))
        scene = Pasted(int(rng.integers(len(PLACES))), corner, things, size)
        if not scene.fits() or (found := apply(scene, rng)) is None:
            continue
        if found[0].fits():
            return scene, *found


def _swap(scene: Pasted, _: np.random.Generator) -> Edited:
    a, b = scene.things
    return replace(scene, things=(replace(a, x=b.x, y=b.y), replace(b, x=a.x, y=a.y))), (0, 1)


def _mirror(scene: Pasted, _: np.random.Generator) -> Edited:
    things = tuple(replace(thing, x=1 - thing.x) for thing in scene.things)
    return replace(scene, things=things, mirrored=True), (0, 1)


def _shift(scene: Pasted, rng: np.random.Generator) -> Edited:
    dx, dy = rng.uniform(-0.4, 0.4, 2).tolist()
    if max(abs(dx), abs(dy)) < 0.1:
        return None
    things = tuple(replace(thing, x=thing.x + dx, y=thing.y + dy) for thing in scene.things)
    return replace(scene, things=things), (0, 1)


def _recolor(scene: Pasted, rng: np.random.Generator) -> Edited:
    hue = str(rng.choice([name for name in TURNED if name]))
    first, *rest = scene.things
    return replace(scene, things=(replace(first, color=hue), *rest)), (0,)


def _which(scene: Pasted, _: str) -> Sample:
    names = tuple(sorted(THINGS))
    left = min(scene.things, key=lambda thing: thing.x).name
    return Sample(
        f"Which is on the left, the {names[0]} or the {names[1]}?", (scene,), left, names, "which"
    )


def _side(scene: Pasted, name: str) -> Sample:
    own, other = sorted(scene.things, key=lambda thing: thing.name != name)
    return Sample(
        f"Is the {name} to the left or to the right of the {other.name}?",
        (scene,),
        "left" if own.x < other.x else "right",
        ("left", "right"),
        "side",
    )


def _yes_no(scene: Pasted, name: str) -> Sample:
    own, other = sorted(scene.things, key=lambda thing: thing.name != name)
    return Sample(
        f"Is the {name} to the left of the {other.name}?",
        (scene,),
        "yes" if own.x < other.x else "no",
        ("yes", "no"),
        "yes_no",
    )


def _color(scene: Pasted, name: str) -> Sample:
    own = next(thing for thing in scene.things if thing.name == name)
    choices = (THINGS[name][2], *(hue for hue in TURNED if hue))
    return Sample(f"What color is the {name}?", (scene,), own.said, choices, "color")


PLACED = (_which, _side, _yes_no)
EDITS = {
    "swap": (_swap, PLACED),
    "mirror": (_mirror, PLACED),
    "shift": (_shift, PLACED),
    "recolor": (_recolor, (_color,)),
}


@lru_cache(maxsize=4)
def _photograph(name: str) -> Image.Image:
    with (files("sklearn.datasets.images") / name).open("rb") as file:
        return Image.open(file).convert("RGB")


@lru_cache(maxsize=256)
def _cutout(name: str, color: str, side: int, mirrored: bool) -> Image.Image:
    """A thing with its outline as alpha, its longer side so many pixels."""
    picture, outline, _ = THINGS[name]
    photograph = _photograph(picture)
    alpha = Image.new("L", photograph.size)
    ImageDraw.Draw(alpha).polygon(outline, fill=255)
    cut = _turned(photograph, TURNED[color]).convert("RGBA")
    cut.putalpha(alpha.filter(ImageFilter.GaussianBlur(1)))
    cut = cut.crop(alpha.getbbox())
    scale = side / max(cut.size)
    cut = cut.resize(
        (round(cut.width * scale), round(cut.height * scale)), Image.Resampling.LANCZOS
    )
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else cut


def _turned(picture: Image.Image, by: float) -> Image.Image:
    """The picture with its hue turned by a share of the circle."""
    hue, saturation, value = picture.convert("HSV").split()
    hue = hue.point([(n + round(255 * by)) % 256 for n in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB") if by else picture
