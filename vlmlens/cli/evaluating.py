"""``vlmlens evaluate`` and ``vlmlens grade``: models on benchmarks, side by side."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    folder_for_results,
    opening,
    out,
    taken_away_if_empty,
)
from vlmlens.cli.workers import Ray, Share, Workers, executor_of, refuse
from vlmlens.errors import DataError, ImageError, InputError, UnknownPromptError

if TYPE_CHECKING:
    from vlmlens.evaluation import Evaluation, Questions
    from vlmlens.graders import Rule
    from vlmlens.model import HookedVLM

Models = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Bundled models, folders, hub ids.")
]
Data = Annotated[
    list[str],
    typer.Option(help="A set, NAME:SPLIT@FOLDER; a table, a folder, shapes-2d. Several times."),
]
Conditions = Annotated[
    str,
    typer.Option(
        help="clean, permuted, text-only, noise, blank, other-picture, pool:8, blur:8, "
        "scale:0.1; the first is what others are compared with."
    ),
]
Score = Annotated[
    str,
    typer.Option(
        help="greedy: grade what is said; likelihood:sum, :per-token, :per-byte or :calibrated: "
        "the likeliest choice."
    ),
]
Samples = Annotated[int | None, typer.Option(help="How many of each set; by default all.")]
Seed = Annotated[int, typer.Option(min=0, help="Of what is drawn, and of tests.")]
Prompts = Annotated[
    list[str] | None,
    typer.Option(help="A way to ask: FORM for every set, SET/FORM for one. Several times."),
]
Columns = Annotated[
    str | None, typer.Option(help="What holds what in a table: question=text,answer=label.")
]
Question = Annotated[
    str | None, typer.Option(help="Asked about a folder of images without questions.")
]


def evaluate(
    models: Models,
    data: Data,
    conditions: Conditions = "clean,permuted,text-only",
    permutations: Permutations = 5,
    score: Score = "greedy",
    samples: Samples = None,
    seed: Seed = 0,
    folder: Out = Path("results/evaluate"),
    prompt: Prompts = None,
    grader: Grader = None,
    columns: Columns = None,
    question: Question = None,
    max_new_tokens: Length = 16,
    system: System = None,
    batch: Batch = 32,
    max_failed: MaxFailed = 0.05,
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
    """Models on benchmarks, side by side: metrics with intervals, differences, PSI, a report.

    Every answer is kept in items.parquet, with all that `vlmlens grade` needs to grade it again.
    Run it again with the same --out and it goes on where it stopped. An item that cannot be
    measured is recorded with its error, in no metric, and the status is then 1.
    With --shard, several processes fill one --out; the same command without it then reads what
    they did, and reports.
    """
    refuse(shard, ray, workers)
    progress = told(quiet, as_json)
    how = (device, dtype, revision, attention, trust_remote_code, device_map)
    options = {name: opening(name, *how) for name in _distinct(models)}
    rule = None if grader is None else rule_given(grader)
    _refuse_unasked(prompt or [], data)
    asked = [_asked(d, samples, seed, question, prompt, columns, rule, max_failed) for d in data]
    err.print(f"{_counted(asked)}; opening {', '.join(models)}", markup=False, soft_wrap=True)
    # The data is known to be in order: only now does it pay to import torch.
    from vlmlens import evaluation, zoo

    for name in models:  # the last is opened when all before it are done: too late for a misprint
        zoo.find(name)
    given: dict[str, Any] = {"conditions": conditions, "permutations": permutations, "seed": seed}
    given |= {"score": score, "max_new_tokens": max_new_tokens, "system": system}
    given |= {"batch": batch, "max_failed": max_failed, "folder": folder, "progress": progress}
    given |= {"executor": executor_of(shard, ray, workers, options[models[0]])}
    with taken_away_if_empty(folder):
        evaluation.claim(folder, models, [each.name for each in asked])
        opened = _opened(options, folder, accept_versions)
        found = evaluation.evaluate(opened, asked, **given)
    if shard:
        _say_share(found, shard, folder, as_json)
    else:
        found.settings["command"] = f"vlmlens {shlex.join(sys.argv[1:])}"
        _say(found, folder, asked, as_json)


def grade(
    results: Annotated[Path, typer.Argument(help="A folder that `vlmlens evaluate` wrote.")],
    grader: Grader = None,
    score: Annotated[
        str | None, typer.Option(help="Another form of likelihood: likelihood:per-byte, ...")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=folder_for_results,
            metavar="DIRECTORY",
            help="Where the new tables go; by default there.",
        ),
    ] = None,
) -> None:
    """Grade recorded answers again, by another rule or form of likelihood; no model is needed."""
    from vlmlens import evaluation

    found = evaluation.regrade(
        results, grader=None if grader is None else rule_given(grader), score=score
    )
    where = folder or (results if results.is_dir() else results.parent)
    _say(found, where, _again(found))


def _distinct(models: list[str]) -> list[str]:
    if twice := next((name for name in models if models.count(name) > 1), None):
        raise InputError(f"a model is named twice: {twice}")
    return models


def _asked(
    data: str,
    samples: int | None,
    seed: int,
    question: str | None,
    prompts: list[str] | None,
    columns: str | None,
    grader: "Rule | None",
    max_failed: float,
) -> "Questions":
    """A set, whose pictures are known to open but for as many as may fail."""
    from vlmlens.checks import allowed
    from vlmlens.datasets import check_pictures
    from vlmlens.evaluation import questions

    found = questions(
        data,
        samples=240 if samples is None and data == "shapes-2d" else samples,
        seed=seed,
        question=question,
        prompt=_form(data, prompts or []),
        columns=columns,
        grader=grader,
        check=False,
    )
    check_pictures(found.samples, most=allowed(max_failed, len(found.samples)))
    return found


def _refuse_unasked(prompts: Sequence[str], data: Sequence[str]) -> None:
    """Refuse a way to ask a set that is not asked."""
    there = {_set(each) for each in data}
    for prompt in prompts:
        name = prompt.partition("/")[0]
        if "/" in prompt and name not in there:
            raise InputError(f"--prompt {prompt}: {name} is not asked; there is: {', '.join(data)}")


def _set(data: str) -> str:
    """The name of a set, without its split and folder."""
    return data.partition("@")[0].partition(":")[0]


def _form(data: str, prompts: Sequence[str]) -> str:
    """The way to ask that is meant for a set."""
    name = _set(data)
    own = [p.partition("/")[2] for p in prompts if p.startswith(f"{name}/")]
    general = [p for p in prompts if "/" not in p]
    if len(own) > 1 or len(general) > 1:
        raise InputError(f"--prompt names two ways to ask {name}: {', '.join(prompts)}")
    return next(iter(own or general), "")


def _counted(asked: Sequence["Questions"]) -> str:
    return ", ".join(f"{len(each.samples)} questions of {each.name}" for each in asked)


def _opened(
    options: dict[str, dict[str, Any]], folder: Path, versions: str | None
) -> Iterator["HookedVLM"]:
    from vlmlens.model import HookedVLM

    for name, given in options.items():
        with HookedVLM.from_pretrained(name, **given) as model:
            accepting(folder, versions)
            yield model


def _again(found: "Evaluation") -> list["Questions"]:
    """The sets as they were asked, for their pictures; without those that are no longer there."""
    from vlmlens.evaluation import questions

    asked = []
    for spec in found.settings["sets"].values():
        if "data" in spec["given"]:
            try:
                asked.append(questions(**spec["given"], check=False))
            except (DataError, ImageError, UnknownPromptError) as error:
                err.print(f"the page is without pictures: {error}", markup=False, soft_wrap=True)
    return asked


def _say_share(found: "Evaluation", shard: str, folder: Path, as_json: bool) -> None:
    count, failures = len(found.items), _failures(found)
    err.print(f"shard {shard}: {count} items are done, and kept in {folder}", markup=False)
    if as_json:
        say("finished", what="evaluate", shard=shard, items=count, failures=failures)
    name_failures(failures, f"{count} items", "metric")


def _failures(found: "Evaluation") -> list[dict[str, str]]:
    rows = found.failures.to_dict("records")
    named = [f"{row['model']}, {row['data']}, {row['sample']}" for row in rows]
    return [{"id": n, "error": row["error"]} for n, row in zip(named, rows, strict=True)]


def _say(
    found: "Evaluation", folder: Path, asked: Sequence["Questions"], as_json: bool = False
) -> None:
    """Print what was found, keep it, and say where."""
    from vlmlens import evaluation, report
    from vlmlens.cli import evaluated

    for table in evaluated.tables(found) if not as_json else ():
        out.print(table)
    paths = evaluation.save(found, folder)
    page = report.compare(found, folder / "report.html", asked)
    failures, count = _failures(found), len(found.items)
    if as_json:
        told = {"report": page, "tables": [*paths.values()]}
        say("finished", what="evaluate", items=count, failures=failures, **told)
    else:
        for name, path in paths.items():
            out.print(f"{name}: {path}", soft_wrap=True, markup=False)
        out.print(f"report: {page}", soft_wrap=True, markup=False)
    name_failures(failures, f"{count} items", "metric")
