"""The horizontal axis of a searched parameter: where a value lies, and how its scale and ticks look."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from studies import names
from studies.reporting.wording import cut, number
from studies.search_space import Axis, Range, Value

LETTER = 0.62
"""Width of a letter as a multiple of its size, on average."""


@dataclass(frozen=True)
class ParameterAxis:
    """How one parameter is laid out.

    Attributes:
        name: the parameter.
        choices: the values of a category, each with a place of its own; None for a number line.
        log: whether the number line is logarithmic.
        ticks: values to label, None to let the scale decide.
        limits: ends of the number line.
        whole: whether only whole numbers are on it.
    """

    name: str
    choices: tuple[Value, ...] | None
    log: bool
    ticks: tuple[float, ...] | None
    limits: tuple[float, float]
    whole: bool = False

    @classmethod
    def of(cls, name: str, axis: Axis | None, seen: "pd.Series[Any]") -> Self:
        """The layout for an axis of the search box; without one, for the values seen."""
        if isinstance(axis, Range):
            return cls(name, None, axis.log, None, _padded(axis.low, axis.high, log=axis.log), axis.is_integer)
        values = (
            list(axis.values) if axis is not None else sorted(filter(is_placed, seen.unique().tolist()), key=_order)
        )
        if len(values) < 2 or any(isinstance(value, bool | str) for value in values):
            return cls(name, tuple(values), False, None, (-0.6, len(values) - 0.4))
        low, high = float(min(values)), float(max(values))
        log = low > 0 and high / low >= 10
        ticks = tuple(float(value) for value in values) if axis is not None else None
        whole = all(isinstance(value, int) for value in values)
        return cls(name, None, log, ticks, _padded(low, high, log=log), whole)

    def position(self, value: Value) -> float:
        """Where a value lies; one beyond the ends of the axis, which can be queued by hand, at the end."""
        if self.choices is not None:
            return float(self.choices.index(value))
        return min(max(float(value), self.limits[0]), self.limits[1])

    def dodge(self, i: int, n: int) -> float:
        """How far series `i` of `n` stands beside the place of a category, so that they do not hide each other."""
        return 0.0 if self.choices is None else 0.6 * ((i + 0.5) / n - 0.5)

    def prepare(self, ax: Axes, *, vertical: bool = False) -> None:
        """Give `ax` this axis, as its horizontal one unless told otherwise."""
        which = ax.yaxis if vertical else ax.xaxis
        if self.choices is not None:
            labels = [cut(number(names.title(self.name, choice))) for choice in self.choices]
            which.set_ticks(range(len(self.choices)), labels, **({} if vertical else _slant(ax, labels)))
            ax.grid(False, axis="y" if vertical else "x")
        elif self.log:
            (ax.set_yscale if vertical else ax.set_xscale)("log")
            which.set_major_locator(LogLocator(subs=_subs(*self.limits)))
            which.set_minor_formatter(NullFormatter())
        else:
            which.set_major_locator(MaxNLocator(5, integer=self.whole))
        if self.ticks is not None and len(self.ticks) <= 8:
            which.set_ticks(self.ticks)
            which.set_minor_locator(NullLocator())
        if self.choices is None:
            which.set_major_formatter(_TickLabels(self.limits))
        (ax.set_ylim if vertical else ax.set_xlim)(*self.limits)


def _slant(ax: Axes, labels: Sequence[str]) -> dict[str, Any]:
    """How to set labels below an axis: slanted where they would touch if they lay side by side."""
    letter = LETTER * mpl.rcParams["font.size"] / 72
    room = ax.bbox.width / ax.figure.dpi / len(labels)
    if letter * (max(map(len, labels)) + 1) <= room:
        return {}
    return {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}


class _TickLabels(FuncFormatter):
    """Numbers as everywhere in a report; all of them as powers of ten where one within `limits` has to be."""

    def __init__(self, limits: tuple[float, float]) -> None:
        super().__init__(lambda value, _position: number(float(value)))
        self._limits = limits

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        low, high = self._limits
        plain = [number(float(value)) for value in values]
        if not any("e" in text for text, value in zip(plain, values, strict=True) if low <= value <= high):
            return plain
        rounded = [float(f"{value:.3g}") for value in values]  # NumPy's own rounding would leave "3.e-05"
        return [np.format_float_scientific(x, trim="-", exp_digits=2) if x else "0" for x in rounded]


def is_placed(value: Any) -> bool:
    """Whether a value has a place: one that is missing or not finite has none."""
    return isinstance(value, bool | str) or (not pd.isna(value) and math.isfinite(value))


def _order(value: Value) -> tuple[bool, Value]:
    return isinstance(value, str), value  # texts behind numbers, with which they cannot be compared


def _padded(low: float, high: float, *, log: bool) -> tuple[float, float]:
    if log:
        ratio = (high / low) ** 0.05 if high / low < math.inf else 1.0
        return low / ratio or low, high * ratio
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _subs(low: float, high: float) -> Sequence[float]:
    return (1.0,) if high / low > 1000 else (1.0, 3.0)
