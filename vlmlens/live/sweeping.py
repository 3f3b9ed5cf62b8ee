"""Sweeps of the page: every head knocked out alone, or every layer patched alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlmlens.checks import one_of, wholes
from vlmlens.interventions import Intervention, PatchFrom, ZeroAblate
from vlmlens.live.edits import heads, patch
from vlmlens.live.edits.base import compact
from vlmlens.live.turns import Job
from vlmlens.select import Where

if TYPE_CHECKING:
    from vlmlens.live.session import Session

#: Cells of one call, between which is asked whether to go on.
AT_ONCE = 16


def swept(session: "Session", message: dict[str, Any], job: Job) -> dict[str, Any]:
    """The change of the answer's logit difference, cell by cell, from the clean run.

        change = (logit a - logit b, edited) - (logit a - logit b, clean)

    with a the likeliest token of the clean run and b the next one.

    Returns:
        ``values``, (layer, head) or (layer,); ``clean``, the clean difference; ``tokens``, a and
        b; and ``text``, which says what the values are changes of.
    """
    what = one_of(message.get("what"), "what", ("heads", "layers"))
    asking = session.asking
    clean, _ = session.edits(job)
    layers, count = range(asking.model.layers), asking.model.cfg.n_heads
    if what == "heads":
        cells: list[Intervention] = [
            ZeroAblate(heads.POINT.replace("*", str(layer)), Where(heads=head))
            for layer in layers
            for head in range(count)
        ]
        notes = [f"layer {layer}, head {head}" for layer in layers for head in range(count)]
    else:
        keys = message.get("keys")
        chosen = "vision" if keys is None else compact(wholes(keys, "keys", least=0), "keys")
        where, source = Where(positions=chosen), session.second(clean, session.now)
        points = [patch.POINT.replace("*", str(layer)) for layer in layers]
        cells = [PatchFrom(point, where, source=source) for point in points]
        notes = [f"layer {layer}" for layer in layers]
    first, next_one = clean.answer.logits.topk(2).indices.tolist()
    before = float(clean.answer.logits[first] - clean.answer.logits[next_one])
    values: list[float] = []
    for start in range(0, len(cells), AT_ONCE):
        job.progress(start / len(cells), notes[start])
        some: Sequence[Sequence[Intervention]] = [[c] for c in cells[start : start + AT_ONCE]]
        last = asking.model.resume(clean.prefill, some).logits[:, -1].float().cpu()
        values += (last[:, first] - last[:, next_one] - before).tolist()
    rounded = [round(value, 5) for value in values]
    grid = [rounded[at : at + count] for at in range(0, len(rounded), count)]
    words = [asking.word(token) for token in (first, next_one)]
    return {
        "values": grid if what == "heads" else rounded,
        "clean": round(before, 5),
        "tokens": words,
        "text": f"logit of “{words[0].strip()}” − logit of “{words[1].strip()}”",
    }
