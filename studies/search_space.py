"""The axes of a search box: ranges and choices, their corners and their grid points."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from rigl_core.config import NoWord
from rigl_core.errors import BadInput

MAX_CORNERS = 4096
MAX_POINTS = 100_000
"""Of one ladder; a finer one is a continuous range."""
MAX_CHOICES = 10_000
"""Of one list; each is looked at before a campaign is stored."""

Value = bool | int | float | str
Params = dict[str, Value]


class Range(BaseModel):
    """An interval to search, whole numbers if both ends are; `step` makes it a ladder, `log` samples the logarithm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Annotated[int | float, NoWord]
    high: Annotated[int | float, NoWord]
    step: Annotated[int | float | None, NoWord] = None
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not all(math.isfinite(v) for v in (self.low, self.high)):
            raise BadInput(f"low = {self.low}, high = {self.high}; both must be finite.")
        if self.low >= self.high:
            raise BadInput(f"low = {self.low} must be below high = {self.high}.")
        if self.log and self.low <= 0:
            raise BadInput(f"log = true needs low above 0, and low is {self.low}.")
        if self.log and self.step is not None:
            raise BadInput("log and step cannot be combined; leave one out.")
        if self.step is not None and not 0 < self.step <= (self.high - self.low) * (1 + 1e-9):
            raise BadInput(f"step = {self.step} must be above 0 and at most high - low = {self.high - self.low}.")
        if self.step is not None and (self.high - self.low) / self.step > MAX_POINTS:
            raise BadInput(f"step = {self.step} makes more than {MAX_POINTS:,} values; take a larger one, or none.")
        return self

    @property
    def is_integer(self) -> bool:
        """Whether the searched values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def corners(self) -> list[Value]:
        """The extreme values."""
        return [self.low, self.high]

    def points(self) -> list[Value] | None:
        """All values of a ladder, None for a continuous range."""
        if self.step is None:
            return None
        n_steps = math.floor((self.high - self.low) / self.step + 1e-9)
        return [min(self.low + i * self.step, self.high) for i in range(n_steps + 1)]  # rounding must not leave the box

    def contains(self, value: Value) -> bool:
        """Whether a search could propose `value`."""
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            return False
        if self.is_integer and value != int(value):
            return False
        points = self.points()
        return points is None or any(math.isclose(value, float(p), rel_tol=1e-9) for p in points)

    def __str__(self) -> str:
        return f"{self.low} to {self.high}" + (f" in steps of {self.step}" if self.step else "")


class Choice(BaseModel):
    """A list of values to choose from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: Annotated[tuple[Value, ...], Field(min_length=1, max_length=MAX_CHOICES)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.values)) != len(self.values):
            raise BadInput(f"the choices {list(self.values)} repeat a value; every value may appear once.")
        return self

    def corners(self) -> list[Value]:
        """Every choice."""
        return list(self.values)

    def points(self) -> list[Value] | None:
        """Every choice."""
        return list(self.values)

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of the choices."""
        return any(choice == value and isinstance(choice, bool) == isinstance(value, bool) for choice in self.values)

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


def _kind(value: Any) -> str:
    return (
        "choice"
        if isinstance(value, list | tuple | Choice) or (isinstance(value, dict) and "values" in value)
        else "range"
    )


Axis = Annotated[
    Annotated[Choice, BeforeValidator(lambda v: {"values": v} if isinstance(v, list | tuple) else v), Tag("choice")]
    | Annotated[Range, Tag("range")],
    Discriminator(_kind),
]


def fitted(key: str, axis: "Choice | Range", number: type[int] | type[float] | None) -> "Choice | Range":
    """The axis with its numbers as the setting has them, so that what is drawn is what was meant.

    Args:
        key: the searched setting, for messages.
        axis: as written; `low = 0` for a fraction and `low = 32.0` for a count are easily typed.
        number: int or float for a setting that is one; None leaves the axis alone.

    Raises:
        BadInput: a fraction or a text where the setting is a count or a number, or values that become the same.
    """
    if number is None:
        return axis

    def fit(value: Value) -> int | float:
        if isinstance(value, bool | str):
            raise BadInput(f"search.{key}: {value!r} is no number, and {key} is one.")
        if number is int and value != int(value):
            raise BadInput(f"search.{key}: {value} is no whole number, and {key} counts something.")
        return number(value)

    if isinstance(axis, Range):
        step = None if axis.step is None else fit(axis.step)
        return Range.model_validate({"low": fit(axis.low), "high": fit(axis.high), "step": step, "log": axis.log})
    return Choice.model_validate({"values": [fit(value) for value in axis.values]})


def grid(search: Mapping[str, Axis]) -> list[Params]:
    """Every combination of the points of axes that all have points, the last axis turning fastest."""
    return _product({key: axis.points() or [] for key, axis in search.items()})


def corners(search: Mapping[str, Axis]) -> Iterator[Params]:
    """The extreme combinations; where there are more than `MAX_CORNERS`, each axis' extremes on their own."""
    axes = {key: axis.corners() for key, axis in search.items()}
    if math.prod(map(len, axes.values())) <= MAX_CORNERS:
        yield from _product(axes)
        return
    first = {key: values[0] for key, values in axes.items()}
    for key, values in axes.items():
        for value in values:
            yield {**first, key: value}


def same_params(params: Params, reference: Params) -> bool:
    """Whether a trial has the parameters of a reference; of none, that is of an empty one, no trial has."""
    if not reference or set(reference) != set(params):
        return False
    return all(same_value(params[key], value) for key, value in reference.items())


def same_value(one: Value, other: Value) -> bool:
    """Whether two values of a parameter are the same, but for rounding."""
    if isinstance(one, bool | str) or isinstance(other, bool | str):
        return one == other
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return math.isclose(one, other, rel_tol=1e-9)  # a float may have passed through the database as text


def _product(axes: Mapping[str, list[Value]]) -> list[Params]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
