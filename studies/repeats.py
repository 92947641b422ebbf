"""Settings that ran several times, as a noisy objective is repeated: one row a setting instead of one a trial."""

import statistics
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from studies.frame import param_columns


@dataclass(frozen=True)
class Settings:
    """The trials of a study by what they ran.

    Attributes:
        frame: the trials, and of those that ran the same setting to the end only the best, with the mean value of all.
        runs: numbers of all trials that ran a setting to the end, by the number of the one that stands for them.
        values: what these reached, likewise.
    """

    frame: pd.DataFrame
    runs: Mapping[int, tuple[int, ...]]
    values: Mapping[int, tuple[float, ...]]

    @property
    def repeated(self) -> bool:
        """Whether a setting ran more than once."""
        return any(len(own) > 1 for own in self.runs.values())

    @property
    def evenly_repeated(self) -> bool:
        """Whether all settings ran equally often, more than once, and the runs of some differ."""
        n_runs = {len(own) for own in self.runs.values()}
        return len(n_runs) == 1 and max(n_runs) > 1 and any(len(set(own)) > 1 for own in self.values.values())


def by_setting(frame: pd.DataFrame) -> Settings:
    """The trials of one study by their settings; runs that reached no finite value stay as they are."""
    is_run = (frame["state"] == "complete") & np.isfinite(frame["value"])
    columns = list(param_columns(frame).values())
    groups: dict[Hashable, list[int]] = {}
    for row, *values in frame.loc[is_run, columns].itertuples(name=None):
        groups.setdefault(tuple(None if pd.isna(value) else (type(value), value) for value in values), []).append(row)
    runs, reached, kept, means = {}, {}, [], {}
    for rows in groups.values():
        own = frame.loc[rows, "value"].tolist()
        best = rows[own.index(max(own))]
        numbers = [int(number) for number in frame.loc[rows, "number"]]
        number = numbers[own.index(max(own))]
        runs[number], reached[number] = tuple(numbers), tuple(own)
        kept.append(best)
        if len(rows) > 1:
            means[best] = statistics.mean(own)  # exact: the mean of equal values is that value
    settings = frame[~is_run | frame.index.isin(kept)]
    if means:
        rows = list(means)
        settings = settings.copy()
        settings.loc[rows, "value"] = list(means.values())
        for row in rows:
            settings.at[row, "val_accuracy"] = (means[row],)
    return Settings(settings, runs, reached)
