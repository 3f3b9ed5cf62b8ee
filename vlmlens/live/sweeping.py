"""Sweeps of the page: every head knocked out alone, or every layer patched alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlmlens.checks import flag, one_of, wholes
from vlmlens.errors import InputError
from vlmlens.interventions import Intervention, PatchFrom, ZeroAblate
from vlmlens.live.asking import Asking, Clean
from vlmlens.live.edits import heads, patch
from vlmlens.live.edits.base import compact
from vlmlens.live.turns import Job
from vlmlens.select import Where

if TYPE_CHECKING:
    from vlmlens.live.session import Session

#: Cells of one call, between which is asked whether to go on.
AT_ONCE = 16
#: Heads whose answers are heard to their end where the model is quick: those that the page lists.
LISTED = 8


@dataclass(frozen=True)
class Cell:
    """One edit of a sweep, and what is said while it runs."""

    edit: Intervention
    note: str


@dataclass(frozen=True)
class Found:
    """What became of the answer, cell by cell.

    Attributes:
        pair: the two tokens that are compared, the clean run's own first.
        before: their logit difference before the cells' own edits.
        changes: of that difference.
        likeliest: the likeliest token.
    """

    pair: tuple[int, int]
    before: float
    changes: list[float]
    likeliest: list[int]


def swept(session: "Session", message: dict[str, Any], job: Job) -> dict[str, Any]:
    """The change of the answer's logit difference, cell by cell, from the clean run.

        change = (logit a - logit b, edited) - (logit a - logit b, clean)

    with a the likeliest token of the clean run and b the next one.

    Returns:
        ``values``, (layer, head), or one for what enters layer 0 and each layer; ``clean``, the
        clean difference; ``tokens``, a and b; ``text``, what the values are changes of; ``said``,
        the answer of every cell; ``others``, whether it begins with neither a nor b.

        Of heads with ``mirror``, values are means over the picture and its mirror image, whose
        a is what is likelier there; ``both`` has those of each. With ``edited``, heads are knocked
        out beside the edits that there are, and changes are from the edited run. Of layers,
        ``shares`` are the part of the way to the second picture's difference, None where the two
        pictures' differences are alike, and ``second`` is that picture's own ``answer`` and
        ``difference``.

    Raises:
        InputError: no second picture, a mirror image that is answered with neither a nor b, or
            one that edits are to be made in, too.
    """
    what = one_of(message.get("what"), "what", ("heads", "layers"))
    clean, edits = session.edits(job)
    if what == "heads":
        mirror, edited = (flag(message.get(name, False), name) for name in ("mirror", "edited"))
        if mirror and edited:
            raise InputError("edits are made in this picture, and not in its mirror image")
        return _heads(session.asking, clean, edits if edited else (), mirror, job)
    return _layers(session, clean, message.get("keys"), job)


def _heads(
    asking: Asking, clean: Clean, under: Sequence[Intervention], mirror: bool, job: Job
) -> dict[str, Any]:
    count = asking.model.cfg.n_heads
    cells = [
        Cell(
            ZeroAblate(heads.POINT.replace("*", str(layer)), Where(heads=head)),
            f"layer {layer}, head {head}",
        )
        for layer in range(asking.model.layers)
        for head in range(count)
    ]
    part = (0.0, 0.5 if mirror else 1.0)
    here = _run(asking, clean, cells, compared(clean), job, part, under)
    every, tokens = [here], set(here.pair)
    if mirror:
        other = asking.clean(asking.mirrored(clean), job)
        if (first := compared(other)[0]) not in tokens:
            words = " nor ".join(f"“{asking.word(token).strip()}”" for token in here.pair)
            raise InputError(
                f"the mirror image is answered with “{asking.word(first).strip()}”, neither "
                f"{words}: there is no mean over both"
            )
        pair = here.pair if first == here.pair[0] else (here.pair[1], here.pair[0])
        every.append(_run(asking, other, cells, pair, job, (0.5, 0.5)))
    values = np.mean([found.changes for found in every], axis=0)
    said = [asking.begun(token) for token in here.likeliest]
    if clean.quick:
        for at in np.argsort(-np.abs(values), kind="stable")[:LISTED].tolist():
            job.check()
            said[at] = asking.whole(clean, [*under, cells[at].edit])
    rows = np.round(values, 5).reshape(-1, count).tolist()
    same = len({found.pair for found in every}) == 1
    words = _text(asking, here.pair)
    return {
        "values": rows,
        "clean": round(float(np.mean([found.before for found in every])), 5),
        "tokens": [asking.word(token) for token in here.pair],
        "text": words if same else f"{words} here, the other way round in the mirror image",
        "mirror": mirror,
        "both": [[round(one, 5) for one in found.changes] for found in every] if mirror else None,
        "edited": bool(under),
        "said": said,
        "others": [token not in tokens for token in here.likeliest],
    }


def _layers(session: "Session", clean: Clean, keys: Any, job: Job) -> dict[str, Any]:
    asking = session.asking
    chosen = "vision" if keys is None else compact(wholes(keys, "keys", least=0), "keys")
    where, source = Where(positions=chosen), session.second(clean, session.now)
    points = [patch.POINT.replace("*", str(layer)) for layer in range(asking.model.layers)]
    cells = [Cell(PatchFrom(patch.BEFORE, where, source=source), "before layer 0")] + [
        Cell(PatchFrom(point, where, source=source), f"after layer {layer}")
        for layer, point in enumerate(points)
    ]
    pair = compared(clean)
    if session.now.second is None:
        raise InputError("a patch comes from a second picture: choose one first")
    second = asking.clean(asking.other(clean, session.now.second), job)
    found = _run(asking, clean, cells, pair, job, (0.0, 1.0))
    there = difference(second, pair)
    far = there - found.before
    alike = bool(np.isclose(there, found.before, rtol=1e-4, atol=1e-5))
    return {
        "values": [round(change, 5) for change in found.changes],
        "shares": None if alike else [round(change / far, 5) for change in found.changes],
        "clean": round(found.before, 5),
        "second": {"answer": second.answer.text, "difference": round(there, 5)},
        "tokens": [asking.word(token) for token in pair],
        "text": _text(asking, pair),
        "said": [asking.word(token).strip() for token in found.likeliest],
        "others": [token not in pair for token in found.likeliest],
        "flips": [token != pair[0] for token in found.likeliest],
    }


def compared(clean: Clean) -> tuple[int, int]:
    """The likeliest token of a clean run, and the next one."""
    first, second = clean.answer.logits.topk(2).indices.tolist()
    return first, second


def difference(clean: Clean, pair: tuple[int, int]) -> float:
    """The logit of the first token less that of the second."""
    return float(clean.answer.logits[pair[0]] - clean.answer.logits[pair[1]])


def _run(
    asking: Asking,
    clean: Clean,
    cells: Sequence[Cell],
    pair: tuple[int, int],
    job: Job,
    part: tuple[float, float],
    under: Sequence[Intervention] = (),
) -> Found:
    """Run every cell from a clean run; its progress begins at ``part[0]`` and is ``part[1]``.

    ``under`` are edits that are made in every cell, and before them.
    """
    before = difference(clean, pair)
    if under:
        last = asking.model.resume(clean.prefill, [list(under)]).logits[0, -1].float().cpu()
        before = float(last[pair[0]] - last[pair[1]])
    changes: list[float] = []
    likeliest: list[int] = []
    for start in range(0, len(cells), AT_ONCE):
        job.progress(part[0] + part[1] * start / len(cells), cells[start].note)
        some = [[*under, cell.edit] for cell in cells[start : start + AT_ONCE]]
        last = asking.model.resume(clean.prefill, some).logits[:, -1].float().cpu()
        changes += (last[:, pair[0]] - last[:, pair[1]] - before).tolist()
        likeliest += last.argmax(-1).tolist()
    return Found(pair, before, changes, likeliest)


def _text(asking: Asking, pair: tuple[int, int]) -> str:
    first, second = (asking.word(token).strip() for token in pair)
    return f"logit of “{first}” − logit of “{second}”"
