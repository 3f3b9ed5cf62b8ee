"""The fixed rule: right is what names the right answer, by letter or by text, and no other."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vlmlens.annotations import checked
from vlmlens.errors import InputError
from vlmlens.graders.lettered import INITIALS, letters
from vlmlens.graders.options import OPPOSITE, Option, begin_with_letters, options, told_apart
from vlmlens.graders.settled import Mention, settled
from vlmlens.graders.words import (
    ARTICLES,
    NO_ANSWER,
    Word,
    is_numeric,
    plain,
    read,
    readable,
)

_NOT = ("not", "never", "neither", "nor", "cannot", "without", "except")
#: Words that an enumeration begins after: "it is a cat and a dog" lists a cat and a dog.
_OPENING = ("is", "are", "was", "were", "be", "see", "shows", "has", "have", "of", "with", "its")
_FILLER = (
    *("yes", "no", "ok", "okay", "sure", "well", "so", "answer", "therefore", "thus", "hence"),
    *("then", "certainly", "clearly", "definitely", "obviously", "hmm", "oh", "please", "sorry"),
)
#: "The right answer", "right above": what is right here is no place.
_CORRECT = ("answer", "answers", "choice", "option", "letter", "response", "solution")
_JUST = ("above", "below", "under", "underneath", "beneath", "over", "behind", "beside", "next")
_JUST += ("between", "near", "inside")
_SEEMS = ("is", "was", "be", "to", "must", "would", "should", "seems", "appears", "looks", "sounds")
_WRONG, _TRUE = ("wrong", "incorrect", "false"), ("right", "correct", "true", "answer")


@checked
def grade(said: str, gold: str, choices: Sequence[str] = ()) -> bool:
    r"""Whether an answer is right, by a fixed rule and no judge.

    Right is what equals the right answer but for case, punctuation, articles and the way to write
    a number ("two", "2", "2.0"); and a longer answer that names it, and nothing else that
    could have been the answer. What counts as naming:

    * an option's words in a row ("It is on the left." for "left"). Of choices that contain each
      other the longest counts: "top left" names "top left", not "left".
    * its letter: alone ("B", "b"), marked ("(B)", "b)", "B.", "**B**"), after "option" or before
      its text. Choices that are letters, or begin with one, have these; others count from A.
      The gold answer, too, may be a letter or a text.
    * where choices are letters and one is given, not the words of others that explain it: "A. The
      plate is on the right." names A.
    * not what is denied: "left, not right" names left alone; nor what is thought aloud
      (``<think>``), and where the answer is marked (``<answer>``, ``\boxed``) nothing else.

    Never right: silence, punctuation, an article alone; two options ("A or B", "yes and no"); the
    right answer joined by "or", or in a list, to something else; for a number any other number
    ("3.5" or "2 to 3" for 3). Words are compared as they are: "dogs" is not "dog".

    Args:
        said: what the model says.
        gold: the right answer.
        choices: what the answer is chosen from, if it is.

    Raises:
        InputError: something that is no text.

    Examples:
        >>> from vlmlens.graders import grade
        >>> grade("It is on the left.", "left", ["left", "right"])
        True
        >>> grade("(B)", "right", ["left", "right"])
        True
        >>> grade("left or right", "left", ["left", "right"])
        False
        >>> grade("two", "2"), grade("2 to 3", "3")
        (True, False)
    """
    if isinstance(choices, str):
        raise InputError(f"choices={choices!r:.60} is one text; pass a tuple of texts")
    if not isinstance(choices, Iterable):
        raise InputError(f"choices={choices!r:.60}: pass a tuple of texts; () for no choices")
    if wrong := [x for x in (said, gold, *choices) if not isinstance(x, str)]:
        raise InputError(f"{wrong[0]!r:.60} is no text: grade(said, gold, choices) takes texts")
    said, gold = readable(said), readable(gold)
    if said.strip() == gold.strip() != "":
        return True
    found, right = options(gold, choices)
    said, gold = (told_apart(choices).told(text) for text in (said, gold))
    marked = letters(said, found)
    words = _without_articles(said, marked)
    if not words:
        return False
    whole = tuple(w.text for w in words)
    wrong = [option.text for n, option in enumerate(found) if n not in right]
    if plain(gold) == " ".join(whole) and whole not in wrong:  # "a dog", "the dog"
        return True
    mentions = _meant(words, found, marked, choices)
    if not mentions or {m.option for m in mentions} - right:
        return False
    return not any(_hedged(words, m, found[m.option], mentions) for m in mentions)


def named(said: str, choices: Sequence[str]) -> frozenset[int]:
    """Which of the choices an answer names, by the rule of ``grade``, without what it denies.

    Examples:
        >>> from vlmlens.graders import named
        >>> sorted(named("left, not right", ["left", "right"]))
        [0]
        >>> sorted(named("A or B", ["left", "right"]))
        [0, 1]
    """
    said = readable(said)
    found, _ = options(choices[0], choices)
    said = told_apart(choices).told(said)
    marked = letters(said, found)
    words = _without_articles(said, marked)
    return frozenset(m.option for m in _meant(words, found, marked, choices))


def same(said: str, other: str, choices: Sequence[str] = ()) -> bool:
    """Whether two answers are one, but for case, punctuation, articles and writing of numbers.

    For a model's own answers: a longer one is another one, silence is silence, and choices are
    not read.

    Examples:
        >>> from vlmlens.graders import same
        >>> same("The left.", "left"), same("It is on the left.", "left")
        (True, False)
    """
    one, two = plain(said), plain(other)
    return one == two if one or two else said.strip() == other.strip()


def _without_articles(said: str, marked: Mapping[int, int]) -> list[Word]:
    """The words, without articles that are no letters; their commas stay."""
    kept: list[Word] = []
    comma = False
    for word in read(said):
        comma = comma or word.comma
        initial = INITIALS.search(said[: word.start]) or re.match(r"\.\w", said[word.end :])
        if word.text not in ARTICLES or word.start in marked or initial:
            kept.append(replace(word, comma=comma))
            comma = False
    return kept


def _meant(
    words: Sequence[Word],
    found: Sequence[Option],
    marked: Mapping[int, int],
    choices: Sequence[str],
) -> list[Mention]:
    """What is named and not denied; of choices that begin with letters, by these first."""
    mentions = [m for m in _mentions(words, found, marked) if not denied(words, m)]
    return settled(words, mentions) if begin_with_letters(choices) else mentions


def _mentions(
    words: Sequence[Word], found: Sequence[Option], marked: Mapping[int, int]
) -> list[Mention]:
    """What is named, from left to right, the longest first."""
    texts = sorted(
        ((option.text, n) for n, option in enumerate(found) if option.text),
        key=lambda one: -len(one[0]),
    )
    said = [w.text for w in words]
    mentions, at = [], 0
    while at < len(words):
        if words[at].start in marked:
            mentions.append(Mention(marked[words[at].start], at, at + 1, lettered=True))
            at += 1
            continue
        here = [(t, n) for t, n in texts if tuple(said[at : at + len(t)]) == t]
        longest = len(here[0][0]) if here else 0
        mentions += [Mention(n, at, at + longest) for t, n in here if len(t) == longest]
        at += longest or 1
    return [m for m in mentions if not (_determiner(words, m) or _idiom(words, m, marked))]


def _determiner(words: Sequence[Word], mention: Mention) -> bool:
    """Whether this is the "no" of "Yes, there is no doubt", or of "I have no idea"."""
    following = words[mention.end : mention.end + 1]
    idle = words[mention.start].text == "no" and NO_ANSWER.match(" ".join(_said_of(words, mention)))
    return bool(idle) or (
        words[mention.start].text == "no"
        and words[0].text == "yes"
        and any(
            w.clause == words[mention.start].clause
            and not w.comma
            and w.text not in ("and", "or", "yes", "no")
            for w in following
        )
    )


def _idiom(words: Sequence[Word], mention: Mention, marked: Mapping[int, int]) -> bool:
    """Whether its one word is that of "none of the above", "A is right" or "right above"."""
    at = mention.start
    if mention.end - at > 1:
        return False
    before, after = words[at - 1].text if at else "", _said_of(words, mention)[:1]
    if words[at].text == "above":
        return before == "of"
    while at and words[at - 1].text in _SEEMS:
        at -= 1
    found = at < mention.start and at > 0 and words[at - 1].start in marked
    found |= bool(after) and after[0] in _CORRECT
    found |= bool(after) and after[0] in _JUST and before not in ("on", "to", "at", "from", "far")
    return words[mention.start].text == "right" and found


def _said_of(words: Sequence[Word], mention: Mention) -> list[str]:
    """The three words after it, as far as no comma and no full stop comes between."""
    found: list[str] = []
    for word in words[mention.end : mention.end + 3]:
        if word.comma or word.clause != words[mention.start].clause:
            break
        found.append(word.text)
    return found


def denied(words: Sequence[Word], mention: Mention) -> bool:
    """Whether its clause takes it back: before it, or after it ("A is wrong")."""
    at = mention.start
    is_, *verdict = [*_said_of(words, mention), ""]
    if is_ in ("is", "are", "was", "were") and (
        verdict[0] in _WRONG or (verdict[0] == "not" and verdict[1] in ("", *_TRUE))
    ):
        return True
    if [w.text for w in words[max(at - 2, 0) : at]] in (["instead", "of"], ["rather", "than"]):
        return True
    if at and words[at - 1].text == "no" and words[at].text not in OPPOSITE:
        return not words[at].comma
    while at and not words[at].comma and words[at - 1].text != "but":
        at -= 1
        if words[at].text in _NOT:
            return True
    return False


def _hedged(
    words: Sequence[Word], mention: Mention, option: Option, mentions: Sequence[Mention]
) -> bool:
    """Whether something else is said beside it that could be the answer as well."""
    inside = {at for m in mentions for at in range(m.start, m.end)}
    rest = [(at, w) for at, w in enumerate(words) if at not in inside]
    clause = words[mention.start].clause
    if any(w.text == "or" and w.clause == clause for _, w in rest):
        return True
    if len(option.text) == 1 and option.text[0][0] in "-0123456789":
        for at, word in rest:
            loose = word.spelled and word.text == "1"  # "two, the red one and ..."
            if is_numeric(word.text) and not loose and not denied(words, Mention(-1, at, at + 1)):
                return True
    if option.text and option.text[0] in OPPOSITE:  # "Yes, a dog." lists nothing
        return False
    size = max(len(option.text), 1)
    near = _neighbours(words, mention, inside, {m.start for m in mentions if m.lettered})
    if words[mention.start].text == option.letter.lower() != "":  # only letters are like a letter
        return any(item and len("".join(item)) == 1 for item in near)
    return any(0 < len(item) <= size for item in near)


def _neighbours(
    words: Sequence[Word], mention: Mention, inside: set[int], lettered: set[int]
) -> list[list[str]]:
    """What is listed beside a mention: joined to it by a comma, or by "and"."""
    last = len(words)
    clause = words[mention.start].clause
    items = []
    at = mention.end
    if at < last and words[at].clause == clause and (words[at].text == "and" or words[at].comma):
        at += words[at].text == "and"
        end = at
        while end < last and words[end].clause == clause and not (end > at and words[end].comma):
            if words[end].text == "and" or end in inside:
                break
            end += 1
        if end not in lettered:  # "left, so the answer is A" lists nothing
            items.append([w.text for w in words[at:end]])
    at = mention.start
    joined = at and words[at - 1].text == "and" and words[at - 1].clause == clause
    if joined or (at and words[at].comma and words[at - 1].clause == clause):
        end = at - 1 if joined else at
        begin = end
        while begin and words[begin - 1].clause == clause and begin - 1 not in inside:
            if words[begin - 1].text in ("and", *_OPENING) or (begin < end and words[begin].comma):
                break
            begin -= 1
        items.append([w.text for w in words[begin:end]])
    return [[w for w in item if w not in _FILLER] for item in items if not set(item) & set(_NOT)]
