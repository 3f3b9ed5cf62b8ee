"""Positions by what their tokens say."""

from dataclasses import dataclass

import numpy as np

from vlmlens.errors import EmptySelectionError
from vlmlens.layout import TokenLayout
from vlmlens.positions.selection import Mask, Selection


@dataclass(frozen=True, repr=False)
class Text(Selection):
    """Tokens that spell a text, wherever it stands: ``Text("left of")``.

    Spaces do not count, and case does. The text begins where a token begins and ends where one
    ends, so ``Text("is")`` does not mean a part of ``this``.
    """

    text: str

    def mask(self, layout: TokenLayout) -> Mask:
        wanted = "".join(self.text.split())
        found = np.zeros(len(layout), dtype=bool)
        words = [
            "" if role in ("pad", "vision") else "".join(token.split())
            for role, token in zip(layout.roles, layout.tokens, strict=True)
        ]
        for start, first in enumerate(words):
            said, end = first, start
            while said and len(said) < len(wanted) and end + 1 < len(words):
                end += 1
                said += words[end]
            if wanted and said == wanted:
                found[start : end + 1] = [bool(word) for word in words[start : end + 1]]
        return found

    def of(self, layout: TokenLayout) -> Mask:
        found = self.mask(layout)
        if not found.any():
            if not any(layout.tokens):
                raise EmptySelectionError(f"{self!r}: these inputs came without the tokens' text")
            roles = zip(layout.roles, layout.tokens, strict=True)
            said = " ".join(t.strip() for r, t in roles if r not in ("pad", "vision"))
            raise EmptySelectionError(f"no tokens spell {self.text!r}; there is: {said}")
        return found
