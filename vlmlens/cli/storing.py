"""``vlmlens status``, ``merge``, ``gc`` and ``export``: looking after a folder of results."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from vlmlens.cli.terminal import err, out

Folder = Annotated[Path, typer.Argument(help="A folder that results are kept in.")]


def status(folder: Folder) -> None:
    """Say what is done, has failed and is left of every condition, and who is writing.

    Ends with status 1 where something is left, has failed or is damaged.
    """
    from vlmlens.store import upkeep

    found = upkeep.status(_store(folder))
    table = Table("model", "measure", "condition", "done", "failed", "left")
    short = _short({str(each.told.get("measure", "")) for each in found.conditions.values()})
    for each in found.conditions.values():
        told = {name: str(each.told.get(name, "")) for name in ("model", "measure", "label")}
        told["measure"] = short[told["measure"]]
        table.add_row(
            *map(escape, told.values()), *(f"{n:,}" for n in (each.done, each.failed, each.left))
        )
    out.print(table)
    out.print(f"{found.files:,} files, {found.bytes / 1e6:,.1f} MB", highlight=False)
    for versions in sorted({str(c.told.get("versions", "")) for c in found.conditions.values()}):
        once = re.sub(r"(\S+) \1(?![^\s,;])", r"\1", versions)  # a release's own and the installed
        out.print(f"made by {once}", markup=False, highlight=False, soft_wrap=True)
    for who in found.running:
        out.print(f"writing: {who}", markup=False, highlight=False, soft_wrap=True)
    said = [f"failed: {name}: {error}" for name, error in found.failures.items()]
    said += [f"failed: {name}: its pictures cannot be read" for name in found.unread]
    said += [f"damaged: {reason}" for reason in found.damaged]
    for line in said:
        err.print(line, markup=False, highlight=False, soft_wrap=True)
    if said or any(each.left for each in found.conditions.values()):
        raise typer.Exit(1)


def merge(
    into: Annotated[Path, typer.Argument(help="The folder that results are brought into.")],
    others: Annotated[list[Path], typer.Argument(help="Folders that they are brought from.")],
) -> None:
    """Bring the results of several folders into one; what is in both is read once."""
    from vlmlens.store import upkeep

    count = upkeep.merge(into, [_store(other) for other in others])
    out.print(f"{count} files brought into {into}", markup=False, highlight=False, soft_wrap=True)


def gc(folder: Folder) -> None:
    """Put small files together, and remove what is damaged, half written or there twice."""
    from vlmlens.store import upkeep

    for what, count in upkeep.gc(_store(folder)).items():
        out.print(f"{what}: {count:,}", markup=False, highlight=False)


def export(
    folder: Folder,
    path: Annotated[Path, typer.Argument(help="The table: a name that ends in .parquet or .csv.")],
) -> None:
    """Write all finished results as one table, a row for every sample and condition.

    Of a folder that a sweep was given: a row for every cell, with its layer and place.
    """
    from vlmlens.experiments.pairs.cells import export_cells, maps_of
    from vlmlens.store import exporting

    swept = maps_of(folder)
    if swept:
        which = f"the cells of {len(swept)} map{'s'[: len(swept) > 1]} in {folder}"
        err.print(which, markup=False, highlight=False, soft_wrap=True)
    count = export_cells(folder, path) if swept else exporting.export(_store(folder), path)
    out.print(f"{count:,} rows: {path}", markup=False, highlight=False, soft_wrap=True)


def _short(measures: set[str]) -> dict[str, str]:
    """What is measured by its name alone, where no two of one name differ in their settings."""
    named = Counter(each.partition("(")[0] for each in measures)
    return {each: name if named[name := each.partition("(")[0]] == 1 else each for each in measures}


def _store(folder: Path) -> Path:
    """The folder, or what ``vlmlens diagnose`` keeps its results in inside it."""
    inside = folder / "cells"
    return inside if inside.is_dir() and not any(folder.glob("results-*.parquet")) else folder
