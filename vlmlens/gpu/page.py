"""The table that a reader sees, from what trials found."""

from collections.abc import Iterable
from typing import Any

HEAD = """# GPUs that it was tried on

`python -m vlmlens.gpu` tries a card within minutes and writes what it finds as JSON; `make gpu`
runs the tests marked `gpu` as well, and makes this page of all files in `docs/gpu_results/`.

First laws: what should hold on any device, and whether it does on this one. If one does not hold on
yours, numbers from there are in doubt: please report its line. Then costs: the time of every job by
that of a forward pass of plain transformers on the same prompt, beside the number of passes that a
loop takes for the same cells; the time for which the device itself was at work, which is what
remains where a pass is long; and the most memory that a job holds beyond weights and inputs.

"""


def page(trials: Iterable[dict[str, Any]]) -> str:
    """Markdown: for every card what was tried, which laws hold, what jobs cost.

    Args:
        trials: as ``python -m vlmlens.gpu`` writes them.
    """
    return HEAD + "\n".join(line for trial in trials for line in _trial(trial))


def _trial(trial: dict[str, Any]) -> Iterable[str]:
    about = trial["about"]
    yield f"## {about['device']}\n"
    yield "; ".join(f"{key} {value}" for key, value in about.items() if key != "device") + "\n"
    yield f"{trial['date']}, {trial['seconds']:.0f} s in all.\n"
    if "note" in trial:
        yield trial["note"] + "\n"
    yield from laws(trial["laws"])
    yield from costs(trial["size"], trial["costs"])


def laws(found: list[dict[str, Any]]) -> Iterable[str]:
    """How many of each law hold, and every one that does not."""
    yield "| law | tried | hold | could not be tried |\n|---|---|---|---|"
    for name in dict.fromkeys(law["name"] for law in found):
        own = [law["holds"] for law in found if law["name"] == name]
        tried = len(own) - own.count(None)
        yield f"| {name} | {tried} | {own.count(True)} | {own.count(None) or ''} |"
    yield ""
    for law in found:
        if not law["holds"]:
            word = "could not be tried" if law["holds"] is None else "**does not hold**"
            yield f"* {law['name']}, {law['subject']}: {word}: {law['found']}"
    yield ""


def costs(size: str, found: list[dict[str, Any]]) -> Iterable[str]:
    """What jobs cost, in plain forward passes."""
    yield f"{size[0].upper()}{size[1:]}; medians, and quartiles over rounds.\n"
    heads = (
        "job",
        "plain passes",
        "quartiles",
        "a loop takes",
        "seconds",
        "of the device",
        "peak MiB",
    )
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for cost in found:
        naive = "" if cost["naive"] is None else f"{cost['naive']:g}"
        busy = "" if cost["busy"] is None else f"{cost['busy']:.3f}"
        peak = "" if cost["peak"] is None else f"{cost['peak']:.0f}"
        yield (
            f"| {cost['name']} | {cost['passes']:.2f} | {cost['low']:.2f} to {cost['high']:.2f} | "
            f"{naive} | {cost['seconds']:.3f} | {busy} | {peak} |"
        )
    yield ""
