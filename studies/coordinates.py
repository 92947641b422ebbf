"""Searched parameters as points in a unit cube, for models of the response. Only what was tried is looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

LOG_SPAN = 10.0
"""A positive number that spans so many times its smallest value may be looked at on a logarithmic scale."""


@dataclass(frozen=True)
class Side:
    """One searched parameter as a side of the cube.

    Not to have a parameter, which some programs' trials do, is a choice of its own; a number that is not there, or is
    not finite, is put in the middle and has a second coordinate, on which it is 1 away from those that are.

    Attributes:
        name: the parameter.
        column: where the frame has it.
        choices: the values of a category as texts, in alphabetical order; None for a number.
        log: whether a number is looked at on a logarithmic scale.
        low: the smallest number tried, its logarithm if `log`.
        span: from there to the largest; 1 if there is only one.
        has_missing: whether some trials have it and others do not.
        is_whole: whether it is a whole number.
    """

    name: str
    column: str
    choices: tuple[str, ...] | None
    log: bool = False
    low: float = 0.0
    span: float = 1.0
    has_missing: bool = False
    is_whole: bool = False

    @classmethod
    def of(cls, name: str, column: str, values: "pd.Series[Any]") -> Self:
        """The side on which these values lie."""
        missing = _missing(values)
        if not pd.api.types.is_numeric_dtype(values) or values.dtype == "boolean":
            choices = tuple(sorted({str(value) for value in values[~missing]}))
            return cls(name, column, choices, has_missing=bool(missing.any()))
        if missing.all():
            return cls(name, column, None)
        numbers = _numbers(values[~missing])
        log = _is_logarithmic(numbers)
        numbers = np.log(numbers) if log else numbers
        lowest, span = float(numbers.min()), float(numbers.max() - numbers.min())
        is_whole = pd.api.types.is_integer_dtype(values)
        return cls(name, column, None, log, lowest, span or 1.0, bool(missing.any()), is_whole)

    @property
    def width(self) -> int:
        """How many coordinates it has."""
        return (1 if self.choices is None else len(self.choices)) + self.has_missing

    def coordinates(self, values: "pd.Series[Any]") -> Array:
        """Values by coordinates; a choice that was not tried is 0 everywhere, as far from all others as they are."""
        missing = _missing(values)
        if self.choices is not None:
            names = np.array(["" if lacks else str(value) for value, lacks in zip(values, missing, strict=True)])
            own = [~missing & (names == choice) for choice in self.choices] + [missing] * self.has_missing
            return np.stack(own, axis=1) / np.sqrt(2.0) if own else np.zeros((len(values), 0))
        numbers = _numbers(values)
        placed = ((np.log(numbers) if self.log else numbers) - self.low) / self.span
        placed = np.where(missing, 0.5 if self.has_missing else 0.0, placed)
        return np.stack([placed, missing.astype(float)] if self.has_missing else [placed], axis=1)

    def value(self, place: float) -> float:
        """The number at a place between 0 and 1; of a category the index of the choice."""
        if self.choices is not None:
            return place
        number = self.low + place * self.span
        return float(np.exp(number)) if self.log else float(number)


def _is_logarithmic(numbers: Array) -> bool:
    """Whether these values were chosen by their logarithms: they span much, and lie more evenly on that scale.

    A share drawn between 0 and 1 spans a lot, too, where one of the draws is next to 0.
    """
    if numbers.min() <= 0 or numbers.max() < LOG_SPAN * numbers.min():
        return False
    distinct = np.unique(numbers)
    return _unevenness(np.log(distinct)) <= _unevenness(distinct)


def _unevenness(ascending: Array) -> float:
    """How far values are on average from as many evenly spread ones, as a share of their span."""
    placed = (ascending - ascending[0]) / (ascending[-1] - ascending[0])
    return float(np.abs(placed - np.linspace(0, 1, len(placed))).mean())


def _missing(values: "pd.Series[Any]") -> NDArray[np.bool_]:
    """Which values have no place."""
    missing = np.asarray(values.isna())
    return missing | np.isinf(_numbers(values)) if values.dtype == "float64" else missing


def _numbers(values: "pd.Series[Any]") -> Array:
    return np.asarray(values.to_numpy(float, na_value=np.nan), dtype=np.float64)


@dataclass(frozen=True)
class Cube:
    """All searched parameters of some trials. A number has one coordinate, its smallest value at 0, its largest at 1.

    A choice has one coordinate for each of its values: 1/√2 at its own and 0 elsewhere, so that any two are 1 apart.
    """

    sides: tuple[Side, ...]

    @classmethod
    def of(cls, trials: pd.DataFrame, columns: Mapping[str, str]) -> Self:
        """The cube in which these trials (one a row) lie; `columns` are those of the searched parameters."""
        return cls(tuple(Side.of(name, column, trials[column]) for name, column in columns.items()))

    @property
    def groups(self) -> list[int]:
        """For each coordinate the index of its parameter."""
        return [index for index, side in enumerate(self.sides) for _ in range(side.width)]

    def slot(self, index: int) -> slice:
        """The coordinates of a parameter."""
        start = sum(side.width for side in self.sides[:index])
        return slice(start, start + self.sides[index].width)

    def points(self, trials: pd.DataFrame) -> Array:
        """Trials by coordinates."""
        return np.hstack([side.coordinates(trials[side.column]) for side in self.sides])

    def along(self, index: int, n: int) -> tuple[Sequence[float], Array]:
        """`n` places along a number or all choices of a category, and their coordinates on this side.

        Of a whole number that has fewer values from its smallest to its largest, the places of these.
        """
        side = self.sides[index]
        if side.choices is not None:
            n = len(side.choices)
            return [float(i) for i in range(n)], np.eye(n, side.width) / np.sqrt(2.0)
        places = np.linspace(0, 1, n)
        low, high = round(side.value(0)), round(side.value(1))
        if side.is_whole and high - low + 1 < n:
            n = high - low + 1
            places = side.coordinates(pd.Series(range(low, high + 1), dtype="Int64"))[:, 0]
        own = np.zeros((n, side.width))
        own[:, 0] = places
        return places.tolist(), own


def coordinates(trials: pd.DataFrame, columns: Mapping[str, str]) -> tuple[Array, list[int]]:
    """Where each trial is, and for each coordinate the index of its parameter in `columns`."""
    cube = Cube.of(trials, columns)
    return cube.points(trials), cube.groups
