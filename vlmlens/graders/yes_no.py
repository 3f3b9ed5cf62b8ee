"""Yes or no: POPE's own rule, and a strict one that says when an answer is neither."""

import re

from vlmlens.graders.absence import absent
from vlmlens.graders.rule import AMBIGUOUS, PARSED, UNPARSED, Graded, Rule
from vlmlens.graders.words import NO_ANSWER, plain, read, readable
from vlmlens.sample import Sample

#: Words for yes and no that samples use as their answers.
TRUE, FALSE = ("yes", "true"), ("no", "false")
#: What takes a statement back, where neither yes nor no is said.
_DENIES = re.compile(r"\b(?:no|not|never|none|cannot)\b|n['’]t\b")
#: No that answers nothing, and no that is denied itself.
_NO_ANSWER = re.compile(rf"\bno\s+(?:{NO_ANSWER.pattern})", re.IGNORECASE)
#: The number of something ("No. 5"), where nothing is counted ("No. 5 dogs are there").
_NUMERO = re.compile(
    r"\bno\. ?\d+(?:\.\d+)?(?=[.!\"'”’]*\s*$|,|\s+(?:is|was|has|on|in|at|of|and|or)\b)",
    re.IGNORECASE,
)
_DENIED = re.compile(r"\bnot\s+(?:a\s+)?(?:no|false)\b")


def pope(said: str) -> str:
    """POPE's own reading: of the first sentence, no where ``No``, ``no`` or ``not`` is a word.

    Everything else is yes, silence and "I cannot tell" among it; "NO" is yes, too.
    """
    words = said.partition(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def strict(said: str, question: str = "") -> tuple[str, str]:
    """The answer, and its state: yes or no where one of them is said and the other is not.

    The first word decides where it is one of them ("Yes, it is not a cat"). Without either, an
    answer is unparsed, unless it says that what is asked about is not there; with both,
    ambiguous.
    """
    said = _NUMERO.sub(" ", _NO_ANSWER.sub(" ", readable(said)))
    words = [word.text for word in read(said) if word.text.isalpha()]
    if not words:
        return "", UNPARSED
    yes, no = (any(word in names for word in words) for names in (TRUE, FALSE))
    first = "yes" if words[0] in TRUE else "no" if words[0] in FALSE else ""
    both = words[1:2] == ["and"] and set(words[2:3]) <= {*TRUE, *FALSE}
    hedged = words[1:2] == ["or"] or both or (yes and no and ("or" in words or len(words) == 2))
    if first and not hedged:
        return first, PARSED
    if yes and no:
        return "", AMBIGUOUS
    if yes and not _DENIES.search(said.lower()):
        return "yes", PARSED
    if no and not yes and not _DENIED.search(said.lower()):
        return "no", PARSED
    if yes or no:
        return "", AMBIGUOUS
    return ("no", PARSED) if absent(said, question) else ("", UNPARSED)


def _wanted(sample: Sample) -> str:
    gold = plain(sample.answer or "")
    return "yes" if gold in TRUE else "no" if gold in FALSE else ""


def _graded(answer: str, state: str, sample: Sample) -> Graded:
    return Graded(float(answer == _wanted(sample) != ""), answer, state)


def _lacks(sample: Sample) -> str:
    return "" if _wanted(sample) else f"knows yes and no, and {sample.answer!r:.60} is right"


def _strict(said: str, sample: Sample) -> Graded:
    return _graded(*strict(said, sample.question), sample)


def _pope(said: str, sample: Sample) -> Graded:
    return _graded(pope(said), PARSED, sample)


YES_NO = Rule("yes_no", 5, _strict, lacks=_lacks)
POPE_OWN = Rule("pope", 2, _pope, "Li et al. 2023, arXiv:2305.10355", _lacks)
