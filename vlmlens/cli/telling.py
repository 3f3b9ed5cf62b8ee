"""What long commands tell while they run, and at their end."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlmlens.cli.terminal import err
from vlmlens.errors import InputError

if TYPE_CHECKING:
    from vlmlens.experiments import Event

Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print events, a JSON object a line, in place of bars and tables."),
]
#: Failures that are named at the end.
NAMED = 20


def told(quiet: bool, as_json: bool) -> "bool | Callable[[Event], None]":
    """What ``progress=`` is; with ``--quiet``, transformers and the hub show no bars either.

    Raises:
        InputError: both.
    """
    if quiet and as_json:
        raise InputError("--quiet and --json: tell nothing, or events; take one of them")
    if quiet:
        from vlmlens.zoo.opening.bars import without_bars  # only now: it takes seconds

        without_bars()
    return event if as_json else not quiet


def event(one: "Event") -> None:
    """An event of the work."""
    more = {"sample": one.sample, "error": one.error} if one.kind == "failed" else {}
    counts = {"done": one.done, "failed": one.failed, "left": one.left}
    say(one.kind, what=one.what, **counts, **more)


def say(kind: str, **more: Any) -> None:
    """An event, as a line of JSON."""
    print(json.dumps({"event": kind, **more}, default=str), file=sys.stdout, flush=True)


def name_failures(failures: Sequence[Mapping[str, str]], asked: str, where: str) -> None:
    """Name what failed, and end with status 1, if anything did.

    Args:
        failures: ``id`` and ``error`` of each.
        asked: what they are of.
        where: what they are missing from.
    """
    if not failures:
        return
    err.print(f"{len(failures)} of {asked} failed, and are in no {where}:", markup=False)
    for each in failures[:NAMED]:
        err.print(f"  {each['id']}: {each['error']}", markup=False, soft_wrap=True)
    if len(failures) > NAMED:
        err.print(f"  and {len(failures) - NAMED} more")
    raise typer.Exit(1)
