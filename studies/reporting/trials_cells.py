"""The cells of trials.csv, each read as what its column holds; what cannot be is refused with the end of a sentence.

Nothing in a file is trusted: a cell is data, never a formula and never a program.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from studies.errors import BadInput
from studies.reporting.trials_csv import NOT_A_NUMBER, text_of
from studies.search_space import Axis, Choice, Value

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,5})?|[-+]?inf", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)

Parse = Callable[[str], Any]
"""A cell that is not empty to its value; raises BadInput or ValueError."""


def number(cell: str) -> float:
    """A number; NaN where it went wrong."""
    if cell == NOT_A_NUMBER:
        return math.nan
    if not _NUMBER.fullmatch(cell):
        raise BadInput("is no number")
    return float(cell)


def fraction(cell: str) -> float:
    """A number from 0 to 1."""
    value = number(cell)
    if value < 0 or value > 1:
        raise BadInput("is no fraction from 0 to 1")
    return value


def is_whole(text: str) -> bool:
    """Whether it is a whole number, in digits that everybody reads."""
    return _WHOLE.fullmatch(text) is not None


def _are_whole(texts: Collection[str]) -> bool:
    together = ",".join(texts)
    return not texts or (together.count(",") == len(texts) - 1 and _WHOLES.fullmatch(together) is not None)


def whole(cell: str) -> int:
    """A whole number."""
    if not is_whole(cell):
        raise BadInput("is no whole number")
    return int(cell)


def index(cell: str) -> int:
    """A whole number from 0."""
    value = whole(cell)
    if value < 0:
        raise BadInput("is below 0")
    return value


def truth(cell: str) -> bool:
    """True or False."""
    if cell not in ("True", "False"):
        raise BadInput("is neither True nor False")
    return cell == "True"


def moment(cell: str) -> datetime:
    """A time of this or the neighbouring centuries, without a time zone."""
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        raise BadInput("is no ISO 8601 time, for example 2026-03-01T09:00:00") from None
    if moment.tzinfo is not None or not 1700 < moment.year < 2200:
        raise BadInput("has a time zone, or is centuries away")
    return moment


def one_of(names: Sequence[str]) -> Parse:
    """One of these names."""

    def parse(cell: str) -> str:
        if cell not in names:
            raise BadInput(f"is none of {', '.join(names)}")
        return cell

    return parse


def of_axis(axis: Axis) -> Parse:
    """How a searched parameter is read: as the search box has it, and inside it."""

    def parse(cell: str) -> Value:
        if isinstance(axis, Choice):
            candidates = [value for value in axis.values if _is_written(cell, value)]
            value: Value | None = candidates[0] if candidates else None
        else:
            value = whole(cell) if axis.is_integer else number(cell)
        if value is None or not axis.contains(value):
            raise BadInput(f"is outside the search: {axis}")
        return value

    return parse


def _is_written(cell: str, value: Value) -> bool:
    if isinstance(value, bool | str):
        return text_of(cell) == str(value)
    return _NUMBER.fullmatch(cell) is not None and float(cell) == value


def _refuse(constant: str) -> Any:
    raise BadInput(f"has {constant}, which is no JSON")


_DECODE = json.JSONDecoder(parse_constant=_refuse).decode


def _json(cell: str) -> Any:
    try:
        return _DECODE(cell)
    except json.JSONDecodeError as error:
        raise BadInput(f"is no JSON ({error.msg})") from None


# A table has millions of numbers in lists: their types and ends are looked at together, not one by one.
_NUMBERS = {int, float}
_WHOLES = re.compile(rf"{_WHOLE.pattern}(?:,{_WHOLE.pattern})*", re.ASCII)


def seeds(cell: str) -> tuple[int, ...]:
    """A JSON list of seeds."""
    value = numbers(cell)
    if not all(type(seed) is int and 0 <= seed < 2**31 for seed in value) or len(set(value)) != len(value):
        raise BadInput("is no JSON list of different whole numbers from 0")
    return value


def numbers(cell: str) -> tuple[Any, ...]:
    """A JSON list of numbers; null is NaN."""
    value = _json(cell)
    if not isinstance(value, list) or not (types := set(map(type, value))) <= {*_NUMBERS, type(None)}:
        raise BadInput("is no JSON list of numbers")
    return tuple(value) if types <= _NUMBERS else tuple(math.nan if inner is None else inner for inner in value)


def fractions(cell: str) -> tuple[float, ...]:
    """The same with numbers from 0 to 1."""
    value = numbers(cell)
    if not _are_fractions([inner for inner in value if inner is not math.nan]):
        raise BadInput("has no fractions from 0 to 1 only")
    return value


def _are_fractions(values: Collection[float]) -> bool:
    return not values or (min(values) >= 0 and max(values) <= 1)


def mapping(cell: str) -> dict[str, Any]:
    """A JSON object of numbers and texts."""
    value = _json(cell)
    if not isinstance(value, dict) or not all(isinstance(inner, str | int | float) for inner in value.values()):
        raise BadInput("is no JSON object of numbers and texts")
    return value


def epochs(cell: str) -> dict[int, float]:
    """A JSON object of fractions by epoch."""
    value = _json(cell)
    if not isinstance(value, dict) or not _are_whole(value):
        raise BadInput("is no JSON object of numbers by epoch")
    told = value.values()
    if set(map(type, told)) <= _NUMBERS and _are_fractions(told):
        return dict(zip(map(int, value), map(float, told), strict=True))
    return {int(epoch): _epoch_value(inner) for epoch, inner in value.items()}  # and says which number it is not


def _epoch_value(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadInput("has a value that is no number")
    return fraction(value) if isinstance(value, str) else fraction(repr(value))
