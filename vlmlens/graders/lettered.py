"""Letters that stand for an option: "B", "(b)", "option B"; and those that are only words."""

import re
from collections.abc import Sequence

from vlmlens.graders.options import Option
from vlmlens.graders.words import ARTICLES, SCRIPTS, read

#: What may come after a letter that stands alone: an end, a sign, a word that no article has
#: after it. "I would" and its like begin with no letter.
_AFTER = re.compile(
    r"[*_\"`”’']*(?:\s*$|\s*\n|[^\w\s.'’#+%°@^~\-–]|\.(?!\w)|\s+[^\w\s]|\s*[/+]\s*[\w(]|[-–][A-Z](?!\w)|"
    r"\s+[A-Z](?![\w'’])|\s+(?:or|and|nor|but|is|vs|versus|because|since|over|than|alone|only|also)\b|"
    rf"\s+not\s+[A-Z](?!\w)|\s+[{SCRIPTS}]|"
    r"(?<![Ii])\s+(?:as|if|it|was|would|could|should|must|will|can|may|might|has|does|seems|appears|"
    r"looks|fits|matches|to|for|in|on|at|of|with|from|here|rather|instead)\b)"
)
_CLOSED = re.compile(r"[*_\"`”’']*[\])}>]")
#: "J. Smith": a letter that begins a name.
INITIALS = re.compile(r"(?<![^\W_])[A-Za-z]\.$")
_CUE = re.compile(r"\b(?:option|choice|letter)\W*$", re.IGNORECASE)
#: What may come before a small letter that stands for an option, and is no article.
_BEFORE = re.compile(
    r"(?:^|[\n(\[{<:=,/&\"*`]|\b(?:answer|is|be|or|and|not|nor|either|neither|both|pick|choose|say)"
    r")[\s*_\"`(]*$",
    re.IGNORECASE,
)


def letters(said: str, found: Sequence[Option]) -> dict[int, int]:
    """Where letters stand that mean an option, and which."""
    known = {option.letter: n for n, option in enumerate(found) if option.letter}
    marked = {}
    alone = len(read(said)) == 1
    for word in read(said):
        which = known.get(word.text.upper()) if word.end - word.start == 1 else None
        if which is None:
            continue
        before, after = said[: word.start], said[word.end :]
        if INITIALS.search(before):
            continue
        small = said[word.start].islower()
        text = found[which].text
        beside = [w.text for w in read(after) if w.text not in ARTICLES][: len(text)]
        meant = _AFTER.match(said, word.end) or (text and tuple(beside) == text)
        sure = _CLOSED.match(after) or (_CUE.search(before) and (meant or not small))
        if alone or sure or (meant and (not small or _BEFORE.search(before))):
            marked[word.start] = which
    return marked
