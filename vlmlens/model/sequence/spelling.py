"""What each token adds to the text, also where a letter is cut into several tokens."""

from collections.abc import Callable, Sequence

from vlmlens.layout import CUT


def spelled(ids: Sequence[int], texts: Sequence[str], decode: Callable[..., str]) -> list[str]:
    """What each token adds: whole letters, and ``CUT`` at the end where it ends inside one.

    A token of bytes alone is no text: of the two tokens of an accent the first adds nothing and
    the second the letter. Runs of such tokens are decoded together.

    Args:
        ids: tokens, one after the other.
        texts: each of them decoded alone.
        decode: from ids to text.
    """
    found: list[str] = []
    run: list[int] = []
    said = ""
    for token, text in zip(ids, texts, strict=True):
        if not run and CUT not in text:
            found.append(text)
            continue
        run.append(token)
        joint = decode(run)
        letters = joint.rstrip(CUT)
        found.append(letters[len(said) :] + (CUT if letters != joint else ""))
        said = letters
        if letters == joint:
            run, said = [], ""
    return found
