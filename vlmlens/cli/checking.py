"""``vlmlens check`` and ``vlmlens families``: which points a model offers, and what holds there."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlmlens.cli.terminal import Attention, Device, DeviceMap, Dtype, Revision, Trust, opening, out
from vlmlens.errors import InputError, MissingToolError, UnsupportedModelError, VLMLensError

if TYPE_CHECKING:
    from vlmlens.model.audit.findings import Audit


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
    device_map: DeviceMap = None,
    dtype: Dtype = None,
    revision: Revision = None,
    attention: Attention = None,
    trust_remote_code: Trust = False,
) -> None:
    """Check a model: which points it has, and by how much each invariant is missed on it.

    Ends with status 1 if a point is dead, an invariant does not hold, or a family cannot be run at
    all: of several, the others are measured all the same.
    """
    import torch

    from vlmlens.zoo.tiny import TINY

    if (model is None) == (tiny is None):
        raise InputError("say what to check: a MODEL, or --tiny FAMILY (or --tiny all)")
    options = opening(model, device, dtype, revision, attention, trust_remote_code, device_map)
    if tiny is not None and options:
        raise InputError(
            f"{', '.join(options)}: a tiny model is made here, in float32 and on the CPU; these "
            "options are of a MODEL"
        )
    if tiny is not None:
        torch.set_num_threads(1)  # five times faster on models as tiny as these
    found = []
    for name in [model] if tiny is None else list(TINY) if tiny == "all" else [tiny]:
        found.append(_audited(str(name), tiny, options))
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


def _audited(name: str, tiny: str | None, options: dict[str, Any]) -> "Audit":
    """What a model's audit says; of one among all tiny models, also that it cannot be run."""
    from vlmlens.model import HookedVLM
    from vlmlens.model.audit.measure import failed
    from vlmlens.zoo.tiny import build

    try:
        if tiny is None:
            vlm = HookedVLM.from_pretrained(name, **options)
        else:
            vlm = HookedVLM(*build(name), name=f"tiny {name}")
        with vlm:
            return vlm.audit()
    except Exception as error:
        if tiny != "all" and isinstance(error, VLMLensError):
            raise
        shown = name if tiny is None else f"tiny {name}"
        return failed(shown, name.partition("/")[0] if tiny else "", error)


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
        try:
            opened = HookedVLM(*build(name))
        except (MissingToolError, UnsupportedModelError) as error:
            lines.append(f"{name:20} {error}")
            continue
        with opened as vlm:
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
