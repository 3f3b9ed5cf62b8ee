"""``vlmlens diagnose``: the whole measurement of a model on a data set."""

import json
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlmlens.checks import number
from vlmlens.cli import tables
from vlmlens.cli.grading import Grader, rule_given
from vlmlens.cli.options import (
    AcceptVersions,
    Batch,
    Length,
    MaxFailed,
    Permutations,
    System,
    accepting,
)
from vlmlens.cli.showing import shown
from vlmlens.cli.telling import Json, Quiet, name_failures, say, told
from vlmlens.cli.terminal import (
    Attention,
    Device,
    DeviceMap,
    Dtype,
    Out,
    Revision,
    Trust,
    err,
    opening,
    out,
    taken_away_if_empty,
)
from vlmlens.cli.workers import Ray, Share, Workers, executor_of, refuse
from vlmlens.errors import InputError
from vlmlens.extras import require

if TYPE_CHECKING:
    from vlmlens.experiments import Diagnosis
    from vlmlens.graders import Rule
    from vlmlens.model import HookedVLM
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
    accept_versions: AcceptVersions = None,
    shard: Share = "",
    ray: Ray = "",
    workers: Workers = None,
    quiet: Quiet = False,
    as_json: Json = False,
    device: Device = None,
    device_map: DeviceMap = None,
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
    _check(delta, everything, allow_nonfinite)
    refuse(shard, ray, workers)
    options = opening(model, device, dtype, revision, attention, trust_remote_code, device_map)
    rule = rule_given(grader, data)
    asked, left = asked_of(data, samples, seed, question, prompt, columns, max_failed)
    err.print(f"{len(asked)} samples of {data}; opening {model}", markup=False, soft_wrap=True)
    progress = told(quiet, as_json)
    # The data is known to be in order: only now does it pay to import torch.
    how: dict[str, Any] = {"permutations": permutations, "delta": delta, "seed": seed}
    how |= {"scoring": scoring, "reference": reference, "rule": rule, "system": system}
    how |= {"max_new_tokens": max_new_tokens, "batch": batch, "max_failed": max_failed}
    how |= {"progress": progress, "executor": executor_of(shard, ray, workers, options)}
    with taken_away_if_empty(folder):
        folder = _claimed(folder, model, asked, scoring, reference, rule)
        with opened(model, options) as vlm:
            accepting(folder, accept_versions)
            found = _way(everything, allow_nonfinite)(vlm, asked, folder=folder, **how)
            if shard:
                return _say_share(found, shard, folder, as_json)
            found, pictures = shown(vlm, asked, found, system)
    found.results.attrs |= {"data": data} | ({"left_out": _listed(left)} if left else {})
    _say(found, folder, pictures, everything, as_json)
    return name_failures(_failures(found), f"{len(asked)} samples", "number")


def _claimed(
    folder: Path,
    model: str,
    asked: list["Sample"],
    scoring: str,
    reference: str | None,
    rule: "Rule",
) -> Path:
    """The folder, once it is known that it is this model's, and that samples can be scored so."""
    from vlmlens import experiments

    experiments.refuse_unscored(asked, scoring, reference, rule)
    return experiments.claim(folder, model)


def opened(model: str, options: dict[str, Any]) -> "HookedVLM":
    """The model, open."""
    from vlmlens.model import HookedVLM

    return HookedVLM.from_pretrained(model, **options)


def _listed(left: list[str]) -> str:
    return f"{len(left)}: {', '.join(left[:20])}"


def _way(everything: bool, allow_nonfinite: bool) -> Callable[..., "Diagnosis"]:
    """The function that measures what was asked for."""
    from vlmlens import experiments

    if everything:
        return experiments.diagnose_all
    return partial(experiments.diagnose, allow_nonfinite=allow_nonfinite)


def _say_share(found: "Diagnosis", shard: str, folder: Path, as_json: bool) -> None:
    count, failures = found.results.sizes["sample"], _failures(found)
    err.print(f"shard {shard}: {count} samples are done, and kept in {folder}", markup=False)
    if as_json:
        say("finished", what="diagnose", shard=shard, samples=count, failures=failures)
    name_failures(failures, f"{count + len(failures)} samples", "number")


def _failures(found: "Diagnosis") -> list[dict[str, str]]:
    return json.loads(found.results.attrs.get("failures", "[]"))


def _check(delta: float, everything: bool, allow_nonfinite: bool) -> None:
    """Refuse what cannot be done, before anything is opened."""
    number(delta, "--delta")
    if not everything:
        return
    require("sklearn", "diagnose --all", "diagnose without --all goes without it")
    if allow_nonfinite:
        raise InputError(
            "--allow-nonfinite goes without --all, whose tests need numbers everywhere"
        )


def asked_of(
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


def _say(found: "Diagnosis", folder: Path, pictures: Any, everything: bool, as_json: bool) -> None:
    """Print what was found, keep it, and say where."""
    from vlmlens import experiments
    from vlmlens.report.stores import write_page
    from vlmlens.report.summary import on_crops

    found.results.attrs["command"] = f"vlmlens {shlex.join(sys.argv[1:])}"
    # Before anything is written: where nothing can be, the numbers are still seen.
    if not as_json:
        out.print(tables.psi_table(found))
        out.print(tables.inside_table(found))
        if crops := on_crops(found.results):
            out.print(crops, markup=False, highlight=False, soft_wrap=True)
        if everything:
            out.print(tables.averages_table(found))
    paths = experiments.save(found, folder)
    page = write_page(found.results, found.psi, folder / "report.html", pictures, found.tables)
    if as_json:
        count, told = found.results.sizes["sample"], {"report": page, "tables": [*paths.values()]}
        say("finished", what="diagnose", samples=count, failures=_failures(found), **told)
        return
    if everything:
        for name in found.tables:
            out.print(f"{name}: {paths[name]}", soft_wrap=True, markup=False)
    out.print(f"report: {page}", soft_wrap=True, markup=False)
