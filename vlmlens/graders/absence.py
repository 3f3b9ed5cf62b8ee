"""What is said not to be there: "There isn't a dog.", "I don't see any dogs in the image."."""

import re
from collections.abc import Sequence

from vlmlens.graders.words import is_number, read, readable

#: That there is none, or that none is seen; what follows says of what.
_NONE = re.compile(
    r"\b(?:there(?:\s+(?:is|are|was|were)|['’]s)\s+not"
    r"|there\s+(?:do|does|did)\s+not\s+(?:seem|appear)\s+to\s+be"
    r"|(?:i|we|you|one)\s+(?:do|did|can|ca|could)\s*not\s+(?:see|find|spot|notice|detect|observe)"
    r"|(?:the|this|that)\s+(?:image|picture|photo|photograph|scene)\s+(?:does|did)\s+not\s+"
    r"(?:contain|show|have|include|depict))"
    r"\s+(?=(?:a|an|any|one)\b)"
)
#: Where a part of an answer ends.
_END = re.compile(r"[.,;:!?\n]|\b(?:but|though|although|only|just)\b")
#: Words that may stand before it in its part, and take nothing back.
_BEFORE = {"and", "so", "i", "we", "think", "believe", "it", "seems", "appears", "that", "well"}
#: Words that say nothing of what it is; the picture is the whole of where it could be.
_PICTURE = {"image", "picture", "photo", "photograph", "scene"}
_PLACE = {"in", "of", "at", "the", "this", "here", "there", "all", "it", "anywhere"}
_PLACE |= {"visible", "present", "shown", "to", "be", "seen"}
_PLAIN = {"a", "an", "any", "one", "1", "single", *_PLACE, *_PICTURE}
#: What makes it unsure.
_UNSURE = {"might", "may", "could", "maybe", "perhaps", "possibly", "unsure", "unclear", "sure"}
_UNSURE |= {"clear", "tell"}
_SEVERAL = {"several", "many", "multiple"}


def absent(said: str, question: str) -> bool:
    """Whether an answer says that what is asked about is not there, in so many words.

    It says of nothing else that there is none, nor of a part of the picture alone, and is sure.
    """
    said, asked = readable(said).lower(), _words(question)
    found = _NONE.search(said)
    if found is None:
        return False
    before = max((end.end() for end in _END.finditer(said, 0, found.start())), default=0)
    end = _END.search(said, found.end())
    what = _words(said[found.end() : end.start() if end else len(said)])
    rest = _words(said[end.end() :]) if end else []
    if set(_words(said[before : found.start()])) - _BEFORE or set(rest) & _UNSURE:
        return False
    named = [word for word in what if word not in _PLAIN]
    alone = set(what[1:2]) <= _PLACE  # "I don't see any in the image"; of "any image" nothing
    known = all(_among(word, asked) for word in named) and bool(named or alone)
    return known and not _counts(rest, asked)


def _counts(words: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether there are several of it after all: "not one dog, but two"."""
    pairs = zip(words, [*words[1:], ""], strict=False)
    return any(
        (word in _SEVERAL or is_number(word)) and (not noun or _among(noun, asked))
        for word, noun in pairs
    )


def _among(word: str, asked: Sequence[str]) -> bool:
    """Whether a word is there, in the singular or in the plural."""
    forms = {word, f"{word}s", f"{word}es", word.removesuffix("s"), word.removesuffix("es")}
    return not forms.isdisjoint(asked)


def _words(text: str) -> list[str]:
    return [word.text for word in read(readable(text))]
