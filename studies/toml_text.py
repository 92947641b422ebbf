"""Values as TOML text, which the standard library only reads."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from studies.printable import printable_json


def toml_value(value: Any) -> str:
    """A value on one line: a text, a number, true or false, a list, or a table in braces.

    Raises:
        TypeError: TOML has no such value, None for example.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            # A JSON text is a TOML text, but for a control character that JSON leaves as it is.
            return printable_json(json.dumps(value, ensure_ascii=False))
        case Mapping():
            inner = ", ".join(f"{toml_key(key)} = {toml_value(each)}" for key, each in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case Sequence():
            return f"[{', '.join(map(toml_value, value))}]"
    raise TypeError(f"TOML has no {type(value).__name__}")


def toml_key(key: str) -> str:
    """A key, in quotes where it needs them."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)
