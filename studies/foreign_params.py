"""The parameters of another program's trials as values that a table holds and a figure can place.

Optuna keeps any name and any choice that JSON has: no text is too long, lists and infinite numbers are among them, and
1, 1.0, "1" and true are four choices. Here each choice has a value of its own that can be told from all others.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from pydantic import ValidationError

from studies.attributes import FIXED_PARAMS_ATTR
from studies.errors import BadInput
from studies.printable import printable, visible
from studies.search_space import Axis, Choice, Range, Value

LARGEST = 2**63 - 1
"""Of the whole numbers of a table; larger ones become fractions."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a study.

    Attributes:
        key: its name, as the other program has it.
        name: the same as it is shown.
        axis: what was searched; None where that changed, or is of a kind that we do not have.
        choices: of a category, as the other program has them; empty for a number.
        shown: of each choice the value that stands for it, by `identity`.
    """

    key: str
    name: str
    axis: Axis | None
    choices: tuple[Any, ...]
    shown: Mapping[str, Value]

    def value(self, value: Any) -> Value:
        """What stands for a trial's value of this parameter."""
        found = self.shown.get(identity(value))
        return _number(value) if found is None else found


def parameters(trials: Iterable[FrozenTrial]) -> dict[str, Parameter]:
    """Every parameter by its key, in the order in which trials first had them."""
    distributions: dict[str, list[BaseDistribution]] = {}
    values: dict[str, dict[str, Any]] = {}
    for trial in trials:
        for key, distribution in trial.distributions.items():
            own = distributions.setdefault(key, [])
            if distribution not in own:
                own.append(distribution)
        for key, value in asked(trial).items():
            values.setdefault(key, {})[identity(value)] = value
    names = dict(zip(distributions, told_apart([visible(key) for key in distributions]), strict=True))
    return {key: _parameter(key, names[key], own, values.get(key, {})) for key, own in distributions.items()}


def asked(trial: FrozenTrial) -> Mapping[str, Any]:
    """The parameters of a trial, which one that waits has apart."""
    return trial.params or trial.system_attrs.get(FIXED_PARAMS_ATTR, {})


def identity(value: Any) -> str:
    """A text that two values share only if they are the same, of the same kind."""
    return f"{type(value).__name__} {list(value) if isinstance(value, tuple) else value!r}"


def told_apart(texts: Sequence[str]) -> list[str]:
    """The texts, those that are there twice with their place behind them."""
    return [text if texts.count(text) == 1 else f"{text} ({i})" for i, text in enumerate(texts)]


def _parameter(key: str, name: str, own: Sequence[BaseDistribution], values: Mapping[str, Any]) -> Parameter:
    choices = {
        identity(choice): choice
        for distribution in own
        if isinstance(distribution, CategoricalDistribution)
        for choice in distribution.choices
    }
    every = {**choices, **values} if choices else {}
    shown = dict(zip(every, _labels(list(every.values())), strict=True))
    axis = _axis(own[0], shown) if len(own) == 1 else None
    return Parameter(key, name, axis, tuple(choices.values()), shown)


def _labels(choices: Sequence[Any]) -> list[Value]:
    """For each choice a value that can be told from all others: itself where that can be, else a text."""
    simple: list[Value] = [choice if _is_simple(choice) else printable(str(choice)) for choice in choices]
    numbers_fit = all(_is_simple(choice) for choice in choices if isinstance(choice, int | float))
    if numbers_fit and len(set(simple)) == len(simple):
        return [visible(value) if isinstance(value, str) else value for value in simple]
    texts = [visible(str(choice)) for choice in choices]
    if len(set(texts)) < len(texts):
        texts = told_apart([printable(repr(choice)) for choice in choices])
    return list(texts)


def _is_simple(choice: Any) -> bool:
    """Whether a table holds it as it is."""
    if isinstance(choice, int) and not isinstance(choice, bool):
        return abs(choice) <= LARGEST
    return isinstance(choice, bool | str) or (isinstance(choice, float) and math.isfinite(choice))


def _number(value: Any) -> Value:
    """A drawn number."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return float(value) if abs(value) < 2**1023 else math.copysign(math.inf, value)
    return value if isinstance(value, bool | int | float | str) else printable(str(value))


def _axis(distribution: BaseDistribution, shown: Mapping[str, Value]) -> Axis | None:
    """An axis of the search box; None where it has none of our kinds, and the values seen must do."""
    try:
        if isinstance(distribution, CategoricalDistribution):
            return Choice(values=tuple(shown[identity(choice)] for choice in distribution.choices))
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        low, high, log = distribution.low, distribution.high, distribution.log
        if low == high:
            return Choice(values=(low,))
        step = None if log or distribution.step == 1 else distribution.step
        return Range(low=low, high=high, step=step, log=log)
    except (BadInput, ValidationError):
        return None
