"""What the trials of an Optuna study of some other program say about its best and its reference. Pure functions.

Such a study has one value a trial. It has no seeds, so chance is only seen in how neighbouring trials differ; and
nothing was held out, so the best is judged by the very values that it was chosen for. The gain without the winner's
luck (`studies.gain`) takes care of both, as far as it can be done.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from studies.analysis import analyse, verdict_of
from studies.box import Box
from studies.coordinates import coordinates
from studies.foreign import ForeignStudy
from studies.frame import param_columns
from studies.gain import MOST, Gain, estimate_gain
from studies.pair_gain import box_around, typical_reach
from studies.reporting.findings import Analysis, PairResult, Verdict
from studies.search_space import Axis

FEWEST = 10
"""With fewer complete trials, each run once, the response and its noise cannot be told apart."""


@dataclass(frozen=True)
class Finding:
    """What a study's trials say. Differences are turned so that more is better.

    Attributes:
        study: where they are from.
        analysis: its trials as one pair, with best and reference.
        gain: from reference to best without the winner's luck; None where nothing can be said.
        margin: the gain below which tuning does not pay, in units of the study's value.
        memo: see `studies.reporting.section.Searched`, which this is, too.
    """

    study: ForeignStudy
    analysis: Analysis
    gain: Gain | None
    margin: float
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
    found = analyse(study.frame, study.name, not_tuned=())  # whatever the other program searched, it tuned
    pair = dataclasses.replace(found.pairs[0], label=study.name)
    gain, box = _gain_and_box(study, pair, margin)
    pair = dataclasses.replace(pair, box=box)
    analysis = Analysis(study.name, found.params, (pair,), None, margin, study.measure)
    return Finding(study, analysis, gain, margin)


def _gain_and_box(study: ForeignStudy, pair: PairResult, margin: float) -> tuple[Gain | None, Box | None]:
    """The gain that the response of the better trials supports, and what the box may hold beside the best.

    `studies.pair_gain` does the same with seeds.
    """
    best, reference, frame = pair.best, pair.reference, study.frame
    if best is None or reference is None:
        return None, None
    complete = frame[(frame["state"] == "complete") & frame["value"].map(math.isfinite)]
    complete = complete.set_axis(complete["number"].astype(int).to_list())
    ranked = complete.sort_values(["value", "number"], ascending=[False, True], kind="stable")
    values = ranked["value"].to_numpy(float)
    near = ranked[values >= values[0] - typical_reach(values)]  # what is far below says nothing about the top
    thinned = near.index[:: math.ceil(len(near) / MOST)]
    chosen = list(dict.fromkeys([best.number, reference.number, *thinned]))
    looks = complete.loc[chosen, "value"].to_numpy(float)
    spread = float(looks.std())
    is_enough, is_reference = len(complete) >= FEWEST and spread > 0, best.number == reference.number
    gain = None
    if is_enough and not is_reference:
        points, groups = coordinates(complete.loc[chosen], param_columns(frame))
        found = estimate_gain(points, (looks / spread)[:, None], best=0, reference=1, groups=groups)
        gain = found and found.times(spread)
    small = is_reference if gain is None else gain.high < margin
    columns = param_columns(frame)
    box = box_around(
        complete, columns, study.search, reference.number, chosen, looks[:, None], gain, asks_more=is_enough and small
    )
    return gain, box
