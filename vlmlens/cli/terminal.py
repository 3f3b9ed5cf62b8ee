"""The terminal that all commands share: the application, its two streams, options of opening."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
from rich.console import Console
from rich.markup import escape

import vlmlens
from vlmlens.checks import one_of
from vlmlens.errors import InputError, VLMLensError

#: What accelerate calls its ways to spread a model.
MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
#: Commands that go on where they stopped.
RESUMED = ("diagnose", "evaluate")


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM), as by a cluster whose time is over."""


@contextmanager
def stopping() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, so that what is finished is kept."""

    def end(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Told(typer.core.TyperGroup):
    """Commands whose errors end in one line, and which say so when they are interrupted."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what is a bug keeps its traceback."""
        try:
            return super().invoke(ctx)
        except VLMLensError as error:
            said = str(error)
        except BrokenPipeError:
            raise
        except OSError as error:  # a full disk, a folder that may not be written to, ...
            said = ": ".join(filter(None, (error.strerror or str(error), error.filename)))
        except KeyboardInterrupt as stop:
            again = "; what is finished is kept: run the same command again, and it goes on"
            err.print(
                f"interrupted{again if ctx.invoked_subcommand in RESUMED else ''}", soft_wrap=True
            )
            raise typer.Exit(143 if isinstance(stop, Terminated) else 130) from None
        err.print(f"[bold red]error:[/] {escape(' '.join(said.split()))}", soft_wrap=True)
        raise typer.Exit(2)


app = typer.Typer(
    help="See how a vision-language model sees where things are.",
    cls=Told,
    no_args_is_help=True,
    rich_markup_mode="markdown",  # which joins the lines of a paragraph
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
#: What users wrote, :x: among it, is shown as they wrote it.
out, err = Console(emoji=False), Console(stderr=True, emoji=False)


def folder_for_results(said: str | Path) -> Path:
    """A folder for results: an empty name is that of a variable that was not set."""
    if not str(said).strip():
        raise typer.BadParameter("it names no folder; . is the one where you are")
    if Path(said).is_file():
        raise typer.BadParameter(f"Directory {str(said)!r} is a file.")
    return Path(said)


@contextmanager
def taken_away_if_empty(folder: Path) -> Iterator[None]:
    """A command that fails leaves no folder behind that it made and put nothing into."""
    cells = folder / "cells"
    made = [path for path in (cells, folder, *folder.absolute().parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in made:  # what is inside comes first
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise


#: Where a command writes.
Out = Annotated[
    Path,
    typer.Option("--out", parser=folder_for_results, metavar="DIRECTORY", help="Where results go."),
]
#: Options of every command that opens a model.
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")]
DeviceMap = Annotated[
    str | None,
    typer.Option(
        help="auto, balanced or sequential: spread over all GPUs, then the CPU, then the disk, by "
        "accelerate; in place of --device."
    ),
]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; as it was saved.")]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a model of the Hugging Face hub.")
]
Attention = Annotated[
    str | None, typer.Option(help="sdpa or eager; by default what transformers takes.")
]
Trust = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with a hub's model.")
]


def _version(asked: bool) -> bool:
    if asked:
        out.print(f"vlmlens {vlmlens.__version__}", highlight=False)
        raise typer.Exit
    return asked


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Which version this is."),
    ] = False,
) -> None:
    """See how a vision-language model sees where things are."""


def opening(
    model: str | None,
    device: str | None,
    dtype: str | None,
    revision: str | None,
    attention: str | None,
    trust_remote_code: bool,
    device_map: str | None = None,
) -> dict[str, Any]:
    """What was asked of opening a model, and nothing else.

    Raises:
        InputError: an option that this model would not read.
    """
    if attention is not None:
        one_of(attention, "--attention", ("sdpa", "eager"))
    if device_map is not None:
        one_of(device_map, "--device-map", MAPS)
        if device is not None:
            raise InputError("--device puts all of a model in one place, --device-map does not")
    here = model is not None and ("/" not in model or Path(model).exists())
    if here and (revision is not None or trust_remote_code):
        named = "--revision" if revision is not None else "--trust-remote-code"
        raise InputError(f"{named} is for models of the hub, owner/name; {model} is none")
    given = {
        "device": device,
        "dtype": dtype,
        "revision": revision,
        "attn_implementation": attention,
        "trust_remote_code": trust_remote_code or None,
        "device_map": device_map,
    }
    return {name: value for name, value in given.items() if value is not None}
