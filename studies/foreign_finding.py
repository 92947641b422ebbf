"""What the trials of an Optuna study of some other program say about its best and its reference. Pure functions.

Such a study has one value a trial. It has no seeds, so chance is only seen in how neighbouring trials differ, or the
runs of a setting that was repeated, which counts with their mean. Nothing was held out, so the best is judged by the
very values that it was chosen for. The gain without the winner's luck (`studies.gain`) takes care of both, as far as it
can be done.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from studies.analysis import analyse, verdict_of
from studies.box import Box
from studies.coordinates import coordinates
from studies.foreign import FOREIGN_STATES, ForeignStudy
from studies.frame import param_columns
from studies.gain import MOST, Gain, estimate_gain
from studies.pair_gain import box_around, typical_reach
from studies.repeats import Settings, by_setting
from studies.reporting.contained import attempt
from studies.reporting.findings import Analysis, PairResult, Setting, Verdict
from studies.reporting.section import Text
from studies.reporting.wording import cut
from studies.search_space import Axis

FEWEST = 10
"""With fewer complete trials, each run once, the response and its noise cannot be told apart."""

MOST_LETTERS = 60
"""Of the study's name in figures and beside values."""


@dataclass(frozen=True)
class Finding:
    """What a study's trials say. Differences are turned so that more is better.

    Attributes:
        study: where they are from.
        settings: its trials, those that ran the same setting to the end as one.
        analysis: these as one pair, with best and reference.
        gain: from reference to best without the winner's luck; None where nothing can be said.
        failed: why the gain could not be computed, if it should have been.
        margin: the gain below which tuning does not pay, in units of the study's value.
        memo: see `studies.reporting.section.Searched`, which this is, too.
    """

    study: ForeignStudy
    settings: Settings
    analysis: Analysis
    gain: Gain | None
    margin: float
    failed: Text | None = None
    memo: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def frame(self) -> pd.DataFrame:
        """The study's trials."""
        return self.study.frame

    @property
    def search(self) -> Mapping[str, Axis | None]:
        """Axis of every parameter; None where it changed."""
        return self.study.search

    @property
    def sampler(self) -> str:
        """A study does not say which it was."""
        return ""

    @property
    def pair(self) -> PairResult:
        """Its only pair."""
        return self.analysis.pairs[0]

    @property
    def verdict(self) -> Verdict:
        """What the gain allows to say."""
        if self.pair.verdict is Verdict.REFERENCE_IS_BEST:
            return verdict_of(None, self.pair.box, self.margin, is_reference=True)
        if self.pair.verdict is not Verdict.NO_TEST:
            return self.pair.verdict
        return verdict_of(self.gain, self.pair.box, self.margin, is_reference=False)


def find(study: ForeignStudy, margin: float = 0.0) -> Finding:
    """What the trials of a study say about its best and its reference."""
    settings = by_setting(study.frame)
    found = analyse(settings.frame, study.name, not_tuned=())  # whatever the other program searched, it tuned
    pair = dataclasses.replace(
        found.pairs[0],
        label=cut(study.name, MOST_LETTERS),
        counts={state: int((study.frame["state"] == state).sum()) for state in FOREIGN_STATES},
        reference=_with_runs(found.pairs[0].reference, settings),
        best=_with_runs(found.pairs[0].best, settings),
    )
    known = attempt("The gain", lambda: _gain_and_box(study, pair, settings, margin))
    failed = known if isinstance(known, Text) else None
    gain, box = (None, None) if isinstance(known, Text) else known
    pair = dataclasses.replace(pair, box=box)
    analysis = Analysis(study.name, found.params, (pair,), None, margin, study.measure)
    return Finding(study, settings, analysis, gain, margin, failed)


def _with_runs(setting: Setting | None, settings: Settings) -> Setting | None:
    if setting is None or len(settings.runs[setting.number]) == 1:
        return setting
    return dataclasses.replace(setting, runs=settings.runs[setting.number])


def _gain_and_box(
    study: ForeignStudy, pair: PairResult, settings: Settings, margin: float
) -> tuple[Gain | None, Box | None]:
    """The gain that the response of the better trials supports, and what the box may hold beside the best.

    `studies.pair_gain` does the same with seeds. Where all settings ran equally often, their runs tell the noise as
    seeds do. Else each run is a look of its own.
    """
    best, reference = pair.best, pair.reference
    if best is None or reference is None:
        return None, None
    evenly = settings.evenly_repeated
    complete = settings.frame if evenly else study.frame
    complete = complete[(complete["state"] == "complete") & complete["value"].map(math.isfinite)]
    complete = complete.set_axis(complete["number"].astype(int).to_list())
    ranked = complete.sort_values(["value", "number"], ascending=[False, True], kind="stable")
    values = ranked["value"].to_numpy(float)
    near = ranked[values >= values[0] - typical_reach(values)]  # what is far below says nothing about the top
    thinned = near.index[:: math.ceil(len(near) / MOST)]
    chosen = list(dict.fromkeys([best.number, reference.number, *thinned]))
    columns = param_columns(study.frame)
    if evenly:
        looks = np.array([settings.values[number] for number in chosen])
    else:
        looks = complete.loc[chosen, "value"].to_numpy(float)[:, None]
    spread = float(looks.mean(1).std())
    is_enough = sum(map(len, settings.runs.values())) >= FEWEST and spread > 0
    is_reference = best.number == reference.number
    gain = None
    if is_enough and not is_reference:
        points, groups = coordinates(complete.loc[chosen], columns)
        found = estimate_gain(points, looks / spread, best=0, reference=1, groups=groups)
        gain = found and found.times(spread)
    small = is_reference if gain is None else gain.high < margin
    box = box_around(
        complete, columns, study.search, reference.number, chosen, looks, gain, asks_more=is_enough and small
    )
    return gain, box
