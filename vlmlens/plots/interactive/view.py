"""Explorer: attention rows to point at, in a notebook or as one file."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

import numpy as np
import xarray as xr

from vlmlens.checks import refuse_unknown
from vlmlens.errors import InputError
from vlmlens.plots.interactive.bare import labelled
from vlmlens.plots.interactive.page import beside, page
from vlmlens.plots.interactive.payload import check, described, packed, same_places
from vlmlens.plots.interactive.still import still

DIFFERENCE = "difference"
#: The largest page that is written: larger ones open slowly, and no mail takes them.
MOST_BYTES = 30_000_000
#: The most that goes from a kernel to a notebook's page.
MOST_IN_A_NOTEBOOK = 150_000_000


@dataclass(frozen=True)
class Selection:
    """What is looked at; labels are those of the attention rows, so that ``.sel`` takes them.

    Attributes:
        run: the run's name, or ``"difference"``: the second run minus the first.
        layer: None for the mean of all heads.
        head: None for the mean of all heads.
        position: the word or patch that is locked, or None.
        area: the positions of the patches that are chosen.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.rows.NEEDS)
        >>> vl.plots.explorer(vl.probes.attention_rows(run)).selection
        Selection(run='attention', layer=None, head=None, position=77, area=())
    """

    run: str
    layer: int | None = None
    head: int | None = None
    position: int | None = None
    area: tuple[int, ...] = ()


def explorer(runs: Any, given: Any = None, *, title: str = "", **live: Any) -> Any:
    """Attention to point at: who reads whom, on the image, in the words and by head.

    Point at a word to see what it reads, at a patch to see who reads it; click to lock; drag over
    an object to see which heads look there. Shown by itself in a notebook (with the extra
    ``widget``), where ``.selection`` says what is chosen; ``.save("page.html")`` writes the same
    as one file.

    Of an open model it is ``live.explore(model, sample)``, on which it is asked and edited.

    Args:
        runs: what ``probes.attention_rows`` returns: ``attention`` (layer, head, query, key),
            along ``key`` the coordinates ``token``, ``role``, ``image``, ``row``, ``column``,
            ``left``, ``top``, ``right``, ``bottom`` (pixels of the original), perhaps ``tile`` and
            ``kind``; and ``picture_0`` ... Or one or two of these by name, such as clean and
            patched, to be compared. Or a bare pattern from any library, an array or a tensor:
            (head, query, key), (layer, head, query, key), or a list of layers. Or an open model.
        given: of a bare pattern its tokens, a text for every key; of a model what is asked first.
        title: above it; by default the question.
        live: of a model, what ``live.explore`` takes: ``sweep``, ``circuit``, ``second``.

    Returns:
        An ``Explorer``; of an open model, a ``live.LiveExplorer``.

    Raises:
        InputError: something is missing, two runs cannot be laid on one another, or a bare pattern
            has another shape or another number of tokens.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.rows.NEEDS)
        >>> view = vl.plots.explorer(vl.probes.attention_rows(run), title="sample 0")
        >>> view.save("page.html").name
        'page.html'
        >>> with vl.plots.explorer(model, sample) as page:
        ...     print(page)
        LiveExplorer(shapes-base, http://127.0.0.1:.../?token=...)
    """
    if hasattr(runs, "hook_dict"):
        from vlmlens.live import explore  # a model, of which figures know nothing else

        if title:
            raise InputError("title= is for runs: a live page shows the question it asks")
        return explore(runs, given, **live)
    refuse_unknown(live, ("runs", "given", "title"), "explorer(...) of runs")
    if not isinstance(runs, xr.Dataset | Mapping):
        runs = labelled(runs, given)
    elif given is not None:
        raise InputError(
            "attention rows stand alone: given= is a bare pattern's tokens or a model's question"
        )
    return Explorer(runs, title=title)


@final
class Explorer:
    """Attention rows to point at: shown in a notebook, moved by ``select``, written by ``save``.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.rows.NEEDS)
        >>> view = vl.plots.explorer(vl.probes.attention_rows(run))
        >>> view.save("page.html").name
        'page.html'
        >>> view.selection
        Selection(run='attention', layer=None, head=None, position=77, area=())
    """

    def __init__(self, runs: xr.Dataset | Mapping[str, xr.Dataset], *, title: str = ""):
        named = {"attention": runs} if isinstance(runs, xr.Dataset) else dict(runs)
        if not 1 <= len(named) <= 2:
            raise InputError(f"an explorer shows one run or compares two, not {len(named)}")
        if DIFFERENCE in named:
            raise InputError(f"no run can be called {DIFFERENCE!r}: that is what two runs have")
        self.runs = {str(name): check(table) for name, table in named.items()}
        same_places(self.runs)
        self.title = title
        self._chosen = Selection(next(iter(self.runs)), position=self._start())

    @property
    def selection(self) -> Selection:
        """What is chosen now; what was clicked in the notebook comes back here."""
        if "_widget" in self.__dict__ and self._widget.chosen is not None:
            return self._labelled(self._widget.chosen)
        return self._chosen

    def select(self, **changes: Any) -> "Explorer":
        """Choose from Python: ``run``, ``layer`` and ``head``, ``position``, ``area``.

        Returns:
            The explorer itself, so that it can be shown or saved in the same line.

        Raises:
            InputError: a label that is not there.
        """
        unknown = set(changes) - set(asdict(self._chosen))
        if unknown:
            raise InputError(f"a selection has no {', '.join(sorted(unknown))}: {self.selection}")
        if "area" in changes:  # from layout.within(...), a list or a DataArray
            changes["area"] = tuple(np.asarray(changes["area"]).astype(int).tolist())
        wanted = replace(self.selection, **changes)
        numbered = self._numbered(self.runs, wanted)
        self._chosen = wanted
        if "_widget" in self.__dict__:
            self._widget.chosen = numbered
        return self

    def save(
        self,
        path: str | Path,
        *,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        rows: Sequence[int | str] | None = None,
    ) -> Path:
        """Write one HTML file that opens offline, with everything in it.

        Args:
            path: of the page.
            layers: the layers to keep; None for all.
            heads: the heads to keep; None for all.
            rows: the queries to keep, as positions or roles (``"user"``); None for all.

        Raises:
            InputError: something that is not there, or a page of more than 30 MB.
        """
        kept = {name: _part(t, layers, heads, rows) for name, t in self.runs.items()}
        meta = described(kept, self.title) | {"start": self._numbered(kept, self._within(kept))}
        text = page(meta, packed(kept))
        _check_size(len(text), MOST_BYTES, "page", kept)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def _repr_mimebundle_(self, **_: Any) -> Any:
        """A widget where anywidget is installed; beside it a picture and the page, which stay."""
        kept = {"text/plain": repr(self)} | self._kept()
        if not find_spec("anywidget"):
            return kept
        shown, about = self._widget._repr_mimebundle_()
        return kept | shown, about

    def _kept(self) -> dict[str, str]:
        """What a saved notebook holds: a picture, and unless it is too large the page itself."""
        one = self.runs.get(self.selection.run, next(iter(self.runs.values())))
        meta = described(self.runs, self.title)
        drawn = base64.b64encode(still(one, self.selection, meta["title"])).decode()
        meta["start"] = self._numbered(self.runs, self.selection)
        whole = page(meta, packed(self.runs))
        return {"image/png": drawn, "text/html": beside(drawn, whole, meta["title"])}

    @cached_property
    def _widget(self) -> Any:
        from vlmlens.plots.interactive.widget import Widget  # anywidget is an extra

        meta = json.dumps(described(self.runs, self.title))
        chosen = self._numbered(self.runs, self._chosen)
        data = packed(self.runs)
        _check_size(len(data), MOST_IN_A_NOTEBOOK, "widget", self.runs)
        return Widget(meta=meta, data=data, chosen=chosen)

    def _start(self) -> int | None:
        """The position where the answer begins: the last word of the prompt that has a row."""
        one = next(iter(self.runs.values()))
        asked = (one["role"] != "assistant") & (one["image"] < 0)
        words = set(one["key"].values[asked.values].tolist())
        found = [query for query in one["query"].values.tolist() if query in words]
        return found[-1] if found else None

    def _within(self, kept: Mapping[str, xr.Dataset]) -> Selection:
        """The selection without a head that was left out."""
        one, now = next(iter(kept.values())), self.selection
        inside = now.layer in one["layer"].values and now.head in one["head"].values
        return now if inside else replace(now, layer=None, head=None)

    def _numbered(self, runs: Mapping[str, xr.Dataset], chosen: Selection) -> dict[str, Any]:
        """The selection by place, as the page counts."""
        one = next(iter(runs.values()))
        if chosen.run not in (*runs, *([DIFFERENCE] if len(runs) == 2 else [])):
            raise InputError(f"no run {chosen.run!r}; there is: {', '.join(runs)}")
        if (chosen.layer is None) != (chosen.head is None):
            raise InputError("choose a layer and a head together, or neither for the mean of all")
        place = {
            "layer": _at(one, "layer", chosen.layer),
            "head": _at(one, "head", chosen.head),
            "position": _at(one, "key", chosen.position),
        }
        return {"run": chosen.run, **place, "area": [_at(one, "key", at) for at in chosen.area]}

    def _labelled(self, chosen: Mapping[str, Any]) -> Selection:
        """What the page chose, by the labels of the attention rows."""
        one = next(iter(self.runs.values()))

        def label(dim: str, at: int | None) -> Any:
            return None if at is None else one[dim].values[at].item()

        return Selection(
            chosen["run"],
            label("layer", chosen["layer"]),
            label("head", chosen["head"]),
            label("key", chosen["position"]),
            tuple(label("key", at) for at in chosen["area"]),
        )

    def __repr__(self) -> str:
        sizes = next(iter(self.runs.values()))["attention"].sizes
        return f"Explorer({', '.join(self.runs)}: {dict(sizes)})"


def _check_size(size: int, most: int, what: str, runs: Mapping[str, xr.Dataset]) -> None:
    if size > most:
        sizes = dict(next(iter(runs.values()))["attention"].sizes)
        raise InputError(
            f"the {what} would have {size / 1e6:.0f} MB, more than {most / 1e6:.0f}: attention is "
            f"{sizes}; keep fewer rows, layers or heads: save(..., rows=('user',), layers=(3, 4)) "
            "for a page, table.sel(query=..., layer=...) for a notebook"
        )


def _at(table: xr.Dataset, dim: str, label: int | None) -> int | None:
    if label is None:
        return None
    found = np.flatnonzero(table[dim].values == label)
    if not len(found):
        ends = f"{table[dim].values[0]} to {table[dim].values[-1]}"
        raise InputError(f"no {dim} {label}: there is {ends}")
    return int(found[0])


def _part(
    table: xr.Dataset,
    layers: Sequence[int] | None,
    heads: Sequence[int] | None,
    rows: Sequence[int | str] | None,
) -> xr.Dataset:
    """The table with these layers, heads and queries, in the table's own order."""
    if rows is not None:
        roles = dict(zip(table["key"].values.tolist(), table["role"].values.tolist(), strict=True))
        every = table["query"].values.tolist()
        for row in rows:
            if row not in every and row not in {roles[query] for query in every}:
                raise InputError(f"no row {row!r}: rows are positions or roles of the queries")
        table = table.sel(query=[q for q in every if q in rows or roles[q] in rows])
    for dim, wanted in (("layer", layers), ("head", heads)):
        if wanted is not None:
            for label in wanted:
                _at(table, dim, label)
            table = table.sel({dim: [x for x in table[dim].values.tolist() if x in wanted]})
    return check(table)
