"""What --reference names: the parameters of a trial of another program's study, whatever their names and values."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from optuna.trial import FrozenTrial

from studies.errors import BadInput, UnknownName
from studies.foreign_params import Parameter
from studies.printable import printable
from studies.search_space import Choice, Params, Value

_PLAIN = re.compile(r"[^\s,=\"'\[\]{}]+")
"""A value that needs no quotation marks, as no other value could be meant."""


def named_reference(texts: Sequence[str], parameters: Mapping[str, Parameter]) -> Params:
    """The parameters that the user names, by the names under which they are shown.

    Args:
        texts: of each --reference: KEY=VALUE, or several with commas between them. A comma ends a value only where the
            name of a parameter and "=" follow it. A value may be written as JSON: "64,32" in quotation marks, [64, 32].
        parameters: of the study, by key.

    Raises:
        BadInput: a text that is not KEY=VALUE, or a value that the study cannot have.
        UnknownName: a parameter that no trial has.
    """
    found: Params = {}
    for text in texts:
        for parameter, value in _split(text, parameters):
            found[parameter.name] = _meant(parameter, value, text, parameters)
    return found


def written(params: Mapping[str, Any]) -> str:
    """The parameters of a trial as --reference takes them."""
    return ",".join(f"{printable(key)}={_as_text(value)}" for key, value in params.items())


def not_among(texts: Sequence[str], reference: Params, trials: Sequence[FrozenTrial], parameters: Any) -> str:
    """That no trial has these parameters, and what a trial that comes close has, as --reference takes it."""

    def alike(trial: FrozenTrial) -> int:
        own = {parameters[key].name: parameters[key].value(value) for key, value in trial.params.items()}
        return sum(key in own and own[key] == value for key, value in reference.items())

    closest = max(trials, key=alike)
    return (
        f"--reference {','.join(texts)}: no trial has exactly these parameters; trial {closest.number} has "
        f"{written(closest.params)}. --reference-trial NUMBER names a trial by its number."
    )


def _split(text: str, parameters: Mapping[str, Parameter]) -> Iterator[tuple[Parameter, str]]:
    """The parameters that a text names, each with its value as it is written."""
    keys = {key: parameter for parameter in parameters.values() for key in (parameter.key, parameter.name)}
    names = "|".join(re.escape(key) for key in sorted(keys, key=len, reverse=True))
    key = re.compile(rf"\s*({names})\s*=\s*", re.DOTALL) if keys else re.compile("(?!)()")
    at = 0
    while True:
        found = key.match(text, at)
        if found is None:
            _refuse(text, text[at:], parameters)
        end = _end(text, found.end(), key)
        yield keys[found[1]], text[found.end() : end].strip()
        if end == len(text):
            return
        at = end + 1


def _end(text: str, start: int, key: re.Pattern[str]) -> int:
    """Where the value ends that begins at `start`: at the text's end, or a comma with the next parameter behind it."""
    at = start
    with contextlib.suppress(ValueError, RecursionError):
        after = json.JSONDecoder().raw_decode(text, start)[1]
        after += len(text[after:]) - len(text[after:].lstrip())
        if after == len(text) or (text[after] == "," and key.match(text, after + 1)):
            return after
    while (at := text.find(",", at)) >= 0:
        if key.match(text, at + 1):
            return at
        at += 1
    return len(text)


def _refuse(text: str, part: str, parameters: Mapping[str, Parameter]) -> NoReturn:
    key, equals, _ = (word.strip() for word in part.partition("="))
    if not key or not equals:
        raise BadInput(f'--reference "{text}" is not KEY=VALUE,KEY=VALUE,...; write for example lr=0.1,alpha=0.3.')
    raise UnknownName("parameter of the study", key, [parameter.name for parameter in parameters.values()])


def _meant(parameter: Parameter, value: str, text: str, parameters: Mapping[str, Parameter]) -> Value:
    """What the user means by `value`: the choice that is written so, or a number."""
    for way in (_is_exactly, _is_in_json, _is_nearly):
        for choice in parameter.choices:
            if way(choice, parameter.value(choice), value):
                return parameter.value(choice)
    number = None if parameter.choices else _number(value)
    if number is not None:
        return number
    _, comma, rest = value.partition(",")
    if comma and (not rest.strip() or "=" in rest):  # what follows is no parameter, and was meant to be
        _refuse(text, rest, parameters)
    if parameter.choices:
        shown = Choice.model_construct(values=tuple(map(parameter.value, parameter.choices)))
        raise BadInput(f"--reference {parameter.name}={value} is none of the study's choices: {shown}.")
    searched = "numbers" if parameter.axis is None else parameter.axis
    raise BadInput(f"--reference {parameter.name}={value} is no number, and the study searched {searched}.")


def _is_exactly(choice: Any, shown: Value, text: str) -> bool:
    return isinstance(choice, str) and text in (choice, shown)


def _is_in_json(choice: Any, _shown: Value, text: str) -> bool:
    try:
        meant = json.loads(text)
    except (ValueError, RecursionError):
        return False
    choice = list(choice) if isinstance(choice, tuple) else choice
    return type(meant) is type(choice) and bool(meant == choice)


def _is_nearly(choice: Any, shown: Value, text: str) -> bool:
    """A choice that is no text, as Python prints it, in small letters, or with another point."""
    if text in (str(choice), str(choice).lower(), repr(choice), shown):
        return True
    is_number = isinstance(choice, int | float) and not isinstance(choice, bool)
    return is_number and _number(text) == choice


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return None


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and _reads_as_text(value) else json.dumps(value)
    return "null" if value is None else str(value)


def _reads_as_text(value: str) -> bool:
    return value.isprintable() and _number(value) is None and value.lower() not in ("none", "true", "false", "null")
