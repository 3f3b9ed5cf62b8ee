"""TokenLayout: the role of every position, and each image's grid."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from vlmlens.checks import whole
from vlmlens.errors import EmptySelectionError, InputError, UnknownRoleError
from vlmlens.roles import KINDS as KINDS
from vlmlens.roles import ROLES as ROLES
from vlmlens.roles import lengthened, turns_of
from vlmlens.view import View as View  # where it is known from
from vlmlens.view import covered

#: The end of what a token says that ends inside a letter: what a decoder writes for such bytes.
CUT = "\ufffd"

#: What a box is, in this order, in pixels of the original image.
EDGES = ("left", "top", "right", "bottom")

#: What an original's size is called beside values that lie on it.
SIZE = ("picture_width", "picture_height")


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """What each position of one sample is, and where each vision token looks.

    Attributes:
        roles: the role of every position, one of ``ROLES``.
        tokens: every position's token as text; empty strings without a tokenizer.
        image: index of the image among the sample's, -1 for what is no vision token.
        row: the token's row on that grid, from the top; -1 elsewhere.
        column: its column, from the left; -1 elsewhere.
        tile: index of the grid among the image's, in the order of the tokens; -1 elsewhere.
            By default every image is one grid.
        kind: what the position is of its image, one of ``KINDS``. Newlines and registers play the
            role ``vision`` and have no row; separators play the role ``template``. By default
            all that has a row is a patch.
        box: left, top, right, bottom in pixels of the ORIGINAL image; NaN elsewhere, and where
            the original's size is unknown.
        sizes: width and height of every original image; None, or nothing, where unknown.
        spelled: what each token adds to the text: whole letters, and ``CUT`` at the end where the
            token ends inside one. By default ``tokens``.
        turn: the turn of every position, counted from 0: what the user says and shows up to the
            assistant's answer and with it, and what the template writes around them. -1 for the
            start token, for a system prompt that comes first, and for padding. By default a turn
            begins where the user speaks after the assistant.

    Examples:
        >>> layout = model.inputs(sample).layouts[0]
        >>> layout, layout.grid()
        (TokenLayout(78 positions: 1 bos, 6 template, 7 user, 64 vision), (8, 8))
        >>> [layout.tokens[at] for at in layout.positions("user")]
        ['What', ' color', ' is', ' at', ' the', ' top', '?']
    """

    roles: tuple[str, ...]
    tokens: tuple[str, ...]
    image: Int[np.ndarray, " pos"]
    row: Int[np.ndarray, " pos"]
    column: Int[np.ndarray, " pos"]
    box: Float[np.ndarray, "pos 4"]
    tile: Int[np.ndarray, " pos"] = None  # type: ignore[assignment]
    kind: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int] | None, ...] = ()
    spelled: tuple[str, ...] = ()
    turn: Int[np.ndarray, " pos"] = None  # type: ignore[assignment]

    def __post_init__(self):
        if self.turn is None:
            object.__setattr__(self, "turn", turns_of(self.roles))
        if not self.spelled:
            object.__setattr__(self, "spelled", self.tokens)
        if self.tile is None:
            object.__setattr__(self, "tile", np.where(self.row >= 0, 0, -1))
        if not self.kind:
            patches = ("patch" if row >= 0 else "" for row in self.row)
            object.__setattr__(self, "kind", tuple(patches))
        for role in set(self.roles) - set(ROLES):
            raise UnknownRoleError(role, ROLES)
        # Every position's role by its place in ROLES: sweeps ask often which positions play one.
        object.__setattr__(self, "_numbers", np.array([ROLES.index(role) for role in self.roles]))

    def __len__(self) -> int:
        return len(self.roles)

    def mask(self, *roles: str) -> Bool[np.ndarray, " pos"]:
        """Which positions play one of the roles.

        Raises:
            UnknownRoleError: a role that does not exist.

        Examples:
            >>> mask = model.inputs(sample).layouts[0].mask("user", "vision")
            >>> mask.shape, int(mask.sum())
            ((78,), 71)
        """
        for role in roles:
            if not isinstance(role, str) or role not in ROLES:
                raise UnknownRoleError(role, ROLES)
        found = np.zeros(len(self.roles), dtype=bool)
        for role in roles:
            found |= self._numbers == ROLES.index(role)
        return found

    def positions(self, *roles: str) -> Int[np.ndarray, " chosen"]:
        """The positions that play one of the roles, in order.

        Raises:
            UnknownRoleError: a role that does not exist.
            EmptySelectionError: no position plays any of them.

        Examples:
            >>> model.inputs(sample).layouts[0].positions("user")
            array([69, 70, 71, 72, 73, 74, 75])
        """
        found = np.flatnonzero(self.mask(*roles))
        if not len(found):
            there = ", ".join(role for role in ROLES if role in self.roles)
            raise EmptySelectionError(
                f"no position plays the role {' or '.join(roles)}; this input has: {there}"
            )
        return found

    @property
    def turns(self) -> int:
        """How many turns there are.

        Examples:
            >>> model.inputs(sample).layouts[0].turns
            1
        """
        return int(self.turn.max(initial=-1)) + 1

    def answer(self) -> Int[np.ndarray, " chosen"]:
        """The positions of the last turn's answer: what the assistant says there, perhaps nothing.

        What it said in earlier turns is part of the prompt.

        Examples:
            >>> model.inputs(sample, answers=["red"]).layouts[0].answer()
            array([78, 79])
        """
        return np.flatnonzero(self.mask("assistant") & (self.turn == self.turns - 1))

    @property
    def images(self) -> int:
        """How many images the sample holds."""
        return int(self.image.max(initial=-1)) + 1

    def vision(self, image: int, tile: int | None = None) -> Int[np.ndarray, " patch"]:
        """The positions of one image's patches, tile by tile and row by row.

        Newlines and registers are none. Dropped ones are padding now.

        Examples:
            >>> layout = model.inputs(sample).layouts[0]
            >>> layout.vision(0)[:3], layout.row[layout.vision(0)[-1]]
            (array([4, 5, 6]), np.int64(7))
        """
        here = (self.image == whole(image, "image")) & (self.row >= 0) & ~self.mask("pad")
        if tile is not None:
            here &= self.tile == whole(tile, "tile")
        found = np.flatnonzero(here)
        return found[np.lexsort((self.column[found], self.row[found], self.tile[found]))]

    def tiles(self, image: int = 0) -> int:
        """How many grids an image's patches lie on: its tiles, and its thumbnail.

        A tile of a picture so thin that none of its patches is kept does not count.

        Examples:
            >>> model.inputs(sample).layouts[0].tiles()  # LLaVA-1.5 shows every picture whole
            1
        """
        return int(self.tile[self.vision(image)].max(initial=-1)) + 1

    def grid(self, image: int = 0, tile: int = 0) -> tuple[int, int]:
        """Rows and columns of one image's tokens, on one of its tiles.

        Raises:
            EmptySelectionError: the sample holds no such image, or the image no such tile.

        Examples:
            >>> model.inputs(sample).layouts[0].grid()
            (8, 8)
        """
        here = self.vision(image, tile)
        if not len(here):
            raise EmptySelectionError(
                f"no tile {tile} of image {image}: this sample holds {self.images} image(s), with "
                f"{', '.join(str(self.tiles(i)) for i in range(self.images)) or 'no'} tile(s)"
            )
        return int(self.row[here].max()) + 1, int(self.column[here].max()) + 1

    def shown(self, image: int = 0) -> tuple[float, float, float, float]:
        """The rectangle around all that an original image's patches look at: what a crop leaves.

        Returns:
            Left, top, right and bottom, in pixels of the original.

        Raises:
            EmptySelectionError: the sample holds no such image.
            InputError: the original's size is unknown.

        Examples:
            >>> from PIL import Image
            >>> wide = Image.new("RGB", (96, 64), "red")  # of which a square crop leaves the middle
            >>> model.inputs(wide, "What is this?").layouts[0].shown()
            (16.0, 0.0, 80.0, 64.0)
        """
        boxes, size = self._boxes(image)
        low, high = boxes[:, :2].min(0).clip(min=0), boxes[:, 2:].max(0).clip(max=size)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def seen(self, image: int = 0) -> float:
        """Share of an original image's pixels that at least one of its patches looks at.

        1 is all of them. Less is what a crop to a square, or patches that leave a strip over,
        hide from the model: of a picture three times as wide as high, a centre crop leaves 1/3.

        Raises:
            EmptySelectionError: the sample holds no such image.
            InputError: the original's size is unknown.

        Examples:
            >>> model.inputs(sample).layouts[0].seen()  # a square picture: nothing is cropped
            1.0
        """
        boxes, size = self._boxes(image)
        return min(covered(boxes) / (size[0] * size[1]), 1.0)

    def _boxes(self, image: int) -> tuple[Float[np.ndarray, "patch 4"], tuple[int, int]]:
        """What an image's patches look at, and the original's size."""
        boxes, image = self.box[self.vision(image)], whole(image, "image")
        if not len(boxes):
            raise EmptySelectionError(f"no image {image}: this sample holds {self.images}")
        size = self.sizes[image] if 0 <= image < len(self.sizes) else None
        if size is None or np.isnan(boxes).any():
            raise InputError("the original image's size is unknown: pass images, not pixel_values")
        return boxes, size

    def within(self, box: Iterable[int | float], image: int = 0) -> Int[np.ndarray, " chosen"]:
        """The vision tokens whose pixels overlap a box of the original image.

        Args:
            box: left, top, right, bottom, in pixels of the original image.
            image: which of the sample's images.

        Examples:
            >>> layout = model.inputs(sample).layouts[0]  # 224 x 224 pixels, 28 a token
            >>> layout.within((0, 0, 28, 56)) - layout.vision(0)[0]
            array([0, 8])
        """
        left, top, right, bottom = box
        here = self.vision(image)
        b = self.box[here]
        if np.isnan(b).any():
            raise InputError("the original image's size is unknown: pass images, not pixel_values")
        over = (b[:, 0] < right) & (b[:, 2] > left) & (b[:, 1] < bottom) & (b[:, 3] > top)
        return here[over]

    def extended(
        self, tokens: Iterable[str], role: str = "assistant", spelled: Iterable[str] = ()
    ) -> "TokenLayout":
        """The layout after tokens are appended, all of them in one role.

        Examples:
            >>> model.inputs(sample).layouts[0].extended([" red"]).roles[-1]
            'assistant'
        """
        tokens = tuple(tokens)
        made = lengthened(self, 0, len(tokens), role)
        made["tokens"] = self.tokens + tokens
        made["spelled"] = self.spelled + (tuple(spelled) or tokens)
        made["turn"][len(self) :] = max(self.turns - 1, 0)
        return replace(self, **made)

    def padded(self, length: int, side: str) -> "TokenLayout":
        """The layout with padding on the left or right, ``length`` positions in all.

        Examples:
            >>> model.inputs(sample).layouts[0].padded(80, "left").roles[:3]
            ('pad', 'pad', 'bos')
        """
        extra = length - len(self)
        before, after = (extra, 0) if side == "left" else (0, extra)
        return replace(self, **lengthened(self, before, after, "pad"))

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{self.roles.count(role)} {role}" for role in ROLES if role in self.roles
        )
        turns = f" in {self.turns} turns" if self.turns > 1 else ""
        return f"TokenLayout({len(self)} positions: {counts}{turns})"
