"""``vlmlens explore``: a page in the browser on which a model is asked and edited by hand."""

from pathlib import Path
from typing import Annotated

import typer

from vlmlens.cli.terminal import (
    Attention,
    Device,
    DeviceMap,
    Dtype,
    Revision,
    Trust,
    err,
    opening,
    out,
)
from vlmlens.errors import InputError


def explore(
    model: Annotated[str, typer.Argument(help="A bundled model, a folder or a hub id.")],
    image: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A picture to begin with.")
    ] = None,
    question: Annotated[str | None, typer.Option(help="A question to begin with.")] = None,
    sweep: Annotated[
        Path | None, typer.Option(exists=True, help="A saved sweep: its folder or netCDF file.")
    ] = None,
    circuit: Annotated[
        Path | None,
        typer.Option(exists=True, help="Saved paths or edges (netCDF) or a circuit (JSON)."),
    ] = None,
    second: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The clean picture of a sweep or circuit."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    token: Annotated[
        str | None, typer.Option(help="What the address has to hold; by default drawn anew.")
    ] = None,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    device: Device = None,
    device_map: DeviceMap = None,
    dtype: Dtype = None,
    revision: Revision = None,
    attention: Attention = None,
    trust_remote_code: Trust = False,
) -> None:
    """Ask and edit a model by hand on a page in the browser, which only this machine can reach.

    Without `--image` a drawn scene is shown, whose shapes can be dragged; with `--sweep` or
    `--circuit`, the first pair of the table. It serves until Ctrl-C,
    and standard output has its address alone.
    """
    if image is None and question is not None:
        raise InputError("--question is asked about a picture: say --image, too")
    if second is not None and image is None:
        raise InputError("--second is asked the same as --image: say both")
    err.print(f"Opening {model} ...", markup=False, soft_wrap=True)  # imports take seconds
    from vlmlens.live.exploring import first, refuse_without
    from vlmlens.sample import Sample

    refuse_without()
    asked = "What is in this picture?" if question is None else question
    given = None if image is None else Sample(asked, image)
    clean = None if second is None else Sample(asked, second)
    sample = first(given)
    for each in (sample, clean):
        each and each.pictures()  # before the model is opened
    options = opening(model, device, dtype, revision, attention, trust_remote_code, device_map)

    from vlmlens.live.running import Server
    from vlmlens.live.saved import open_saved
    from vlmlens.live.serving import Host
    from vlmlens.model import HookedVLM

    with HookedVLM.from_pretrained(model, **options) as opened:
        saved = open_saved(opened, given, clean, sweep, circuit)
        sample = sample if saved is None else first(saved.edited)
        server = Server(Host(opened, sample, token, saved), port)
        out.print(server.address, markup=False, highlight=False, soft_wrap=True)
        out.print("Ctrl-C ends it.", highlight=False)
        if browser:
            typer.launch(server.address)
        server.run()
