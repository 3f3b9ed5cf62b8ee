"""``vlmlens diagnose``: the whole measurement of a model on a data set."""

import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmlens.checks import number
from vlmlens.cli import tables
from vlmlens.cli.terminal import Attention, Device, Dtype, Out, Revision, Trust, err, opening, out
from vlmlens.errors import InputError
from vlmlens.extras import require

if TYPE_CHECKING:
    from vlmlens.experiments import Diagnosis
    from vlmlens.sample import Sample


def diagnose(
    model: Annotated[
        str, typer.Argument(help="A bundled model, a local folder, or a hub id.")
    ] = "shapes-base",
    data: Annotated[
        str,
        typer.Option(
            help="shapes-2d, a folder of images, a table of questions, or a published set: "
            "NAME:SPLIT@FOLDER."
        ),
    ] = "shapes-2d",
    columns: Annotated[
        str | None,
        typer.Option(help="What holds what in a table: question=text,answer=label,image=file."),
    ] = None,
    prompt: Annotated[
        str, typer.Option(help="Which of a published set's own ways to ask; its first by default.")
    ] = "",
    samples: Annotated[int | None, typer.Option(help="How many; by default 240, or all.")] = None,
    folder: Out = Path("results/diagnose"),
    question: Annotated[
        str | None,
        typer.Option(
            help="Asked about a folder of images without questions of its own; "
            "by default: Describe the image."
        ),
    ] = None,
    permutations: Annotated[int, typer.Option(min=1, help="Shuffles of every image.")] = 5,
    scoring: Annotated[
        str,
        typer.Option(
            help="greedy: grade what is said; likelihood: the likeliest choice, also "
            "likelihood:per-token, :per-byte, :calibrated."
        ),
    ] = "greedy",
    reference: Annotated[
        str | None,
        typer.Option(
            help="gold: right answers; own: what the model says of intact images. By default own "
            "only where no question has an answer."
        ),
    ] = None,
    delta: Annotated[float, typer.Option(help="RoPE steps that vision keys are turned by.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of an answer.")] = 8,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every measurement of a run, with intervals and tests.")
    ] = False,
    allow_nonfinite: Annotated[
        bool,
        typer.Option(
            "--allow-nonfinite",
            help="Go on where activations are NaN or infinite (not with --all).",
        ),
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Samples a pass.")] = 32,
    max_failed: Annotated[
        float,
        typer.Option(
            min=0, help="Samples that may fail before it stops: a share below 1, or a number."
        ),
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Of the data set, intervals and tests.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    attention: Attention = None,
    trust_remote_code: Trust = False,
) -> None:
    """PSI, CMB, RoPE sensitivity and norms by depth, in a table and a report.

    With --all also everything else that is measured: head atlas, residual stream, linear probes,
    logit lens, structured and partial shuffles, causal turns, blind controls.
    Run it again with the same --out and it goes on where it stopped. A sample that cannot be
    measured is left out and named, and the status is then 1.
    """
    number(delta, "--delta")
    if everything:
        require("sklearn", "diagnose --all", "diagnose without --all goes without it")
    options = opening(model, device, dtype, revision, attention, trust_remote_code)
    if everything and allow_nonfinite:
        raise InputError(
            "--allow-nonfinite goes without --all, whose tests need numbers everywhere"
        )
    asked, left = _asked(data, samples, seed, question, prompt, columns, max_failed)
    err.print(f"{len(asked)} samples of {data}; opening {model}", markup=False, soft_wrap=True)
    # The data is known to be in order: only now does it pay to import torch.
    from vlmlens import experiments
    from vlmlens.model import HookedVLM

    experiments.refuse_unscored(asked, scoring, reference)
    folder = experiments.claim(folder, model)
    with HookedVLM.from_pretrained(model, **options) as vlm:
        measured = (
            experiments.diagnose_all
            if everything
            else partial(experiments.diagnose, allow_nonfinite=allow_nonfinite)
        )
        found = measured(
            vlm,
            asked,
            permutations=permutations,
            scoring=scoring,
            reference=reference,
            delta=delta,
            max_new_tokens=max_new_tokens,
            system=system,
            seed=seed,
            batch=batch,
            folder=folder,
            max_failed=max_failed,
        )
    found.results.attrs |= {"data": data, "command": f"vlmlens {shlex.join(sys.argv[1:])}"}
    if left:
        found.results.attrs["left_out"] = f"{len(left)}: {', '.join(left[:20])}"
    _say(found, folder, everything)
    if failures := json.loads(found.results.attrs.get("failures", "[]")):
        err.print(f"{len(failures)} of {len(asked)} samples failed, and are in no number:")
        for each in failures:
            err.print(f"  {each['id']}: {each['error']}", markup=False, soft_wrap=True)
        raise typer.Exit(1)


def _asked(
    data: str,
    samples: int | None,
    seed: int,
    question: str | None,
    prompt: str,
    columns: str | None,
    max_failed: float,
) -> tuple[list["Sample"], list[str]]:
    """The samples, whose pictures are known to open, and the files that are left out."""
    from vlmlens import datasets
    from vlmlens.checks import allowed
    from vlmlens.picture import at_home

    if samples is None and data == "shapes-2d":
        samples = 240
    asked = datasets.load(
        data,
        samples=samples,
        seed=seed,
        question=question,
        prompt=prompt,
        columns=columns,
        check=False,
    )
    datasets.check_pictures(asked, most=allowed(max_failed, len(asked)))
    left = (
        datasets.left_out(data, question) if at_home(data).is_dir() and data != "shapes-2d" else []
    )
    return asked, left


def _say(found: "Diagnosis", folder: Path, everything: bool) -> None:
    """Print what was found, keep it, and say where."""
    from vlmlens import experiments, report
    from vlmlens.report.summary import on_crops

    # Before anything is written: where nothing can be, the numbers are still seen.
    out.print(tables.psi_table(found))
    out.print(tables.inside_table(found))
    if crops := on_crops(found.results):
        out.print(crops, markup=False, highlight=False, soft_wrap=True)
    if everything:
        out.print(tables.averages_table(found))
    paths = experiments.save(found, folder)
    page = report.build(found.results, found.psi, folder / "report.html")
    if everything:
        for name in found.tables:
            out.print(f"{name}: {paths[name]}", soft_wrap=True, markup=False)
    out.print(f"report: {page}", soft_wrap=True, markup=False)
