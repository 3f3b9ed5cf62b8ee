"""``vlmlens plan``: what a model takes, before any of its weights is there."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from vlmlens.cli.terminal import Revision, Trust, opening, out

if TYPE_CHECKING:
    from vlmlens.planning import Plan

#: Units of what is shown.
GIB, TERA, BILLION = 2**30, 1e12, 1e9


def plan(
    model: Annotated[
        str,
        typer.Argument(
            help="A folder with config.json, a bundled model, a hub id, or an architecture: llava."
        ),
    ],
    samples: Annotated[int, typer.Option(min=1, help="Samples, or pairs of a sweep.")] = 1,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="last, heads or rows: over what a sweep goes in every layer."),
    ] = None,
    permutations: Annotated[int, typer.Option(min=1, help="Shuffles of every image, for PSI.")] = 5,
    tokens: Annotated[int, typer.Option(min=1, help="Length of an answer.")] = 8,
    text: Annotated[int, typer.Option(min=8, help="Tokens of a prompt beside its picture.")] = 64,
    tflops: Annotated[float, typer.Option(help="Tera-operations a second that a GPU sustains.")] = (
        150.0
    ),
    bandwidth: Annotated[float, typer.Option(help="Gigabytes a second from its memory.")] = 1500.0,
    memory: Annotated[float, typer.Option(help="Its memory, in GiB.")] = 80.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, help="Write all figures here, too.")
    ] = None,
    revision: Revision = None,
    trust_remote_code: Trust = False,
) -> None:
    """Count what a model takes from its configuration alone: memory, operations, time, GPUs.

    No weight is read. Passes are run on shapes; times are what a GPU takes that only multiplies or
    only reads weights, whichever is slower.
    """
    from vlmlens import planning, zoo
    from vlmlens.families import FAMILIES

    if model in FAMILIES and not Path(model).exists():
        config = planning.full_size(model)
    else:
        options = opening(model, None, None, revision, None, trust_remote_code)
        config = zoo.configuration(model, **options)
    card = planning.Card(tflops, bandwidth, memory)
    found = planning.plan(
        model,
        config,
        samples=samples,
        text=text,
        permutations=permutations,
        tokens=tokens,
        sweeps=list(dict.fromkeys(sweep or ())),
        card=card,
    )
    out.print(
        f"{found.model}: {found.family}, {found.layers} layers, {found.points} points; a prompt "
        f"of {found.vision} vision and {found.text} text tokens",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    for table in (parameters_table(found), memory_table(found), jobs_table(found)):
        out.print(table)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(found.to_dict(), indent=1))


def parameters_table(found: "Plan") -> Table:
    """Parameters by part."""
    table = Table(title="parameters")
    for name in ("part", "billions"):
        table.add_column(name, justify="left" if name == "part" else "right")
    for part, number in found.parameters.items():
        table.add_row(part, f"{number / BILLION:.3g}")
    table.add_row("all", f"{sum(found.parameters.values()) / BILLION:.3g}")
    return table


def memory_table(found: "Plan") -> Table:
    """What is held, and where it fits."""
    table = Table(
        title=f"memory in GiB, and GPUs of {found.card.memory:g} GiB",
        caption="pass: what one prompt holds beyond the weights; batch: prompts that fit at once",
    )
    heads = ("numbers", "weights", "pass", "CMB", "stream kept", "GPUs", "batch")
    for name in heads:
        table.add_column(name, justify="left" if name == "numbers" else "right")
    for dtype, held in found.memory.items():
        sizes = (held.weights, held.run, held.cmb, held.stream)
        fits = (str(held.cards), str(held.batch)) if held.cards else ("none is enough", "0")
        name = "bfloat16, float16" if dtype == "bfloat16" else dtype
        table.add_row(name, *(f"{size / GIB:.3g}" for size in sizes), *fits)
    return table


def jobs_table(found: "Plan") -> Table:
    """What passes and experiments take."""
    card, number = found.card, found.samples
    table = Table(
        title=escape(
            f"bfloat16, at {card.tflops:g} tera-operations and {card.bandwidth:g} GB a second"
        )
    )
    names = ("what", "tera-operations", "seconds", *([f"seconds, {number} samples"][: number > 1]))
    for name in names:
        table.add_column(name, justify="left" if name == "what" else "right")
    for job in found.jobs:
        seconds = job.seconds(card)
        more = [f"{number * seconds:.3g}"][: number > 1]
        table.add_row(job.name, f"{job.operations / TERA:.3g}", f"{seconds:.3g}", *more)
    return table
