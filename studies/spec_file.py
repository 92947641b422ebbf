"""From what a user types (a TOML file or a catalogue name, and `--set` options) to a validated `StudySpec`.

Every complaint is one line that names the source, the key and the value, what is allowed, and what to do.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from rigl_core.paths import user_path
from studies.catalogue import catalogue_names, catalogue_text
from studies.complaints import one_line
from studies.errors import BadInput, SpecError, UnknownName
from studies.misplaced import check_sections, check_single
from studies.search_space import Axis, Choice, Range
from studies.spec import Pairs, Pruner, Strategy, StudySpec

MAX_BYTES = 1_000_000
"A specification is a page; this only keeps a data file named by mistake out of memory."

_NUMBER = r"[-+]?[0-9][-+0-9.eE_]*"

Document = dict[str, Any]

_AXIS: TypeAdapter[Choice | Range] = TypeAdapter(Axis)
_SECTIONS: dict[tuple[str, ...], type[BaseModel]] = {
    (): StudySpec,
    ("pairs",): Pairs,
    ("strategy",): Strategy,
    ("strategy", "pruner"): Pruner,
}


def load_spec(source: str, overrides: Sequence[str] = (), name: str | None = None) -> StudySpec:
    """The specification that a user means.

    Args:
        source: path of a TOML file, or the name of a catalogue entry. It is taken for a path if it ends in ".toml",
            contains a "/" or exists.
        overrides: KEY=VALUE with a dotted key ("strategy.n_trials=5", "pairs.sparsity=[0.9]", "search.lr.low=0.05").
            The value is TOML; what is no TOML value is a plain string, so that "fixed.method=set" needs no quotes.
        name: the campaign's name instead of the one written in the source.

    Raises:
        UnknownName: no such file or catalogue entry, or an unknown key or name in it; the message names the nearest.
        SpecError: the source cannot be read, is not TOML, or asks for something impossible.
    """
    document = read_document(source)
    for override in overrides:
        apply_override(document, override)
    if name is not None:
        document["name"] = name
    return validate(document, f"{source} with --set" if overrides else source)


def read_document(source: str) -> Document:
    """The tables of a TOML file or a catalogue entry, not yet validated.

    Raises:
        UnknownName: no such file or catalogue entry.
        SpecError: the source cannot be read or is not TOML.
    """
    is_path = source.endswith(".toml") or source.startswith("~") or "/" in source or os.path.lexists(source)
    if is_path:
        return _parse(_read_file(source), source)
    if source not in catalogue_names():
        raise UnknownName("study file or catalogue entry", source, catalogue_names())
    return _parse(catalogue_text(source), source)


def validate(document: Document, label: str) -> StudySpec:
    """The specification in `document`; complaints begin with `label`.

    Raises:
        BadInput: of the kind that fits, always one line.
    """
    try:
        check_sections(document)
        check_single(document)
        for key, axis in _axes(document):
            _check_axis(key, axis)
        spec = StudySpec.model_validate(document)
        spec.canonical_json()
        return spec
    except PydanticSerializationError as error:  # bytes of a command line that are not UTF-8, for example
        raise SpecError(f"{label}: holds a value that cannot be stored ({error}).") from None
    except ValidationError as error:
        raise SpecError(f"{label}: {_hint(error) or one_line(error)}") from None
    except BadInput as error:
        raise SpecError(f"{label}: {error}") from None
    except (OverflowError, RecursionError) as error:
        raise SpecError(f"{label}: a number is too large or a table nested too deeply ({error}).") from None


def _read_file(source: str) -> str:
    try:
        with user_path(source).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        known = ", ".join(catalogue_names())
        raise SpecError(f"{source}: there is no such file. Name a TOML file, or a catalogue entry: {known}.") from None
    except IsADirectoryError:
        raise SpecError(f"{source}: is a directory; name the TOML file in it.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError(f"{source!r}: cannot be read: {reason}.") from None
    if len(content) > MAX_BYTES:
        raise SpecError(f"{source}: is larger than {MAX_BYTES:,} bytes and hardly a study; name a TOML file.")
    try:
        return content.decode("utf-8-sig")  # -sig: some editors put a byte-order mark in front
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{source}: is not UTF-8 text (byte {error.start + 1} is 0x{content[error.start]:02x}); save it as UTF-8."
        ) from None


def _parse(text: str, label: str) -> Document:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SpecError(f"{label}: tables or lists are nested too deeply.") from None
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise SpecError(f"{label}: is not valid TOML: {_with_line(str(error), text)}") from None


def _with_line(message: str, text: str) -> str:
    """The parser's message, followed by the line it complains about."""
    lines = text.splitlines()
    found = re.search(r"at line (\d+)", message)
    if found is None and "end of document" not in message:
        return message
    line = lines[int(found[1]) - 1 if found else -1].strip()
    return f"{message}: {line[:60]}{'...' if len(line) > 60 else ''}"


def apply_override(document: Document, override: str) -> None:
    """Set one KEY=VALUE (a dotted key) in `document`.

    Raises:
        SpecError: not of that form, or a value that is not valid TOML.
    """
    key, equals, text = override.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in keys):
        raise SpecError(
            f'--set "{override}" is not KEY=VALUE with a dotted key; write for example --set strategy.n_trials=5.'
        )
    table = document
    for depth, part in enumerate(keys[:-1], start=1):
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise SpecError(
                f'--set "{override}": {".".join(keys[:depth])} is {inner!r} and holds no {keys[depth]}; '
                f"set {'.'.join(keys[:depth])} as a whole."
            )
        table = inner
    table[keys[-1]] = _value(text.strip(), override)


def _value(text: str, override: str) -> Any:
    """`text` as a TOML value; where it is none but could be a word, the word."""
    if not text:
        raise SpecError(f'--set "{override}": no value after "="; write "" (quoted) for an empty text.')
    if "\n" in text or "\r" in text:
        raise SpecError(f"--set {override!r}: the value has more than one line; write it on one.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except RecursionError:
        raise SpecError(f'--set "{override[:60]}...": lists are nested too deeply.') from None
    except ValueError as error:
        if text[0] in "[{\"'":  # meant as TOML, so a slip in it must not become a text
            reason = re.sub(r" \(at .*\)", "", str(error))
            raise SpecError(f'--set "{override}": the value is not valid TOML: {reason}.') from None
        if re.fullmatch(rf"{_NUMBER}(\s*,\s*{_NUMBER})+", text):
            raise SpecError(f'--set "{override}": a list has brackets around it; write [{text}].') from None
        return text
    return text if isinstance(value, date | datetime | time) else value


def _axes(document: Document) -> Iterator[tuple[str, Any]]:
    search = document.get("search")
    if isinstance(search, dict):
        yield from search.items()


def _check_axis(key: str, axis: Any) -> None:
    """Validate one axis alone: its own complaints do not know which axis it is."""
    try:
        _AXIS.validate_python(axis)
    except BadInput as error:
        raise SpecError(f"search.{key}: {error}") from None
    except ValidationError:
        if not isinstance(axis, dict | list):
            raise SpecError(
                f"search.{key} = {axis!r} is neither a range nor a list; write {{ low = ..., high = ... }} or a list "
                f"of values, or put a single value in [fixed]."
            ) from None
        # Any other complaint is told by the validation of the whole, which knows the key.


def _hint(error: ValidationError) -> str | None:
    """For an unknown key, the nearest one that is known; None for every other complaint."""
    first = error.errors()[0]
    if first["type"] != "extra_forbidden":
        return None
    *parents, key = (str(part) for part in first["loc"])
    if parents[:1] == ["search"]:
        model: type[BaseModel] | None = Choice if parents[-1] == "choice" else Range
    else:
        model = _SECTIONS.get(tuple(parents))
    if model is None:
        return None
    where = f"key in [{'.'.join(p for p in parents if p not in ('choice', 'range'))}]" if parents else "key"
    return str(UnknownName(where, key, model.model_fields))
