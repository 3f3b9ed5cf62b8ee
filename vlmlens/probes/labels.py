"""From tensors to labelled numbers: every probe's last step."""

from typing import Any

import xarray as xr
from torch import Tensor

from vlmlens.model import Inputs


def samples(inputs: Inputs) -> dict[str, Any]:
    """The coordinate ``sample``: ids where samples have them, else numbers."""
    ids = [s.id for s in inputs.samples]
    known = bool(ids) and all(ids) and len(set(ids)) == len(ids)
    return {"sample": ids if known else list(range(len(inputs)))}


def array(
    values: Tensor,
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
