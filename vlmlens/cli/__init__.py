"""The command line: each command parses, calls the library and prints; a file for each group."""

import logging
from typing import Annotated

import typer

import vlmlens
from vlmlens.cli.checking import check, families
from vlmlens.cli.comparing import compare
from vlmlens.cli.diagnosing import diagnose
from vlmlens.cli.evaluating import evaluate, grade
from vlmlens.cli.exploring import explore
from vlmlens.cli.fetching import fetch, models
from vlmlens.cli.harvesting import harvest
from vlmlens.cli.planning import plan
from vlmlens.cli.storing import export, gc, merge, status
from vlmlens.cli.terminal import app, out, stopping

for _command in (
    *(diagnose, compare, evaluate, grade, harvest, models, fetch, check, families, plan),
    *(explore, status, merge, gc, export),
):
    app.command()(_command)


def _version(asked: bool) -> bool:
    if asked:
        out.print(f"vlmlens {vlmlens.__version__}", highlight=False)
        raise typer.Exit
    return asked


@app.callback()
def _about(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which, and end."),
    ] = False,
) -> None:
    """Options of the program itself."""


def run() -> None:
    """The entry point."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    # The command says it itself, once.
    logging.getLogger("vlmlens.experiments.failing").setLevel(logging.ERROR)
    with stopping():
        app()
