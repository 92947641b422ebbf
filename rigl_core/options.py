"""What the options of models and data sets may be, checked before anything is built and without torch."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from rigl_core.errors import BadInput

_RULES: Mapping[str, tuple[Callable[[float], bool], str]] = MappingProxyType(
    {
        "depth": (lambda value: value >= 10 and value % 6 == 4, "6n + 4 for a whole n of at least 1: 10, 16, 22, 28"),
        "width": (lambda value: 0 < value < math.inf, "above 0"),
        "dropout": (lambda value: 0 <= value < 1, "in [0, 1)"),
    }
)
"""By name, because an option of one name means the same wherever it is taken. Others are counts, at least 1."""


def check_options(kind: str, name: str, options: Mapping[str, float], takes: Mapping[str, type]) -> None:
    """Refuse options that a model or data set does not take, or values that it cannot have.

    Args:
        kind: "model" or "data set", for the message.
        name: which one.
        options: what the user set.
        takes: what it takes, with their types.

    Raises:
        BadInput: an unknown option, or a value outside its range.
    """
    for key, value in options.items():
        if key not in takes:
            allowed = ", ".join(takes) or "none"
            raise BadInput(f'{kind} "{name}" takes no option "{key}" ({value}); it takes: {allowed}.')
        if takes[key] is int and not (math.isfinite(value) and value == int(value)):
            raise BadInput(f'{kind} "{name}": option {key} is {value}; it must be a whole number.')
        allows, words = _RULES.get(key, (lambda count: count >= 1, "at least 1"))
        if not allows(value):
            raise BadInput(f'{kind} "{name}": option {key} is {value}; it must be {words}.')
