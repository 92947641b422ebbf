"""trials.csv: every trial of a campaign, one a row, for spreadsheets and other programs."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from studies.frame import COLUMNS, param_columns

PER_SEED = ("val_accuracy", "test_accuracy", "loss", "bits_per_character", "test_bits_per_character")
"""Columns of the frame that become one column a seed: `val_accuracy_SEED`, ..."""
OF_TEXT = ("bits_per_character", "test_bits_per_character")
"""Columns that are left out where no trial has them."""

NOT_A_NUMBER = "NaN"
"""Stands where a number went wrong; an empty cell is one that was never measured."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_APOSTROPHE = "'"


def trials_csv(frame: pd.DataFrame) -> str:
    """The frame as the text of a CSV file, which `studies.reporting.trials_reader` reads back.

    Columns as in `studies.frame.COLUMNS`, the searched parameters after "is_reference". Numbers in full precision,
    times as ISO 8601, tuples and dictionaries as JSON; per-seed numbers have one column a seed. Bits per character are
    there for campaigns on text only.
    """
    seeds = sorted({seed for own in frame["seeds"] for seed in own})
    columns: dict[str, Any] = {}
    for column in COLUMNS:
        if column.name in OF_TEXT and not frame[column.name].map(len).any():
            continue
        if column.name in PER_SEED:
            by_trial = [_by_seed(*pair) for pair in zip(frame["seeds"], frame[column.name], strict=True)]
            columns |= {f"{column.name}_{seed}": [own.get(seed) for own in by_trial] for seed in seeds}
        elif column.dtype == "object":
            columns[column.name] = [json_cell(value) for value in frame[column.name]]
        elif column.dtype.startswith("datetime"):
            columns[column.name] = [None if pd.isna(moment) else moment.isoformat() for moment in frame[column.name]]
        else:
            columns[column.name] = frame[column.name]
        if column.name == "is_reference":
            columns |= {name: frame[name] for name in param_columns(frame).values()}
    table = pd.DataFrame(columns)
    for name in columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(text_cell, na_action="ignore")
    return table.to_csv(index=False, lineterminator="\n")


def _by_seed(seeds: Sequence[int], values: Sequence[float]) -> dict[int, Any]:
    if len(seeds) != len(values):
        return {}
    told = [NOT_A_NUMBER if isinstance(value, float) and math.isnan(value) else value for value in values]
    return dict(zip(seeds, told, strict=True))


def json_cell(value: Sequence[Any] | Mapping[Any, Any]) -> str | None:
    """JSON as the standard has it, which has no NaN and no infinity: they become null and a text."""
    if not value:
        return None
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def text_cell(value: Any) -> Any:
    """A text as a cell that no spreadsheet runs as a formula: behind an apostrophe where it could be one.

    So are an empty text, which would look like a missing one, and a text that begins with an apostrophe itself. The
    ends of lines are those of the file.
    """
    if not isinstance(value, str):
        return value
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{value}" if not value or value.startswith((*_FORMULA, _APOSTROPHE)) else value


def text_of(cell: str) -> str:
    """The text that `text_cell` made a cell of."""
    return cell.removeprefix(_APOSTROPHE)
