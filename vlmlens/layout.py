"""TokenLayout: the role of every position, and what each vision token is of."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from vlmlens.errors import EmptySelectionError, UnknownRoleError
from vlmlens.looking import Looking
from vlmlens.roles import KINDS as KINDS
from vlmlens.roles import ROLES as ROLES
from vlmlens.roles import lengthened, turns_of
from vlmlens.view import View as View  # where it is known from

#: The end of what a token says that ends inside a letter: what a decoder writes for such bytes.
CUT = "\ufffd"

#: What a box is, in this order, in pixels of the original image.
EDGES = ("left", "top", "right", "bottom")

#: What an original's size is called beside values that lie on it.
SIZE = ("picture_width", "picture_height")

#: What the rows and columns of a token's grid are called beside the token's own.
SPANS = ("grid_rows", "grid_columns")


@dataclass(frozen=True, eq=False)
class TokenLayout(Looking):
    """What each position of one sample is, and where each vision token looks.

    Attributes:
        roles: the role of every position, one of ``ROLES``. A token that an edit takes out plays
            ``pad``; what it was of is still said below, so that the others keep their numbers.
        tokens: every position's token as text; empty strings without a tokenizer.
        image: index of the image among the sample's, -1 for what is no vision token. Pictures
            come first, then each video as one.
        row: the token's row on that grid, from the top; -1 elsewhere.
        column: its column, from the left; -1 elsewhere.
        tile: index of the grid among the image's, in the order of the tokens; -1 elsewhere.
            By default every image is one grid. A video's frames are its tiles.
        kind: what the position is of its image, one of ``KINDS``. Newlines and registers play the
            role ``vision`` and have no row; separators play the role ``template``. By default
            all that has a row is a patch. What ``DropTokens`` took out is nothing.
        box: left, top, right, bottom in pixels of the ORIGINAL image; NaN elsewhere, and where
            the original's size is unknown.
        sizes: width and height of every original image; None, or nothing, where unknown.
        spelled: what each token adds to the text: whole letters, and ``CUT`` at the end where the
            token ends inside one. By default ``tokens``.
        turn: the turn of every position, counted from 0: what the user says and shows up to the
            assistant's answer and with it, and what the template writes around them. -1 for the
            start token, for a system prompt that comes first, and for padding. By default a turn
            begins where the user speaks after the assistant.
        video: index of the video among the sample's; -1 elsewhere.
        frame: index of the frame among the video's, counted as its tokens are: where a tower
            merges frames, of the merged one; -1 elsewhere.
        seconds: the frame's time from the start of the video, of merged ones the mean; NaN
            elsewhere, and where nobody says how many frames a second holds.

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
    video: Int[np.ndarray, " pos"] = None  # type: ignore[assignment]
    frame: Int[np.ndarray, " pos"] = None  # type: ignore[assignment]
    seconds: Float[np.ndarray, " pos"] = None  # type: ignore[assignment]

    def __post_init__(self):
        if self.turn is None:
            object.__setattr__(self, "turn", turns_of(self.roles))
        for name, blank in (("video", -1), ("frame", -1), ("seconds", np.nan)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(len(self.roles), blank))
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

    def standing(self) -> list[int]:
        """The numbers of the images in the order that they stand in, as a tower is shown them.

        Pictures are numbered before videos, wherever they stand.

        Examples:
            >>> model.inputs(sample).layouts[0].standing()
            [0]
        """
        shown = self.image[self.image >= 0].tolist()
        return [*dict.fromkeys(shown)]

    def spans(self) -> dict[str, Int[np.ndarray, " pos"]]:
        """How many rows and columns the grid has that each position lies on; -1 elsewhere.

        Places count whose tokens a processor left out, or an edit dropped.

        Returns:
            ``grid_rows`` and ``grid_columns``, which figures read beside ``row`` and ``column``.

        Examples:
            >>> spans = model.inputs(sample).layouts[0].spans()
            >>> spans["grid_rows"].max(), spans["grid_columns"].max()
            (np.int64(8), np.int64(8))
        """
        found = np.full((2, len(self)), -1)
        for image in range(self.images):
            own = (self.image == image) & (self.row >= 0) & ~self.mask("pad")
            for tile in np.unique(self.tile[own]).tolist():
                found[:, own & (self.tile == tile)] = np.array([self.grid(image, tile)]).T
        return dict(zip(SPANS, found, strict=True))

    def answer(self) -> Int[np.ndarray, " chosen"]:
        """The positions of the last turn's answer: what the assistant says there, perhaps nothing.

        What it said in earlier turns is part of the prompt.

        Examples:
            >>> model.inputs(sample, answers=["red"]).layouts[0].answer()
            array([78, 79])
        """
        return np.flatnonzero(self.mask("assistant") & (self.turn == self.turns - 1))

    def telling(self) -> Int[np.ndarray, " chosen"]:
        """The positions whose logits say what the answer is: of each of its tokens, the one before.

        Where that was dropped, it is the last before it that stands.

        Raises:
            EmptySelectionError: there is no answer, or nothing before it.

        Examples:
            >>> model.inputs(sample, answers=["red"]).layouts[0].telling()
            array([77, 78])
        """
        said, standing = self.answer(), np.flatnonzero(~self.mask("pad"))
        if not len(said) or said[0] == standing[0]:
            lacks = "no answer" if not len(said) else "nothing before its answer"
            raise EmptySelectionError(f"{self} holds {lacks}: model.inputs(..., answers=...)")
        return standing[np.searchsorted(standing, said) - 1]

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
