"""explore: a page to ask and edit a model by hand, from Python."""

import html
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, final

from vlmlens.annotations import checked
from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.extras import require
from vlmlens.interventions import Intervention
from vlmlens.live.session import Session
from vlmlens.live.turns import Job
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

if TYPE_CHECKING:
    from vlmlens.live.running import Server

#: Pixels of the frame in a notebook.
HEIGHT = 900
#: What is asked of the tab that was used last.
OF_LAST: dict[str, Callable[[Session, Job], Any]] = {
    "edits": lambda session, job: session.edits(job)[1],
    "code": lambda session, job: session.code(job),
}


@checked
def explore(
    model: HookedVLM,
    sample: Sample | None = None,
    *,
    second: Sample | None = None,
    sweep: Any = None,
    circuit: Any = None,
    port: int = 0,
    token: str | None = None,
) -> "LiveExplorer":
    """Open a page on which a person asks and edits this model with mouse and keyboard.

    Ask another question, drop another picture or drag a drawn shape; knock out heads, block what a
    word reads, rearrange tokens, move position ids, set norms, patch from a second picture. Every
    edit is listed as the Python that does it. Only this machine can reach the page, and only with
    the token in its address. Runs take turns with those of the notebook.

    Args:
        model: an open model, with its processor.
        sample: what is asked first; by default where one shape of a drawn scene is.
        second: of ``sweep`` or ``circuit``, the clean sample that is patched from, where the table
            does not hold its picture.
        sweep: a table of ``experiments.sweep``: itself, a netCDF file, or the ``folder=`` that it
            was given. Its map is drawn; a chosen cell is patched, and its answer shown.
        circuit: the same of ``experiments.path_patch`` or ``edges``, or a ``Circuit``, or a file of
            it.
        port: where it listens; 0 takes a free port.
        token: what its address has to hold; by default nobody can guess it.

    Returns:
        A ``LiveExplorer``, which a notebook shows as the page itself.

    Raises:
        MissingToolError: the extra ``app`` is not installed.
        InputError: no model, no sample with one picture and no video, or a port that is taken;
            a table of another model or of other samples.
        DataError: a file that is not there, or does not hold what its cells are made of.

    Examples:
        >>> view = vl.live.explore(model, sample)
        >>> view.address
        'http://127.0.0.1:.../?token=...'
        >>> view.edits, view.close()  # nothing was clicked
        ((), None)
    """
    refuse_without()
    from vlmlens.live.running import Server
    from vlmlens.live.saved import open_saved
    from vlmlens.live.serving import Host

    if not isinstance(model, HookedVLM):
        raise InputError(f"{shown(model)} is no open model: HookedVLM.from_pretrained(name)")
    saved = open_saved(model, sample, second, sweep, circuit)
    begin = first(sample if saved is None else saved.edited)
    server = Server(Host(model, begin, token, saved), port)
    server.start()
    return LiveExplorer(server)


@final
class LiveExplorer:
    """A live page of a model: shown in a notebook as a frame, and open until ``close``.

    Attributes:
        address: where a browser of this machine finds it.

    Examples:
        >>> with vl.live.explore(model, sample) as view:
        ...     print(view)
        LiveExplorer(shapes-base, http://127.0.0.1:.../?token=...)
    """

    def __init__(self, server: "Server"):
        self._server = server
        self.address = server.address
        self._last: dict[str, Future[Any]] | None = None  # what the tab used last came to, at close

    @property
    def edits(self) -> tuple[Intervention, ...]:
        """The edits of the tab that was used last, as interventions."""
        return self._of_last("edits") or ()

    @property
    def code(self) -> str:
        """The Python of the tab that was used last; "" before any was opened."""
        return self._of_last("code") or ""

    def _of_last(self, what: str) -> Any:
        """What comes of the session that was used last; None without any."""
        found = self._asked((what,)) if self._last is None else self._last
        return found[what].result() if what in found else None

    def _asked(self, names: Iterable[str]) -> "dict[str, Future[Any]]":
        """What was asked of the session that was used last, in its turn; nothing without any."""
        host = self._server.host
        if (session := host.last()) is None:
            return {}
        return {name: host.turns.submit(Job(), partial(OF_LAST[name], session)) for name in names}

    def close(self) -> None:
        """Stop the server, and leave the model as it was; ``edits`` and ``code`` stay."""
        if self._last is None:
            self._server.host.turns.call_off()
            self._last = self._asked(OF_LAST)
            wait(self._last.values())
        self._server.close()

    def __enter__(self) -> "LiveExplorer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _repr_html_(self) -> str:
        address = html.escape(self.address)
        return (
            f'<iframe src="{address}" style="width:100%;height:{HEIGHT}px;border:0" '
            'allow="clipboard-write"></iframe>'
            f'<p><a href="{address}" target="_blank" rel="noopener noreferrer">in a tab</a></p>'
        )

    def __repr__(self) -> str:
        return f"LiveExplorer({self._server.host.model.name}, {self.address})"


def refuse_without(*libraries: str) -> None:
    """Refuse to begin without libraries of the extra ``app``; by default all of them.

    Raises:
        MissingToolError: one of them is not installed.
    """
    for library in libraries or ("starlette", "uvicorn", "websockets"):
        require(library, "the live explorer")


def first(sample: Any) -> Sample:
    """What is asked first."""
    if sample is None:
        from vlmlens.datasets.shapes import Drawn, Scene, Shape

        square = Shape("square", "orange", x=0.70, y=0.35, radius=0.12)
        triangle = Shape("triangle", "purple", x=0.25, y=0.65, radius=0.11)
        asked = "Is the purple shape left or right of the orange shape?"
        return Sample(asked, (Drawn(Scene((square, triangle))),), "left", ("left", "right"))
    if not isinstance(sample, Sample):
        raise InputError(f"{shown(sample)} is no sample: Sample(question, picture) is wanted")
    if sample.messages or not sample.images:
        raise InputError(
            f"{sample.named()}: a live explorer begins with one question about a picture, without "
            "messages"
        )
    if len(sample.images) > 1 or sample.videos:
        raise InputError(
            f"{sample.named()}: a live explorer asks about one picture, and this sample has "
            f"{len(sample.images)} pictures and {len(sample.videos)} videos: "
            "Sample(question, picture) is wanted"
        )
    return sample
