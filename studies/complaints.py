"""What pydantic complains of, in one line and in the words of this project: users know TOML, not Python's types."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

_NOT_IN_KEYS = ("choice", "range", "bool", "int", "float", "str")
"""What pydantic adds to a key to tell the members of a union apart."""


def one_line(error: ValidationError, key: str = "") -> str:
    """The first complaint of a pydantic error: which key (`key`, if given), which value, what is allowed."""
    first, *others = error.errors()
    # A list with a wrong value in it counts as too short as well, which nobody needs to be told.
    n_more = sum(other["type"] != "too_short" or other["loc"] != first["loc"][:-1] for other in others)
    n_more = 0 if first["type"] in _OF_UNIONS and first["loc"][-1] in _NOT_IN_KEYS else n_more
    where = key or ".".join(str(part) for part in first["loc"] if part not in _NOT_IN_KEYS)
    what = _in_our_words(first["type"], first.get("ctx", {})) or first["msg"].removeprefix("Value error, ")
    if first["type"] in _OF_UNIONS and first["loc"][-1] in _NOT_IN_KEYS:
        what = "it must be a number, a text, true or false"
    limits = first.get("ctx", {})
    what += _as_percent(first["input"]) if limits.get("lt", limits.get("le")) == 1 else ""
    shown = _shown(first["input"])
    value = f" = {shown if len(shown) <= 60 else shown[:57] + '...'}" if where and first["type"] != "missing" else ""
    more = f" ({n_more} more)" if n_more > 0 else ""
    return f"{where}{value}: {what}{more}" if where else f"{what}{more}"


def _as_percent(value: Any) -> str:
    """A hint for who has written 90 where 0.9 was asked for, known to be more than the setting may be."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"; {value:g} % is {value / 100:g}" if is_number and 5 <= value < 100 else ""


def _shown(value: Any) -> str:
    """A value as TOML writes it, where that differs from Python and is short."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


_OF_UNIONS = ("bool_type", "int_type", "float_type", "string_type")


def _number(limit: int | float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


_WORDS: Mapping[str, str | Callable[[Mapping[str, Any]], str]] = {
    "extra_forbidden": "unknown key",
    "missing": "it is missing",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "int_parsing_size": "the number is too large",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a finite number",
    "string_type": "it must be a text",
    "tuple_type": "it must be a list",
    "list_type": "it must be a list",
    "dict_type": "it must be a table",
    "model_type": "it must be a table",
    "model_attributes_type": "it must be a table",
    "too_short": lambda limits: f"it must have {limits['min_length']} or more values",
    "too_long": lambda limits: f"it may have at most {limits['max_length']:,} values",
    "greater_than": lambda limits: f"it must be greater than {_number(limits['gt'])}",
    "greater_than_equal": lambda limits: f"it must be {_number(limits['ge'])} or more",
    "less_than": lambda limits: f"it must be less than {_number(limits['lt'])}",
    "less_than_equal": lambda limits: f"it must be {_number(limits['le'])} or less",
    "literal_error": lambda allowed: f"it must be {allowed['expected']}",
    "string_pattern_mismatch": "it must be 64 of the digits 0-9 and a-f, as `sha256sum` prints them",
}


def _in_our_words(kind: str, context: Mapping[str, Any]) -> str | None:
    words = _WORDS.get(kind)
    return words(context) if callable(words) else words
