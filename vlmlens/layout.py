"""TokenLayout: the role of every position, and each image's grid."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from vlmlens.errors import EmptySelectionError, InputError, UnknownRoleError

#: Every role that a position can play.
#: ``template`` is what the chat template writes around the messages: role tags and line ends.
ROLES = ("bos", "system", "template", "user", "vision", "assistant", "pad")


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """What each position of one sample is, and where each vision token looks.

    Attributes:
        roles: the role of every position, one of ``ROLES``.
        tokens: every position's token as text; empty strings without a tokenizer.
        image: index of the image among the sample's, -1 for what is no vision token.
        row: the token's row on that image's grid, from the top; -1 elsewhere.
        column: its column, from the left; -1 elsewhere.
        box: left, top, right, bottom in pixels of the ORIGINAL image; NaN elsewhere, and where
            the original's size is unknown.
    """

    roles: tuple[str, ...]
    tokens: tuple[str, ...]
    image: Int[np.ndarray, " pos"]
    row: Int[np.ndarray, " pos"]
    column: Int[np.ndarray, " pos"]
    box: Float[np.ndarray, "pos 4"]

    def __post_init__(self):
        for role in set(self.roles) - set(ROLES):
            raise UnknownRoleError(role, ROLES)

    def __len__(self) -> int:
        return len(self.roles)

    def mask(self, *roles: str) -> Bool[np.ndarray, " pos"]:
        """Which positions play one of the roles.

        Raises:
            UnknownRoleError: a role that does not exist.
        """
        for role in roles:
            if role not in ROLES:
                raise UnknownRoleError(role, ROLES)
        return np.isin(np.array(self.roles), roles)

    def positions(self, *roles: str) -> Int[np.ndarray, " chosen"]:
        """The positions that play one of the roles, in order.

        Raises:
            UnknownRoleError: a role that does not exist.
            EmptySelectionError: no position plays any of them.
        """
        found = np.flatnonzero(self.mask(*roles))
        if not len(found):
            there = ", ".join(role for role in ROLES if role in self.roles)
            raise EmptySelectionError(
                f"no position plays the role {' or '.join(roles)}; this input has: {there}"
            )
        return found

    @property
    def images(self) -> int:
        """How many images the sample holds."""
        return int(self.image.max(initial=-1)) + 1

    def vision(self, image: int) -> Int[np.ndarray, " patch"]:
        """The positions of one image's tokens, row by row; dropped ones are padding now."""
        found = np.flatnonzero((self.image == image) & (self.row >= 0) & ~self.mask("pad"))
        return found[np.lexsort((self.column[found], self.row[found]))]

    def grid(self, image: int = 0) -> tuple[int, int]:
        """Rows and columns of one image's tokens.

        Raises:
            EmptySelectionError: the sample holds no such image.
        """
        here = self.vision(image)
        if not len(here):
            raise EmptySelectionError(f"no image {image}: this sample holds {self.images}")
        return int(self.row[here].max()) + 1, int(self.column[here].max()) + 1

    def within(self, box: Iterable[float], image: int = 0) -> Int[np.ndarray, " chosen"]:
        """The vision tokens whose pixels overlap a box of the original image.

        Args:
            box: left, top, right, bottom, in pixels of the original image.
            image: which of the sample's images.
        """
        left, top, right, bottom = box
        here = self.vision(image)
        b = self.box[here]
        if np.isnan(b).any():
            raise InputError("the original image's size is unknown: pass images, not pixel_values")
        over = (b[:, 0] < right) & (b[:, 2] > left) & (b[:, 1] < bottom) & (b[:, 3] > top)
        return here[over]

    def extended(self, tokens: Iterable[str], role: str = "assistant") -> "TokenLayout":
        """The layout after tokens are appended, all of them in one role."""
        tokens = tuple(tokens)
        return replace(
            self,
            roles=self.roles + (role,) * len(tokens),
            tokens=self.tokens + tokens,
            **{
                name: np.concatenate([getattr(self, name), [-1] * len(tokens)]).astype(int)
                for name in ("image", "row", "column")
            },
            box=np.concatenate([self.box, np.full((len(tokens), 4), np.nan)]),
        )

    def padded(self, length: int, side: str) -> "TokenLayout":
        """The layout with padding on the left or right, ``length`` positions in all."""
        extra = length - len(self)
        around = (extra, 0) if side == "left" else (0, extra)
        before, after = ("pad",) * around[0], ("pad",) * around[1]
        blank_before, blank_after = ("",) * around[0], ("",) * around[1]
        return TokenLayout(
            before + self.roles + after,
            blank_before + self.tokens + blank_after,
            np.pad(self.image, around, constant_values=-1),
            np.pad(self.row, around, constant_values=-1),
            np.pad(self.column, around, constant_values=-1),
            np.pad(self.box, (around, (0, 0)), constant_values=np.nan),
        )

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{self.roles.count(role)} {role}" for role in ROLES if role in self.roles
        )
        return f"TokenLayout({len(self)} positions: {counts})"
