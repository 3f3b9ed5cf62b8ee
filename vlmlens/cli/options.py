"""Options that several commands have."""

from typing import Annotated

import typer

Permutations = Annotated[int, typer.Option(min=1, help="Shuffles of every image.")]
Length = Annotated[int, typer.Option(min=1, help="Length of an answer.")]
System = Annotated[str | None, typer.Option(help="A system prompt.")]
Batch = Annotated[int, typer.Option(min=1, help="Samples a pass.")]
MaxFailed = Annotated[
    float,
    typer.Option(
        min=0, help="Samples that may fail before it stops: a share below 1, or a number."
    ),
]
