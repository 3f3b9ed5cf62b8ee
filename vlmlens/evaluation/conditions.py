"""What questions are asked under: as they are, with tokens moved, or without the picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlmlens.checks import texts
from vlmlens.errors import InputError
from vlmlens.interventions import CompressVision, Intervention, PermuteVision, Scale
from vlmlens.select import Where

CLEAN, PERMUTED, TEXT_ONLY = "clean", "permuted", "text-only"
Edits = tuple[Intervention, ...]


@dataclass(frozen=True)
class Condition:
    """One way to show a model the same questions.

    Attributes:
        name: as results call it.
        control: what the pictures become (``experiments.blinded``); empty where they stay.
        edits: made in the model; of a permutation's number, where ``drawn``.
        drawn: whether there are several, each with its own seed.

    Examples:
        >>> from vlmlens.evaluation import CONDITIONS
        >>> build, _ = CONDITIONS["permuted"]
        >>> list(build("0.5").draws(2))
        ['permuted:0.5, seed 0', 'permuted:0.5, seed 1']
    """

    name: str
    control: str = ""
    edits: Callable[[int], Edits] = lambda number: ()
    drawn: bool = False

    def draws(self, permutations: int) -> dict[str, tuple[int | None, Edits]]:
        """Label -> the permutation's number (None where there is but one) and its edits."""
        if not self.drawn:
            return {self.name: (None, self.edits(0))}
        return {f"{self.name}, seed {n}": (n, self.edits(n)) for n in range(permutations)}


def _permuted(given: str) -> Condition:
    share = _number(given, PERMUTED, 1.0)
    return Condition(
        _name(PERMUTED, given), edits=lambda n: (PermuteVision(seed=n, fraction=share),), drawn=True
    )


def _pooled(name: str, repeat: bool) -> Callable[[str], Condition]:
    def build(given: str) -> Condition:
        size = _number(given, name, such="8")
        if size != int(size) or size < 1:
            raise InputError(f"{name}:{given}: the size of a grid is wanted, such as {name}:8")
        edit = CompressVision(rows=int(size), columns=int(size), repeat=repeat)
        return Condition(_name(name, given), edits=lambda n: (edit,))

    return build


def _scaled(given: str) -> Condition:
    edit = Scale(point="hook_embed", where=Where(positions="vision"), by=_number(given, "scale"))
    return Condition(_name("scale", given), edits=lambda n: (edit,))


def _plain(name: str, control: str = "") -> Callable[[str], Condition]:
    def build(given: str) -> Condition:
        if given:
            raise InputError(f"{name}:{given}: {name} takes no number")
        return Condition(name, control)

    return build


#: Every condition by its word, and what it does. A number stands behind a colon.
CONDITIONS: dict[str, tuple[Callable[[str], Condition], str]] = {
    CLEAN: (_plain(CLEAN), "as it is"),
    PERMUTED: (
        _permuted,
        "vision tokens shuffled, once for each permutation; `permuted:0.5`: half",
    ),
    TEXT_ONLY: (_plain(TEXT_ONLY, "text only"), "no picture: the language model answers alone"),
    "noise": (_plain("noise", "noise"), "a picture of noise in the place of each"),
    "blank": (_plain("blank", "blank"), "a grey picture in the place of each"),
    "other-picture": (
        _plain("other-picture", "other picture"),
        "the pictures of the next question that has others",
    ),
    "pool": (
        _pooled("pool", False),
        "`pool:8`: the grid of vision tokens averaged to 8 x 8",
    ),
    "blur": (_pooled("blur", True), "`blur:8`: the same means, but every token stays"),
    "scale": (_scaled, "`scale:0.1`: vision tokens multiplied as they enter the language model"),
}


def conditions_of(given: str | Sequence[str]) -> tuple[Condition, ...]:
    """Conditions as people name them: ``"clean,permuted,text-only"``, or a list of such words.

    Raises:
        InputError: a word or number that is none, one that is there twice, or nothing at all.
    """
    names = (
        [n.strip() for n in given.split(",")]
        if isinstance(given, str)
        else texts(given, "conditions")
    )
    made = []
    for name in names:
        word, _, number = name.partition(":")
        if word not in CONDITIONS:
            raise InputError(f"no condition {name!r}; there is: {', '.join(CONDITIONS)}")
        made.append(CONDITIONS[word][0](number))
    done = [(each.control, each.edits(0)) for each in made]
    if twice := [each.name for each, what in zip(made, done, strict=True) if done.count(what) > 1]:
        raise InputError(f"a condition is asked for twice: {', '.join(dict.fromkeys(twice))}")
    if not made:
        raise InputError("name at least one condition, such as clean")
    return tuple(made)


def _name(word: str, given: str) -> str:
    return f"{word}:{given}" if given else word


def _number(given: str, name: str, default: float | None = None, such: str = "0.5") -> float:
    try:
        return default if not given and default is not None else float(given)
    except ValueError:
        raise InputError(f"{name}:{given}: a number is wanted, such as {name}:{such}") from None
