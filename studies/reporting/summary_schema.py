"""The JSON schema of summary.json, made from the keys that `studies.reporting.summary` documents.

A key is written as a path: dots between the names, `[]` behind a list. Its `Key` says what is there and what it means;
objects and lists above it follow from the paths.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_SCALAR = ["boolean", "number", "string"]
KINDS: Mapping[str, Mapping[str, Any]] = {
    "text": {"type": "string"},
    "texts": {"type": "array", "items": {"type": "string"}},
    "integer": {"type": "integer"},
    "integers": {"type": "array", "items": {"type": "integer"}},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "settings": {"type": "object", "additionalProperties": {"type": _SCALAR}},
    "by seed": {
        "type": "object",
        "propertyNames": {"pattern": "^[0-9]+$"},
        "additionalProperties": {"type": ["number", "null"]},
    },
    "object": {"type": "object"},
    "any": {},
}
"""What a value may be. A "?" behind a kind lets it be null as well."""


@dataclass(frozen=True)
class Key:
    """A value in summary.json.

    Attributes:
        kind: what it is, one of `KINDS`, with a "?" behind it where it may be null.
        meaning: a few words.
        values: the only ones there are; empty where there are more than can be named.
    """

    kind: str
    meaning: str
    values: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """As JSON schema."""
        found = {**KINDS[self.kind.removesuffix("?")], "description": self.meaning}
        if self.kind.endswith("?"):
            found["type"] = [found["type"], "null"]
        return found | ({"enum": list(self.values)} if self.values else {})

    def about(self, what: str) -> "Key":
        """The same of something: `what` goes before the meaning."""
        return Key(self.kind, f"{what}: {self.meaning}", self.values)


def object_schema(
    keys: Mapping[str, Key | str], *, absent: Collection[str] = (), open_below: str = ""
) -> dict[str, Any]:
    """The schema of an object with exactly these keys.

    Args:
        keys: by path; a mere text is the meaning of a value of any kind.
        absent: paths of objects that may be null.
        open_below: below this path every key may be missing, and every object and list may be null.
    """
    root: dict[str, Any] = {}
    for path, key in keys.items():
        here = root
        for name in path.replace("[]", ".[]").split("."):
            here = here.setdefault(name, {})
        here["key"] = key if isinstance(key, Key) else Key("any", key)
    return _node(root, "", absent, open_below)


def _node(node: Mapping[str, Any], path: str, absent: Collection[str], open_below: str) -> dict[str, Any]:
    if isinstance(node.get("key"), Key):
        leaf: Key = node["key"]
        return leaf.schema()
    is_open = bool(open_below) and (path == open_below or path.startswith(f"{open_below}."))
    may_be_null = path in absent or (is_open and path != open_below)
    if "[]" in node:
        items = _node(node["[]"], f"{path}[]", absent, open_below)
        return {"type": ["array", "null"] if may_be_null else "array", "items": items}
    children = {name: _node(child, f"{path}.{name}".lstrip("."), absent, open_below) for name, child in node.items()}
    found = {
        "type": ["object", "null"] if may_be_null else "object",
        "properties": children,
        "additionalProperties": False,
    }
    return found if is_open else {**found, "required": list(children)}
