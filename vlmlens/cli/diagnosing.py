"""``vlmlens diagnose``: the whole measurement of a model on a data set."""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlmlens.checks import number
from vlmlens.cli import tables
from vlmlens.cli.grading import Grader, rule_given
from vlmlens.cli.options import Batch, Length, MaxFailed, Permutations, System
from vlmlens.cli.terminal import Attention, Device, Dtype, Out, Revision, Trust, err, opening, out
from vlmlens.errors import InputError
from vlmlens.extras import require

if TYPE_CHECKING:
    from vlmlens.experiments import Diagnosis
    from vlmlens.sample import Sample


Model = Annotated[str, typer.Argument(help="A bundled model, a local folder, or a hub id.")]
Data = Annotated[
    str,
    typer.Option(
        help="shapes-2d, a folder of images, a table of questions, or a published set: "
        "NAME:SPLIT@FOLDER."
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(help="What holds what in a table: question=text,answer=label,image=file."),
]
Prompt = Annotated[
    str, typer.Option(help="Which of a published set's own ways to ask; its first by default.")
]
Samples = Annotated[int | None, typer.Option(help="How many; by default 240, or all.")]
Question = Annotated[
    str | None,
    typer.Option(
        help="Asked about a folder of images without questions of its own; "
        "by default: Describe the image."
    ),
]
Scoring = Annotated[
    str,
    typer.Option(
        help="greedy: grade what is said; likelihood: the likeliest choice, also "
        "likelihood:per-token, :per-byte, :calibrated."
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        help="gold: right answers; own: what the model says of intact images. By default own "
        "only where no question has an answer."
    ),
]
Delta = Annotated[float, typer.Option(help="RoPE steps that vision keys are rotated by.")]
Everything = Annotated[
    bool, typer.Option("--all", help="Every measurement of a run, with intervals and tests.")
]
AllowNonfinite = Annotated[
    bool,
    typer.Option(
        "--allow-nonfinite",
        help="Go on where activations are NaN or infinite (not with --all).",
    ),
]
Share = Annotated[
    str,
    typer.Option(
        "--shard",
        help="Only this share of the samples, i/n counted from 0, or auto under Slurm and torchrun "
        "(not with --all).",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no bars.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the data set, intervals and tests.")]


def diagnose(
    model: Model = "shapes-base",
    data: Data = "shapes-2d",
    columns: Columns = None,
    prompt: Prompt = "",
    samples: Samples = None,
    folder: Out = Path("results/diagnose"),
    question: Question = None,
    permutations: Permutations = 5,
    scoring: Scoring = "greedy",
    reference: Reference = None,
    grader: Grader = None,
    delta: Delta = 1.0,
    max_new_tokens: Length = 8,
    system: System = None,
    everything: Everything = False,
    allow_nonfinite: AllowNonfinite = False,
    batch: Batch = 32,
    max_failed: MaxFailed = 0.05,
    seed: Seed = 0,
    shard: Share = "",
    quiet: Quiet = False,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    attention: Attention = None,
    trust_remote_code: Trust = False,
) -> None:
    """PSI, CMB, RoPE sensitivity and norms by depth, in a table and a report.

    With --all also everything else that is measured: head atlas, residual stream, linear probes,
    logit lens, structured and partial shuffles, causal rotations, blind controls.
    Run it again with the same --out and it goes on where it stopped. A sample that cannot be
    measured is left out and named, and the status is then 1.
    With --shard, several processes fill one --out; the same command without it then reads what
    they did, and reports.
    """
    _check(delta, everything, allow_nonfinite, shard)
    options = opening(model, device, dtype, revision, attention, trust_remote_code)
    rule = rule_given(grader, data)
    asked, left = _asked(data, samples, seed, question, prompt, columns, max_failed)
    err.print(f"{len(asked)} samples of {data}; opening {model}", markup=False, soft_wrap=True)
    # The data is known to be in order: only now does it pay to import torch.
    from vlmlens import experiments
    from vlmlens.model import HookedVLM

    experiments.refuse_unscored(asked, scoring, reference)
    folder = experiments.claim(folder, model)
    with HookedVLM.from_pretrained(model, **options) as vlm:
        found = _way(everything, allow_nonfinite, shard)(
            vlm,
            asked,
            permutations=permutations,
            scoring=scoring,
            reference=reference,
            rule=rule,
            delta=delta,
            max_new_tokens=max_new_tokens,
            system=system,
            seed=seed,
            batch=batch,
            folder=folder,
            max_failed=max_failed,
            progress=not quiet,
        )
    if shard:
        return _say_share(found, shard, folder)
    _say(found, folder, everything, data, left)
    return _say_failed(found, len(asked))


def _way(everything: bool, allow_nonfinite: bool, shard: str) -> Callable[..., "Diagnosis"]:
    """The function that measures what was asked for."""
    from vlmlens import experiments

    if everything:
        return experiments.diagnose_all
    executor = experiments.Shard.of(shard) if shard else None
    return partial(experiments.diagnose, allow_nonfinite=allow_nonfinite, executor=executor)


def _say_share(found: "Diagnosis", shard: str, folder: Path) -> None:
    count = found.results.sizes["sample"]
    err.print(f"shard {shard}: {count} samples are done, and kept in {folder}", markup=False)


def _check(delta: float, everything: bool, allow_nonfinite: bool, shard: str) -> None:
    """Refuse what cannot be done, before anything is opened."""
    number(delta, "--delta")
    if not everything:
        return
    require("sklearn", "diagnose --all", "diagnose without --all goes without it")
    if shard:
        raise InputError("--shard goes without --all: share the samples of diagnose")
    if allow_nonfinite:
        raise InputError(
            "--allow-nonfinite goes without --all, whose tests need numbers everywhere"
        )


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


def _say(
    found: "Diagnosis", folder: Path, everything: bool, data: str, left: Sequence[str]
) -> None:
    """Print what was found, keep it, and say where."""
    from vlmlens import experiments, report
    from vlmlens.report.summary import on_crops

    found.results.attrs |= {"data": data, "command": f"vlmlens {shlex.join(sys.argv[1:])}"}
    if left:
        found.results.attrs["left_out"] = f"{len(left)}: {', '.join(left[:20])}"

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


def _say_failed(found: "Diagnosis", asked: int) -> None:
    """Name the samples that are in no number; the status then says so, too."""
    if failures := json.loads(found.results.attrs.get("failures", "[]")):
        err.print(f"{len(failures)} of {asked} samples failed, and are in no number:")
        for each in failures:
            err.print(f"  {each['id']}: {each['error']}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
