"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from vlmlens.checks import one_of

Permutations = Annotated[int, typer.Option(min=1, help="Shuffles of every image.")]
Length = Annotated[int, typer.Option(min=1, help="Length of an answer.")]
System = Annotated[str | None, typer.Option(help="A system prompt.")]
Batch = Annotated[int, typer.Option(min=1, help="Samples a pass.")]


def _versions(which: str | None) -> str | None:
    if which is None:
        return None
    from vlmlens.store.accepting import WAYS

    return one_of(which, "--accept-versions", WAYS)


AcceptVersions = Annotated[
    str | None,
    typer.Option(
        callback=_versions,
        help="patch: count results of versions of vlmlens, torch and others that differ in their "
        "patch, 2.13.0 and 2.13.1, and say so; exact: no longer. Kept in --out.",
    ),
]
MaxFailed = Annotated[
    float,
    typer.Option(
        min=0, help="Samples that may fail before it stops: a share below 1, or a number."
    ),
]


def accepting(folder: Path, which: str | None) -> None:
    """Write down which versions' results a run's folder accepts, if that was said."""
    from vlmlens.store import accept_versions

    if which is not None:
        accept_versions(folder / "cells", which)
