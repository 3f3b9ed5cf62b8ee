"""Scenes of plain coloured shapes: geometry, edits and drawing.

Coordinates are fractions of the canvas, x to the right and y down, so a scene can be drawn at
any size.
"""

import math
import zlib
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from vlmlens.errors import InputError

COLORS = {
    "red": (222, 45, 45),
    "green": (38, 158, 70),
    "blue": (45, 85, 222),
    "yellow": (242, 214, 40),
    "purple": (140, 60, 185),
    "orange": (247, 143, 30),
}
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
BACKGROUND = (245, 245, 245)

#: Two centres count as apart along an axis when they differ by this much of the canvas.
MARGIN = 0.12
RADII = (0.095, 0.135)
#: How far apart shapes that are put elsewhere are at least, and how often places are drawn.
APART, TRIES = 0.08, 20_000
OVERSAMPLING = 3


@dataclass(frozen=True)
class Shape:
    """One plain coloured shape: its kind, colour, centre and radius.

    Examples:
        >>> from vlmlens.datasets.shapes import Shape
        >>> circle = Shape("circle", "red", x=0.5, y=0.25, radius=0.125)
        >>> circle.name, circle.box
        ('red circle', (0.375, 0.125, 0.625, 0.375))
    """

    shape: str
    color: str
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        """Colour and kind, as questions and answers say it: ``"red circle"``."""
        return f"{self.color} {self.shape}"

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom, in fractions of the canvas."""
        return (
            self.x - self.radius,
            self.y - self.radius,
            self.x + self.radius,
            self.y + self.radius,
        )


@dataclass(frozen=True)
class Scene:
    """Shapes on a plain ground, none of them touching another or the edge.

    Examples:
        >>> from vlmlens.datasets.shapes import Scene, Shape
        >>> left, right = (0.2, 0.5, 0.1), (0.8, 0.5, 0.1)
        >>> scene = Scene((Shape("circle", "red", *left), Shape("star", "blue", *right)))
        >>> scene.draw(size=64).size, scene.swap(0, 1).shapes[0].x
        ((64, 64), 0.8)
    """

    shapes: tuple[Shape, ...]

    def draw(self, size: int = 224) -> Image.Image:
        """The scene as a square RGB picture, its edges smoothed."""
        fine = size * OVERSAMPLING
        image = Image.new("RGB", (fine, fine), BACKGROUND)
        pen = ImageDraw.Draw(image)
        for shape in self.shapes:
            _draw(pen, shape, fine)
        return image.reduce(OVERSAMPLING)

    def swap(self, i: int, j: int) -> "Scene":
        """Shapes i and j change places; everything else about them stays."""
        a, b = self.shapes[i], self.shapes[j]
        return self._with({i: replace(a, x=b.x, y=b.y), j: replace(b, x=a.x, y=a.y)})

    def mirror(self) -> "Scene":
        """Left and right exchanged."""
        return Scene(tuple(replace(s, x=1 - s.x) for s in self.shapes))

    def shift(self, dx: float, dy: float) -> "Scene":
        """Everything moved by the same amount."""
        return Scene(tuple(replace(s, x=s.x + dx, y=s.y + dy) for s in self.shapes))

    def recolor(self, i: int, color: str) -> "Scene":
        """Shape i in another colour."""
        return self._with({i: replace(self.shapes[i], color=color)})

    def elsewhere(self, seed: int) -> "Scene":
        """The same shapes at other places, each at one side of each other, both ways.

        Args:
            seed: of the places.

        Raises:
            InputError: shapes that leave no room for other places.

        Examples:
            >>> moved = sample.images[0].scene.elsewhere(seed=0)
            >>> [shape.name for shape in moved.shapes], moved.fits()
            (['green diamond', 'blue circle'], True)
        """
        draws = np.random.default_rng(seed)
        for _ in range(TRIES):
            places = draws.uniform(0, 1, (len(self.shapes), 2))
            if (np.diff(np.sort(places, axis=0), axis=0) < APART).any():
                continue
            x, y = (np.round(axis, 4).tolist() for axis in places.T)
            moved = Scene(
                tuple(replace(s, x=a, y=b) for s, a, b in zip(self.shapes, x, y, strict=True))
            )
            if moved.fits():
                return moved
        raise InputError(
            f"these {len(self.shapes)} shapes leave no room for other places: move them by hand"
        )

    def fits(self) -> bool:
        """Whether no shape touches another or the edge."""
        inside = all(min(s.box) >= 0.01 and max(s.box) <= 0.99 for s in self.shapes)
        return inside and all(
            math.hypot(a.x - b.x, a.y - b.y) >= a.radius + b.radius + 0.02
            for i, a in enumerate(self.shapes)
            for b in self.shapes[:i]
        )

    @property
    def split(self) -> str:
        """``"test"`` for one layout in five, else ``"train"``.

        A layout is the set of cells of a 4 x 4 grid that hold a centre. It decides alone, so no
        layout of one split ever occurs in the other, whatever the colours and kinds.
        """
        cells = sorted({(int(s.y * 4), int(s.x * 4)) for s in self.shapes})
        return "test" if zlib.crc32(repr(cells).encode()) % 5 == 0 else "train"

    def _with(self, changed: dict[int, Shape]) -> "Scene":
        return Scene(tuple(changed.get(i, s) for i, s in enumerate(self.shapes)))


def random_scene(rng: np.random.Generator, count: int | None = None) -> Scene:
    """Shapes at random places, no two of them alike in both kind and colour.

    Args:
        rng: the source of randomness.
        count: how many shapes; by default 2 to 6, equally likely.

    Examples:
        >>> from vlmlens.datasets.shapes import random_scene
        >>> scene = random_scene(np.random.default_rng(0), count=3)
        >>> len({shape.name for shape in scene.shapes})
        3
    """
    count = int(rng.integers(2, 7)) if count is None else count
    names, kinds = list(COLORS), len(SHAPES)
    # Distinct colours or distinct kinds make questions that name one of them possible; scenes
    # with repeats are kept as well, or the model could count colours instead of shapes.
    if rng.random() < 0.6:
        pairs = list(zip(rng.permutation(len(names)), rng.permutation(kinds), strict=True))[:count]
    else:
        drawn = rng.choice(len(names) * kinds, size=count, replace=False)
        pairs = [divmod(int(d), kinds) for d in drawn]
    while True:
        placed: list[Shape] = []
        for color, kind in pairs:
            for _ in range(40):
                radius = float(rng.uniform(*RADII))
                x, y = (float(v) for v in rng.uniform(radius + 0.01, 0.99 - radius, 2))
                shape = Shape(SHAPES[int(kind)], names[int(color)], x, y, radius)
                if Scene((*placed, shape)).fits():
                    placed.append(shape)
                    break
        if len(placed) == count:
            return Scene(tuple(placed))


def _draw(pen: ImageDraw.ImageDraw, shape: Shape, size: int) -> None:
    x, y, r = shape.x * size, shape.y * size, shape.radius * size
    fill = COLORS[shape.color]
    match shape.shape:
        case "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
        case "square":
            side = 0.85 * r
            pen.rectangle((x - side, y - side, x + side, y + side), fill=fill)
        case "cross":
            arm = 0.34 * r
            pen.rectangle((x - r, y - arm, x + r, y + arm), fill=fill)
            pen.rectangle((x - arm, y - r, x + arm, y + r), fill=fill)
        case kind:
            corners = {"triangle": (3, 1.0), "diamond": (4, 1.0), "star": (10, 0.42)}
            points, inner = corners[kind]
            turns = [2 * math.pi * i / points - math.pi / 2 for i in range(points)]
            radii = [r if i % 2 == 0 else r * inner for i in range(points)]
            pen.polygon(
                [
                    (x + q * math.cos(t), y + q * math.sin(t))
                    for t, q in zip(turns, radii, strict=True)
                ],
                fill=fill,
            )
