"""Searched parameters as points in a unit cube, for models of the response. Only what was tried is looked at."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

LOG_SPAN = 10.0
"""A positive number that spans so many times its smallest value is looked at on a logarithmic scale."""


def coordinates(trials: pd.DataFrame, columns: Mapping[str, str]) -> tuple[Array, list[int]]:
    """Where each trial is.

    A number has one coordinate, its smallest value at 0 and its largest at 1. A choice has one for each of its values:
    1/√2 at its own and 0 elsewhere, so that any two choices are 1 apart. Not to have a parameter, which some programs'
    trials do, is a choice of its own; a number that is not there is put in the middle and has a second coordinate, on
    which it is 1 away from those that are.

    Args:
        trials: complete trials, one a row.
        columns: searched parameters and their columns (`studies.frame.param_columns`).

    Returns:
        Trials by coordinates, and for each coordinate the index of its parameter in `columns`.
    """
    found: list[Array] = []
    groups: list[int] = []
    for index, column in enumerate(columns.values()):
        values = trials[column]
        own = (
            _number(values) if pd.api.types.is_numeric_dtype(values) and values.dtype != "boolean" else _choice(values)
        )
        found.append(own)
        groups += [index] * own.shape[1]
    return np.hstack(found), groups


def _number(values: "pd.Series[Any]") -> Array:
    numbers = np.asarray(values.to_numpy(float, na_value=np.nan), dtype=np.float64)
    is_missing = np.isnan(numbers)
    if is_missing.all():
        return np.zeros((len(numbers), 1))
    if np.nanmin(numbers) > 0 and np.nanmax(numbers) >= LOG_SPAN * np.nanmin(numbers):
        numbers = np.log(numbers)
    lowest, span = float(np.nanmin(numbers)), float(np.nanmax(numbers) - np.nanmin(numbers))
    scaled: Array = (numbers - lowest) / (span or 1.0)
    if not is_missing.any():
        return scaled[:, None]
    return np.stack([np.where(is_missing, 0.5, scaled), is_missing.astype(float)], axis=1)


def _choice(values: "pd.Series[Any]") -> Array:
    names = np.array(["missing" if pd.isna(value) else f"is {value}" for value in values])
    own: Array = (names[:, None] == np.unique(names)[None, :]) / np.sqrt(2.0)
    return own
