"""Context levels: which hooks belong to one context, and to the thread that opened it."""

from threading import get_ident

from vlmlens.model.lifetime.journal import Journal


class Level(int):
    """How many contexts are open, this one included; TransformerLens counts them so.

    Attributes:
        over: whether it has ended. Its hooks do not act any more, be they off or not.
    """

    over: bool
    _journal: Journal
    _thread: int
    _lasts: bool

    def __new__(cls, number: int, journal: Journal) -> "Level":
        """A level that this thread opens: for a call that is under way, or for the user."""
        level = super().__new__(cls, number)
        level.over = False
        level._journal, level._thread = journal, get_ident()
        level._lasts = not journal.held
        return level

    @property
    def acts(self) -> bool:
        """Whether its hooks act now and here: in its thread, and no longer than its call."""
        here = not self.over and self._thread == get_ident()
        return here and (self._lasts or self._journal.held)
