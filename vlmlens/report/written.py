"""A number as it is written: to the digit that its interval leaves uncertain, with its interval."""

from dataclasses import dataclass, field
from math import floor, log10

import numpy as np
import xarray as xr

from vlmlens.plots.arrays import mean_interval, percent

#: Keeps a number and its sign or bracket on one line.
NBSP = "\N{NO-BREAK SPACE}"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; the ends are NaN where there is none.

    Attributes:
        value: the number.
        low: of the interval.
        high: of the interval.
        note: what to beware of, if anything.
        decimals: that are written at least.
    """

    value: float
    low: float = np.nan
    high: float = np.nan
    note: str = field(default="", kw_only=True)
    decimals: int = field(default=0, kw_only=True)

    @property
    def number(self) -> str:
        """The value, to the digit that the interval leaves uncertain."""
        return self._write(self.value)

    @property
    def spread(self) -> str:
        """The interval, or nothing."""
        return f"[{self._write(self.low)},{NBSP}{self._write(self.high)}]" if self.known else ""

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not np.isnan(self.low)

    def __str__(self) -> str:
        return f"{self.number} {self.spread}".rstrip()

    def percent(self) -> str:
        """The same with a per cent sign, for values that are in per cent."""
        return f"{self.number}{NBSP}% {self.spread}".rstrip()

    def side(self, of: float) -> int:
        """1 or -1 where the whole interval lies above or below a value, else 0."""
        return int(self.low > of) - int(self.high < of)

    def _write(self, value: float) -> str:
        width, ends = self.high - self.low, (abs(self.low), abs(self.high))
        if np.isnan(value) or not width > 0:
            return short(value)
        power = floor(log10(max(ends))) if max(ends) < 1e-3 else 0
        digits = max(0 if power else self.decimals, power - floor(log10(width)))
        digits += any(0 < end < 0.5 * 10 ** (power - digits) for end in ends)  # near 0 is not 0
        return _signed(f"{value / 10.0**power:.{digits}f}") + _times_ten_to(power)


def short(value: float) -> str:
    """Up to three significant digits; a power of ten only where zeros would be hard to count."""
    if np.isnan(value):
        return "–"
    if 0 < abs(value) < 1e-3:
        digits, power = f"{value:.1e}".split("e")
        return _signed(digits) + _times_ten_to(int(power))
    return _signed(f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}")


def over_samples(values: xr.DataArray) -> Estimate:
    """The mean over everything; the interval is over samples, each averaged within itself first."""
    inner = [dim for dim in values.dims if dim != "sample"]
    row = mean_interval(values.mean(inner))
    ends = (float(row[name]) for name in ("mean", "low", "high"))
    return Estimate(*ends, note=row.attrs.get("note", ""))


def in_category(table: xr.Dataset, name: str, row: int = 0) -> Estimate:
    """One cell of the table of accuracies and PSI, in per cent; NaN if there is no such column."""
    if name not in table:
        return Estimate(float("nan"))
    units = "percent" if name.startswith("psi") else table["accuracy"].attrs.get("units")
    units = table[name].attrs.get("units", units)
    parts = [table[column] for column in (name, f"{name}_low", f"{name}_high") if column in table]
    if name.startswith("drop"):  # nats, not per cent
        return Estimate(*(float(part[row]) for part in parts))
    return Estimate(*(float(percent(part, units)[row]) for part in parts))


def _signed(digits: str) -> str:
    """A true minus sign, and none on a zero."""
    return digits.replace("-", "−" if float(digits) else "")


def _times_ten_to(power: int) -> str:
    return "×10" + str(power).translate(RAISED) if power else ""
