"""``vlmlens harvest``: activations of a data set, on disk."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vlmlens.cli.diagnosing import Columns, Data, Model, Prompt, Question, Samples, asked_of, opened
from vlmlens.cli.options import AcceptVersions, Batch, MaxFailed, System
from vlmlens.cli.telling import Json, Quiet, say, told
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

Points = Annotated[
    list[str],
    typer.Option(help="A point with a row for every position, or a pattern. Several times."),
]
Rows = Annotated[
    str | None,
    typer.Option(help="Positions that are kept: vision, user, last, ...; by default all."),
]
Kept = Annotated[str, typer.Option("--keep-as", help="float16, bfloat16 or float32.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the data set.")]


def harvest(
    model: Model = "shapes-base",
    data: Data = "shapes-2d",
    points: Points = ["blocks.*.hook_resid_post"],  # noqa: B006  # typer's own way
    rows: Rows = None,
    keep_as: Kept = "float16",
    columns: Columns = None,
    prompt: Prompt = "",
    samples: Samples = None,
    folder: Out = Path("results/harvest"),
    question: Question = None,
    system: System = None,
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
    """Keep activations on disk, with what every position is and where it looks.

    Run it again with the same --out and it goes on where it stopped. With --shard, several
    processes fill one --out. Read them with vlmlens.experiments.Harvest, or as Parquet.
    """
    refuse(shard, ray, workers)
    options = opening(model, device, dtype, revision, attention, trust_remote_code, device_map)
    asked, _ = asked_of(data, samples, seed, question, prompt, columns, max_failed)
    err.print(f"{len(asked)} samples of {data}; opening {model}", markup=False, soft_wrap=True)
    from vlmlens import experiments, store

    if accept_versions is not None:
        store.accept_versions(folder, accept_versions)
    how: dict[str, Any] = {"rows": rows, "dtype": keep_as, "system": system, "batch": batch}
    how |= {"max_failed": max_failed, "progress": told(quiet, as_json)}
    how |= {"executor": executor_of(shard, ray, workers, options)}
    with taken_away_if_empty(folder), opened(model, options) as vlm:
        found = experiments.harvest(vlm, asked, points, folder=folder, **how)
    if as_json:
        return say("finished", what="harvest", samples=len(found.samples), tokens=len(found))
    return out.print(f"{found!r} in {folder}", markup=False, highlight=False, soft_wrap=True)
