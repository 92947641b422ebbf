"""trials.csv: every trial of a campaign, one a row, for spreadsheets and other programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from studies.frame import COLUMNS, param_columns

PER_SEED = ("val_accuracy", "test_accuracy", "loss", "bits_per_character", "test_bits_per_character")
"""Columns of the frame that become one column a seed: `val_accuracy_SEED`, ..."""
OF_TEXT = ("bits_per_character", "test_bits_per_character")
"""Columns that are left out where no trial has them."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def trials_csv(frame: pd.DataFrame) -> str:
    """The frame as the text of a CSV file.

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
            columns[column.name] = [_json(value) for value in frame[column.name]]
        elif column.dtype.startswith("datetime"):
            columns[column.name] = [None if pd.isna(moment) else moment.isoformat() for moment in frame[column.name]]
        else:
            columns[column.name] = frame[column.name]
        if column.name == "is_reference":
            columns |= {name: frame[name] for name in param_columns(frame).values()}
    return pd.DataFrame(columns).map(_harmless, na_action="ignore").to_csv(index=False, lineterminator="\n")


def _by_seed(seeds: Sequence[int], values: Sequence[float]) -> dict[int, float]:
    return dict(zip(seeds, values, strict=True)) if len(seeds) == len(values) else {}


def _json(value: Sequence[Any] | Mapping[Any, Any]) -> str | None:
    return json.dumps(value, separators=(",", ":")) if value else None


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula, with the apostrophe that makes it a text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
