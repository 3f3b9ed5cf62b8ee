"""Maps of cells: a coloured rectangle for every pair of entries, a dot where a test says so."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float, Int

from vlmlens.plots.arrays import entries, estimates
from vlmlens.plots.theme import SEQUENTIAL, colour_bar, diverging_scale, heading, plain

#: Below this a corrected p has a dot.
ALPHA = 0.05


def coloured(
    cells: xr.Dataset,
    across: str,
    up: str,
    name: str = "",
    *,
    log: bool = False,
    listed: bool = True,
) -> list[go.Heatmap | go.Scatter]:
    """A map of ``mean``, and dots where ``p_corrected`` is below 0.05.

    Args:
        cells: (up, across), in this order.
        across: the dimension along x.
        up: the dimension along y.
        name: what comes first where one points at a cell.
        log: whether colours tell decimal logarithms; values of 0 and below have none.
        listed: whether the legend says what a dot is.
    """
    rows, columns = entries(cells, up), entries(cells, across)
    lead = f"{plain(name)}<br>" if name else ""
    told, note = estimates(cells), cells.attrs.get("note")
    last = f"<br>{plain(note)}" if note else ""
    hover = [
        [
            f"{lead}{up} {plain(row)}, {across} {plain(column)}<br>{told[i, j]}{last}"
            for j, column in enumerate(columns)
        ]
        for i, row in enumerate(rows)
    ]
    heat = go.Heatmap(
        z=logarithms(cells["mean"].values) if log else cells["mean"].values,
        hovertext=hover,
        hoverinfo="text",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        coloraxis="coloraxis",
    )
    if "p_corrected" not in cells:
        return [heat]
    y, x = np.nonzero(cells["p_corrected"].values < ALPHA)
    return [heat, dots(x, y, listed=listed)]


def dots(
    x: Int[np.ndarray, " dot"], y: Int[np.ndarray, " dot"], *, listed: bool = True
) -> go.Scatter:
    """Marks on cells whose corrected p is below 0.05.

    Args:
        x: columns.
        y: rows.
        listed: whether the legend says what a dot is; once in a figure.
    """
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"color": "white", "size": 6, "line": {"color": "black", "width": 1}},
        name=f"p < {ALPHA}, corrected for the number of cells",
        legendgroup="dots",
        showlegend=listed and len(x) > 0,
        hoverinfo="skip",
    )


def above(fig: go.Figure, title: str | None, room: int = 16, tall: float | int = 300) -> dict:
    """Settings of the title, and of the legend of dots where there are dots: above the maps.

    Args:
        fig: the figure with its traces.
        title: as it was given.
        room: in pixels, for what stands right above the maps.
        tall: pixels of all maps together.
    """
    if not any(trace.legendgroup == "dots" and trace.showlegend for trace in fig.data):
        return heading(title, room)
    return heading(title, room + 24) | {"legend_y": 1 + (room - 12) / tall, "showlegend": True}


def logarithms(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Decimal logarithms; NaN where there is none."""
    return np.log10(np.where(values > 0, values, np.nan))


def colour_axis(
    mean: Float[np.ndarray, "..."], midpoint: float | None, name: str, *, log: bool = False
) -> dict:
    """The scale of a map: one direction, or two hues around a value that is neutral."""
    bar = colour_bar(name)
    if log and np.isfinite(mean).any():
        bar = bar | _decades(float(np.nanmin(mean)), float(np.nanmax(mean)))
    if midpoint is None or np.isnan(midpoint) or np.isnan(mean).all():
        return {"colorscale": SEQUENTIAL, "colorbar": bar}
    midpoint = float(np.log10(midpoint)) if log else midpoint
    low, high = min(float(np.nanmin(mean)), midpoint), max(float(np.nanmax(mean)), midpoint)
    scale = diverging_scale(low, high, midpoint)
    return {"colorscale": scale, "cmin": low, "cmax": high, "colorbar": bar}


def neutral(values: xr.DataArray | xr.Dataset, given: float | None) -> float | None:
    """The value that a map is neutral at: the one given, or the one that the values know.

    They know it by their attribute ``midpoint``; a table of tests by ``null``; and 0 is neutral
    where the means lie on both sides of it. NaN, given, is none.
    """
    if given is not None:
        return None if np.isnan(given) else given
    means = values if isinstance(values, xr.DataArray) else values["mean"]
    known = means.attrs.get("midpoint", values.attrs.get("midpoint", values.attrs.get("null")))
    try:
        return float(known)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):  # none, or the name of another variable
        pass
    if means.dtype.kind not in "fiu":
        return None
    means = means.mean("sample") if "sample" in means.dims else means
    return 0.0 if float(means.min()) < 0 < float(means.max()) else None


def _decades(low: float, high: float) -> dict:
    """Marks of a logarithmic bar, in the numbers that they stand for."""
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    few = list(powers)[:: max(1, len(powers) // 6)]
    shown = few if len(powers) > 3 else [p + np.log10(m) for p in powers for m in (1, 2, 5)]
    return {"tickvals": shown, "ticktext": [f"{10.0**power:.3g}" for power in shown]}
