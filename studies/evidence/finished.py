"""Finished trials as the models of the evidence see them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from studies.coordinates import Array, Cube
from studies.frame import param_columns
from studies.reporting import marks
from studies.reporting.findings import PairResult
from studies.reporting.measure import ACCURACY, Measure
from studies.reporting.section import Searched
from studies.response import MOST, Response, fit
from studies.seed_noise import noise_of_a_seed

MOST_PAIRS = 12
"""A figure of pairs shows the first so many, and says so."""


def finished(frame: pd.DataFrame, study: str | None = None) -> pd.DataFrame:
    """Complete trials with a value, of one study or all; the index is that of the frame."""
    is_there = (frame["state"] == "complete") & np.isfinite(frame["value"])
    if study is not None:
        is_there &= frame["study"] == study
    trials: pd.DataFrame = frame[is_there]
    return trials


def varied(trials: pd.DataFrame) -> dict[str, str]:
    """The searched parameters of which more than one value was tried, and their columns."""
    return {name: column for name, column in param_columns(trials).items() if trials[column].nunique() > 1}


def conditional(trials: pd.DataFrame) -> dict[str, int]:
    """The parameters that some of the trials have and others do not, and how many have them."""
    having = {name: int(trials[column].notna().sum()) for name, column in param_columns(trials).items()}
    return {name: n for name, n in having.items() if 0 < n < len(trials)}


def accuracies(trials: pd.DataFrame, column: str) -> tuple[pd.DataFrame, Array]:
    """The trials that were trained on the seeds most were trained on, and their accuracies, trials by seeds.

    Args:
        trials: complete ones.
        column: "val_accuracy" or "test_accuracy".
    """
    told = [
        seeds if len(seeds) == len(values) and all(map(math.isfinite, values)) else ()
        for seeds, values in zip(trials["seeds"], trials[column], strict=True)
    ]
    often = Counter(seeds for seeds in told if seeds)
    if not often:
        return trials.iloc[:0], np.empty((0, 0))
    usual = min(often, key=lambda seeds: (-often[seeds], seeds))
    has_all = [set(usual) <= set(seeds) for seeds in told]
    rows = trials[has_all]
    by_seed = [dict(zip(row, values, strict=True)) for row, values in zip(rows["seeds"], rows[column], strict=True)]
    return rows, np.array([[own[seed] for seed in usual] for own in by_seed])


@dataclass(frozen=True)
class Model:
    """A pair's response together with the cube it is over.

    Attributes:
        columns: parameters that were varied, and their columns.
        trials: what it was made from.
        floor: lower values count as this much.
    """

    cube: Cube
    columns: dict[str, str]
    response: Response
    trials: pd.DataFrame
    floor: float

    @property
    def points(self) -> Array:
        """Where its trials are."""
        return self.cube.points(self.trials)


def model_of(frame: pd.DataFrame, pair: PairResult, measure: Measure = ACCURACY) -> Model | None:
    """The response of a trial's value; None where the trials are too few, all the same, or nothing was varied.

    Hopeless trials count as the lowest of the others (`marks.floor_of`): a cliff would look like noise elsewhere.
    """
    own = finished(frame, pair.study)
    columns = varied(own)
    if not columns:
        return None
    rows, by_seed = accuracies(own, "val_accuracy")
    if len(rows) < len(own):  # validation told as a mean only, or seeds that differ
        rows, by_seed = own, own["value"].to_numpy(float)[:, None]
    floor = marks.floor_of(rows["value"], rows["value"], measure)
    near = by_seed[by_seed.mean(1) >= floor]
    noise, freedom = noise_of_a_seed(near) if len(near) > 1 else (math.nan, 0)
    thinned = marks.thin(rows, MOST, keep=marks.marked(pair))
    looks = np.maximum(by_seed.mean(1)[rows.index.isin(thinned.index)], floor)
    cube = Cube.of(thinned, columns)
    error = noise / math.sqrt(by_seed.shape[1]) if freedom and noise > 1e-9 else math.nan
    response = fit(cube.points(thinned), looks, error, freedom, cube.groups)
    return None if response is None else Model(cube, columns, response, thinned, floor)


def models_of(evidence: Searched, pairs: Sequence[PairResult]) -> dict[str, Model | None]:
    """The model of each of these pairs, by study. To fit one takes seconds, so it is done once a report."""
    known: dict[str, Model | None] = evidence.memo.setdefault("models", {})
    for pair in pairs:
        if pair.study not in known:
            known[pair.study] = model_of(evidence.frame, pair, evidence.analysis.measure)
    return {pair.study: known[pair.study] for pair in pairs}
