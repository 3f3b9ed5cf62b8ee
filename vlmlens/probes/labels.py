"""From tensors to labelled numbers: every probe's last step."""

import re
from fnmatch import fnmatchcase
from typing import Any

import xarray as xr
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.cache import Save
from vlmlens.model import Generation, Inputs, Run


def samples(inputs: Inputs) -> dict[str, Any]:
    """The coordinate ``sample``: ids where samples have them, else numbers.

    And ``picture``, which samples about the same pictures share, unless there were only tensors.
    """
    ids = [s.id for s in inputs.samples]
    known = bool(ids) and all(ids) and len(set(ids)) == len(ids)
    names = {"sample": ids if known else list(range(len(inputs)))}
    return names | ({"picture": ("sample", list(inputs.units))} if inputs.samples else {})


def layer_numbers(run: Run | Generation, need: Save) -> list[int]:
    """The layers that a stack of saved points holds: not all blocks need offer a point."""
    names = [name for name in run.steps[0].saved if fnmatchcase(name, need.points)]
    return [int(found[1]) for name in names if (found := re.search(r"blocks\.(\d+)\.", name))]


def array(
    values: Shaped[Tensor, "..."],
    dims: tuple[str, ...],
    inputs: Inputs,
    name: str,
    long_name: str,
    units: str,
    source: str,
    **coords: Any,
) -> xr.DataArray:
    """A DataArray on the CPU, with a coordinate for each sample and layer."""
    numbered = {
        d: range(n) for d, n in zip(dims, values.shape, strict=True) if d in ("layer", "head")
    }
    return xr.DataArray(
        values.detach().float().cpu().numpy(),
        dims=dims,
        coords=samples(inputs) | {d: list(r) for d, r in numbered.items()} | coords,
        name=name,
        attrs={"long_name": long_name, "units": units, "source": source},
    )
