"""What figures ask of arrays: their dimensions, their names, and means with intervals."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Shaped

from vlmlens import estimates as means
from vlmlens.draws import by_scene, units_of
from vlmlens.errors import InputError
from vlmlens.plots.theme import plain

#: What figures are drawn of, as errors call it.
KINDS = {
    xr.DataArray: "a labelled array (xarray.DataArray)",
    xr.Dataset: "a table (xarray.Dataset)",
}


def check_labelled(values: object, figure: str, kinds: tuple[type, ...]) -> None:
    """Raise unless the values are labelled, in one of the ways that the figure takes.

    Raises:
        InputError: it says what the figure takes and what this is.
    """
    if isinstance(values, kinds):
        return
    message = f"{figure} takes {' or '.join(KINDS[kind] for kind in kinds)}"
    if isinstance(values, xr.Dataset):
        there = ", ".join(map(str, values.data_vars)) or "none"
        raise InputError(f"{message}: choose a variable of this table, table[name]; it has {there}")
    if isinstance(values, xr.DataArray):
        raise InputError(f"{message}, not the array {values.name!r} alone: pass the whole table")
    raise InputError(f"{message}, as probes return; this is a {type(values).__name__}")


def check_dims(
    values: xr.DataArray, figure: str, needed: Sequence[str], optional: Sequence[str] = ()
) -> None:
    """Raise unless ``values`` has every needed dimension, and none but these and the optional.

    Raises:
        InputError: it says which dimensions there are and which the figure draws.
    """
    check_labelled(values, figure, (xr.DataArray,))
    missing = [dim for dim in needed if dim not in values.dims]
    surplus = [dim for dim in values.dims if dim not in {*needed, *optional}]
    if not (missing or surplus):
        return
    also = f", and may have {', '.join(optional)}" if optional else ""
    message = f"{figure} needs {', '.join(needed)}{also}; these values have {_dims(values)}"
    if surplus:
        message += f": choose one {surplus[0]} with .sel(), or average with .mean({surplus[0]!r})"
    raise InputError(message)


def check_variable(table: xr.Dataset, figure: str, needed: Sequence[str]) -> None:
    """Raise unless the data set has every variable that the figure draws.

    Raises:
        InputError: it says which there are and which are needed.
    """
    check_labelled(table, figure, (xr.Dataset,))
    missing = [name for name in needed if name not in table]
    if missing:
        there = ", ".join(map(str, table.data_vars)) or "none"
        raise InputError(f"{figure} needs the variables {', '.join(missing)}; there are: {there}")


def mean_interval(values: xr.DataArray) -> xr.Dataset:
    """The mean over samples and its 95 % interval.

    Samples that share a picture are one draw, where the coordinate ``picture`` tells. NaN counts
    as absent, cell by cell.

    Args:
        values: any dimensions; without ``sample`` they are their own mean and have no interval.

    Returns:
        ``mean``, ``low``, ``high`` and ``n`` (samples, or pictures) without the dimension
        ``sample``. The interval is NaN where fewer than two of them have a value: one cannot tell
        how far means vary. The attribute ``note`` says where there are too few for any shape.

    Raises:
        InputError: infinite values.

    Source: ``vlmlens.estimates``.
    """
    if "sample" not in values.dims:
        there = values.notnull().astype(int)
        gap = xr.full_like(values, np.nan, dtype=float)
        return xr.Dataset({"mean": values, "low": gap, "high": gap, "n": there})
    sums, counts = by_scene(values)
    shares = means.are_answers(values.values.astype(float))
    mean, low, high = means.mean_interval(sums, counts, shares=shares)
    unit, _ = units_of(values)
    note = "" if shares else means.beware(unit, len(sums))
    like = values.isel(sample=0, drop=True)
    found = {"mean": mean, "low": low, "high": high, "n": (counts > 0).sum(0)}
    return xr.Dataset(
        {name: like.copy(data=x.reshape(like.shape)) for name, x in found.items()},
        attrs={"unit": unit} | ({"note": note} if note else {}),
    )


def summary(values: xr.DataArray | xr.Dataset, figure: str) -> xr.Dataset:
    """Means with intervals: of samples, or as statistics that were computed before.

    Args:
        values: an array, perhaps with ``sample``; or a table with ``mean``, perhaps ``low``,
            ``high``, ``n`` and ``p_corrected``, as ``probes.statistics`` returns.
        figure: what draws it, for the message.

    Returns:
        ``mean``, ``low``, ``high``, ``n``, and ``p_corrected`` if it is there.

    Raises:
        InputError: neither of them, or a table without ``mean``.
    """
    check_labelled(values, figure, (xr.DataArray, xr.Dataset))
    if isinstance(values, xr.DataArray):
        return mean_interval(values)
    check_variable(values, figure, ("mean",))
    gap = xr.full_like(values["mean"], np.nan, dtype=float)
    names = ("mean", "low", "high", "n")
    found = xr.Dataset({name: values.get(name, gap) for name in names})
    if "p_corrected" in values:
        found["p_corrected"] = values["p_corrected"]
    return found.assign_attrs(values.attrs)


def shown(values: xr.DataArray | xr.Dataset, figure: str = "a figure") -> xr.DataArray:
    """The array that a figure is about: itself, or a table's mean.

    Raises:
        InputError: neither of them, or a table without ``mean``.
    """
    check_labelled(values, figure, (xr.DataArray, xr.Dataset))
    if isinstance(values, xr.Dataset):
        check_variable(values, figure, ("mean",))
    return values if isinstance(values, xr.DataArray) else values["mean"]


def estimate(row: xr.Dataset) -> str:
    """One cell of ``summary`` as lines for a hover label, the table's note among them."""
    note = [plain(row.attrs["note"])] if "note" in row.attrs else []
    return "<br>".join([estimates(row).item(), *note])


def estimates(cells: xr.Dataset) -> Shaped[np.ndarray, "..."]:
    """Every cell of ``summary`` as lines for a hover label, in the shape of ``mean``."""
    names = [name for name in ("mean", "low", "high", "n", "p_corrected") if name in cells]
    dims = cells["mean"].dims
    columns = {n: cells[n].broadcast_like(cells["mean"]).transpose(*dims).values for n in names}
    how, unit = cells.attrs.get("correction", "for all cells"), cells.attrs.get("unit")
    drawn = f" {plain(unit)}s" if unit else ""
    told = np.empty(cells["mean"].shape, dtype=object)
    for at in np.ndindex(told.shape):
        own = {name: float(column[at]) for name, column in columns.items()}
        lines = [f"mean {own['mean']:.4g}"]
        if not np.isnan(own["low"]):
            lines.append(f"95 % interval [{own['low']:.4g}, {own['high']:.4g}]")
            if not np.isnan(own["n"]):
                lines.append(f"n = {own['n']:.0f}{drawn}")
        if "p_corrected" in own:
            lines.append(f"p, corrected ({plain(how)}): {own['p_corrected']:.3g}")
        told[at] = "<br>".join(lines)
    return told


def title_of(values: xr.DataArray) -> str:
    """``long name [units]``, safe in a figure."""
    name = plain(values.attrs.get("long_name") or values.name or "value")
    units = values.attrs.get("units")
    return f"{name} [{plain(units)}]" if units not in (None, "", "1") else name


def entries(values: xr.DataArray | xr.Dataset, dim: str) -> list[str]:
    """The labels along a dimension: its coordinate, or 0, 1, 2 ... where it has none."""
    return [str(label) for label in values[dim].values]


def percent(values: xr.DataArray, units: str | None = None) -> xr.DataArray:
    """The same values in per cent, whether they come as a fraction or in per cent already.

    Args:
        values: their ``units`` attribute says which; without one they are fractions.
        units: used where the values have none of their own.
    """
    given = values.attrs.get("units", units)
    return values if given in ("percent", "%") else values * 100


def _dims(values: xr.DataArray) -> str:
    return f"({', '.join(map(str, values.dims))})"
