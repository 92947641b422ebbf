"""The response over two parameters at once, at each learning rate. Numbers only, from the pair's model of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from studies.coordinates import Array
from studies.evidence.finished import Model, conditional, finished
from studies.frame import param_columns
from studies.search_space import Params

CELLS = 21
"""A surface has so many points along either side."""
LR_VALUES = 4
"""A learning rate searched on at most so many values has a panel each; otherwise `SLICES` thirds of what was tried."""
SLICES = 3


@dataclass(frozen=True)
class Surface:
    """The value over two parameters, at one learning rate; all other parameters are at the best's values.

    Attributes:
        lr: the learning rate; None where it was not varied. lr_range: the trials shown had theirs in between.
        x: values of the first parameter; y: of the second.
        mean: expected value, y by x; std: how well it is known, likewise.
        trials: rows (index labels) of the trials shown.
    """

    lr: float | None
    lr_range: tuple[float, float] | None
    x: Array
    y: Array
    mean: Array
    std: Array
    trials: tuple[int, ...]


def surface_params(frame: pd.DataFrame, changes: Mapping[str, float]) -> tuple[str, str] | None:
    """Alpha and delta_t where both are searched, else the two numbers that change most, the learning rate last.

    Args:
        frame: the trials; what only some of them have makes no surface.
        changes: how much each parameter that was varied changes.
    """
    columns, partly = param_columns(frame), conditional(finished(frame))
    numbers = [
        name
        for name, column in columns.items()
        if pd.api.types.is_numeric_dtype(frame[column]) and frame[column].dtype != "boolean" and name not in partly
    ]
    if {"alpha", "delta_t"} <= set(numbers):
        return ("alpha", "delta_t")
    varied = [name for name in numbers if name in changes]
    ranked = sorted(varied, key=lambda name: (name == "lr", -changes[name]))
    return (ranked[0], ranked[1]) if len(ranked) > 1 else None


def surfaces(model: Model, params: tuple[str, str], best: Params) -> tuple[Surface, ...]:
    """The response over two parameters, a surface a value or third of the learning rate; none if one never varied."""
    names = [side.name for side in model.cube.sides]
    if not set(params) <= set(names):
        return ()
    sides = [model.cube.sides[names.index(name)] for name in params]
    if any(side.choices is not None for side in sides):
        return ()
    x, y = (np.array([side.value(place) for place in np.linspace(0, 1, CELLS)]) for side in sides)
    grid = pd.DataFrame(
        {
            **{side.column: [best.get(side.name)] * CELLS**2 for side in model.cube.sides},
            sides[0].column: np.tile(x, CELLS),
            sides[1].column: np.repeat(y, CELLS),
        }
    )
    found = []
    for lr, lr_range, rows in _slices(model, params):
        if lr is not None:
            grid[model.columns["lr"]] = lr
        mean, std = model.response.at(model.cube.points(grid))
        found.append(
            Surface(lr, lr_range, x, y, mean.reshape(CELLS, CELLS), std.reshape(CELLS, CELLS), tuple(map(int, rows)))
        )
    return tuple(found)


Slice = tuple[float | None, tuple[float, float] | None, "pd.Index[int]"]


def _slices(model: Model, params: Sequence[str]) -> list[Slice]:
    """Learning rates to show the surface at, each with the rows of the trials that had about this one."""
    trials = model.trials
    if "lr" in params or "lr" in conditional(trials) or not is_rate(trials, model.columns):
        return [(None, None, trials.index)]
    rates = trials[model.columns["lr"]].astype(float)
    distinct = sorted(rates.unique())
    if len(distinct) <= LR_VALUES:
        return [(rate, None, trials.index[rates == rate]) for rate in distinct]
    thirds = np.array_split(rates.sort_values(kind="stable").index, SLICES)
    return [
        (float(rates[third].median()), (float(rates[third].min()), float(rates[third].max())), pd.Index(third))
        for third in thirds
    ]


def is_rate(trials: pd.DataFrame, columns: Mapping[str, str]) -> bool:
    """Whether there is a learning rate, and it is a number."""
    return "lr" in columns and pd.api.types.is_numeric_dtype(trials[columns["lr"]])
