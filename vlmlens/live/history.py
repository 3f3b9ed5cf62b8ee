"""What was asked and edited, as values: undo and redo are a step along them."""

from dataclasses import dataclass, replace

from vlmlens.errors import InputError
from vlmlens.live.edits import LiveEdit
from vlmlens.sample import Sample

#: Steps that can be undone.
MOST = 200


@dataclass(frozen=True, eq=False)
class Held:
    """What a tab shows: a question about a picture, a second picture, and edits in order."""

    sample: Sample
    second: Sample | None = None
    edits: tuple[LiveEdit, ...] = ()

    def with_edits(self, edits: tuple[LiveEdit, ...]) -> "Held":
        """The same with other edits."""
        return replace(self, edits=edits)


@dataclass(frozen=True, eq=False)
class History:
    """What is held now, what was held before, and what was undone, the next one last."""

    now: Held
    past: tuple[Held, ...] = ()
    future: tuple[Held, ...] = ()

    def then(self, held: Held) -> "History":
        """One step more; what was undone is gone."""
        return History(held, (*self.past, self.now)[-MOST:])

    def undone(self) -> "History":
        """One step back.

        Raises:
            InputError: there is none.
        """
        if not self.past:
            raise InputError("there is nothing to undo")
        return History(self.past[-1], self.past[:-1], (*self.future, self.now))

    def redone(self) -> "History":
        """One step forward again.

        Raises:
            InputError: there is none.
        """
        if not self.future:
            raise InputError("there is nothing to redo")
        return History(self.future[-1], (*self.past, self.now), self.future[:-1])
