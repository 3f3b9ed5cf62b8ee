"""Positions by what their tokens say."""

from dataclasses import dataclass
from unicodedata import normalize

import numpy as np

from vlmlens.errors import EmptySelectionError
from vlmlens.layout import CUT, TokenLayout
from vlmlens.positions.selection import Mask, Selection


@dataclass(frozen=True, repr=False)
class Text(Selection):
    """Tokens that spell a text, wherever it stands: ``Text("left of")``.

    Spaces do not count, and case does. The text begins where a token begins and ends where one
    ends, so ``Text("is")`` does not mean a part of ``this``. Where a letter is cut into several
    tokens (accents, Chinese, emoji) all of them are meant.

    Examples:
        >>> from vlmlens.positions import Text
        >>> layout = model.inputs(sample).layouts[0]  # What color is at the top?
        >>> [layout.tokens[at] for at in Text("at the top").of(layout).nonzero()[0]]
        [' at', ' the', ' top']
    """

    text: str

    def mask(self, layout: TokenLayout) -> Mask:
        found = np.zeros(len(layout), dtype=bool)
        silent = [role in ("pad", "vision") for role in layout.roles]
        pieces = ["" if no else p for no, p in zip(silent, layout.spelled, strict=True)]
        cut = [piece.endswith(CUT) for piece in pieces]  # it ends inside a letter
        words = ["".join(piece.removesuffix(CUT).split()) for piece in pieces]
        # A tokenizer may have composed its letters in another way than the one who asks.
        forms = {normalize(form, self.text) for form in ("NFC", "NFD", "NFKC")} | {self.text}
        for wanted in {"".join(form.split()) for form in forms} - {""}:
            for start in range(len(words)):
                end = _end(words, start, wanted)
                if end is None:
                    continue
                first = start
                while first and cut[first - 1] and not silent[first - 1]:
                    first -= 1  # the tokens that begin its first letter
                    if words[first]:
                        break
                for at in range(first, end + 1):
                    found[at] = bool(words[at]) or cut[at]
        return found

    def of(self, layout: TokenLayout) -> Mask:
        found = self.mask(layout)
        if not found.any():
            if not any(layout.tokens):
                raise EmptySelectionError(f"{self!r}: these inputs came without the tokens' text")
            pieces = zip(layout.roles, layout.spelled, strict=True)
            said = " ".join(
                t.removesuffix(CUT).strip()
                for r, t in pieces
                if r not in ("pad", "vision") and t != CUT
            )
            raise EmptySelectionError(f"no tokens spell {self.text!r}; there is: {said}")
        return found


def _end(words: list[str], start: int, wanted: str) -> int | None:
    """Where a text that begins with a word ends with one; None if it does not stand there."""
    said, end = words[start], start
    if not said:
        return None
    while wanted.startswith(said):
        if said == wanted:
            return end
        end += 1
        if end == len(words):
            return None
        said += words[end]
    return None
