"""Options of who computes: a share of the samples, workers of Ray."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlmlens.errors import InputError
from vlmlens.extras import require

if TYPE_CHECKING:
    from vlmlens.experiments import OnRay, Shard

Share = Annotated[
    str,
    typer.Option(
        "--shard",
        help="Only this share of the samples, i/n counted from 0, or auto under Slurm or torchrun.",
    ),
]
Ray = Annotated[
    str,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Let workers of Ray compute: of the cluster there; auto: of this machine's; local: of "
        "a new one.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="How many workers of Ray; by default as many as there is room for."),
]


def refuse(shard: str, ray: str, workers: int | None) -> None:
    """Say what cannot be, before anything is read.

    Raises:
        InputError: a share, and Ray; workers of nothing.
        MissingToolError: Ray is not installed.
    """
    if shard and ray:
        raise InputError("--shard and --ray are two ways to share the work: take one of them")
    if workers is not None and not ray:
        raise InputError("--workers is of --ray ADDRESS: say where, such as --ray local")
    if ray:
        require("ray", "--ray", "--shard i/n, in several processes, goes without it")


def executor_of(
    shard: str, ray: str, workers: int | None, options: Mapping[str, Any]
) -> "Shard | OnRay | None":
    """Who computes, by what was said; a worker of Ray has a GPU where its model goes on one.

    Args:
        shard: a share, or "".
        ray: an address, or "".
        workers: how many.
        options: of opening the model.

    Raises:
        InputError: no such share.
    """
    import torch

    from vlmlens.experiments import OnRay, Shard

    if shard:
        return Shard.of(shard)
    spread = "device_map" in options and torch.cuda.is_available()
    gpus = int(spread or options.get("device", "").startswith("cuda"))
    return OnRay(workers, None if ray == "local" else ray, num_gpus=gpus) if ray else None
