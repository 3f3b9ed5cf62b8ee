"""Counting cells of pairs: done, failed, left."""

from collections.abc import Mapping, Sequence

from vlmlens.experiments.failing import Failing, said
from vlmlens.experiments.pairs.pieces import Cells, Piece
from vlmlens.experiments.progress import Event, Tell


class Count:
    """Counts what pieces finish, whoever computes them; a pair that fails loses all its cells.

    Args:
        tell: is told.
        failing: is told of pairs that cannot be measured; those that failed before any pass count
            as one cell each.
        sizes: of every other pair, how many cells its pieces have.
    """

    def __init__(self, tell: Tell, failing: Failing, sizes: Mapping[int, Sequence[int]]):
        self._tell, self._failing, self._sizes = tell, failing, sizes
        self._total = sum(map(sum, sizes.values())) + len(failing.errors)
        self._done = self._failed = 0
        self._own = dict.fromkeys(sizes, 0)
        self._at: dict[int, int] = {}

    def start(self, left: Sequence[Piece]) -> None:
        """Count what is there by now: all but these."""
        lacking = {(number, piece.number) for piece in left for number in piece.pairs}
        for number, sizes in self._sizes.items():
            there = [size for at, size in enumerate(sizes) if (number, at) not in lacking]
            self._own[number] = sum(there)
            self._failing.worked = self._failing.worked or bool(there)
        self._done = sum(self._own.values())
        self._say("started")
        for number, error in list(self._failing.errors.items()):
            self._failed += 1
            self._say("failed", self._failing.names[number], said(error))

    def take(self, step: Cells) -> None:
        """Count what was finished.

        Raises:
            VLMLensError: more pairs failed than may.
        """
        if step.error is not None:
            self.lose(step.pair, step.error, step.piece.number)
        else:
            self._failing.worked = True
            if step.pair not in self._failing.errors:
                size = self._sizes[step.pair][step.piece.number]
                self._own[step.pair] += size
                self._done += size
                self._say("done")

    def lose(self, number: int, error: Exception, at: int = 0) -> None:
        """A pair failed; of several errors its earliest piece's counts, whichever came first.

        Raises:
            VLMLensError: more pairs failed than may.
        """
        if number in self._failing.errors:
            if at < self._at[number]:
                self._failing.errors[number], self._at[number] = error, at
            return
        self._at[number] = at
        self._done -= self._own[number]
        self._failed += sum(self._sizes[number])
        self._say("failed", self._failing.names[number], said(error))
        self._failing.add(number, error)

    def finish(self) -> None:
        """All of it is there, whoever did it."""
        self._done = self._total - self._failed
        self._say("finished")

    def _say(self, kind: str, sample: str = "", error: str = "") -> None:
        self._tell(Event(kind, self._done, self._failed, self._total, "", sample, error))
