"""How much each searched parameter matters, by Optuna's fANOVA and PED-ANOVA, and which of them act together.

fANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014) is the share of a forest's variance that a parameter explains alone;
PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023) how far the parameter's values among the best quarter differ from
those of all. What two parameters do together beyond what each does is Friedman's and Popescu's interaction (Annals of
Applied Statistics 2008, section 8.1), here as a share of the forest's variance as well.

A forest explains noise, too, so no share is 0. Hence the trials are looked at `SHADOWS` times more with one parameter
added that does nothing (a shadow, as in Boruta: Kursa and Rudnicki, Journal of Statistical Software 2010). The most
that a shadow seemed to explain is exceeded by a parameter that does nothing once in twenty. Two parameters act together
if they explain more than in as many trials in which all effects only add up; that any two of several seem to, though
none do, happens once in twenty. `studies.evidence.importance_nulls` makes these shadows and trials.

The intervals are how far shares differ between bootstrap samples of the trials. A forest of few trials smooths, so it
explains less than there is, most of all where the response goes up and down; no bootstrap shows that. They are not
where the true share lies.
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studies.coordinates import Array, Cube
from studies.evidence.explained import QUARTER, Explained, Tried, fanova, interactions, ped_anova
from studies.evidence.finished import conditional, finished, varied
from studies.evidence.importance_nulls import adding_up, shadow
from studies.reporting import marks
from studies.reporting.findings import REACH
from studies.reporting.measure import ACCURACY, Measure

FEWEST = 12
"""Fewer trials say nothing about which parameter matters."""
FEWEST_PED = 20
"""PED-ANOVA needs five trials in the best quarter."""
MOST = 120
"""More trials are sampled down: the work is bounded."""
MOST_CHOSEN = 160
"""Of so many a sampler is run again; the best quarter is a quarter of these."""
RESAMPLES = 16
"""Bootstrap samples of the trials, for the spread of a share."""
SHADOWS = 19
"""The largest of so many is exceeded by one more of the kind with a probability of 1/20."""
TREES, ALL_TREES = 8, 32
"""Of the forest of a resample, and of all trials."""
MOST_TOGETHER = 6
"""Interactions are looked at among so many parameters, those that explain most: their number grows with the square."""


Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Share:
    """How much one parameter, or two together, explain.

    Attributes:
        params: one name, or two.
        share: of the variance (fANOVA, interactions), or of all parameters' importance (PED-ANOVA); in [0, 1].
        low: less by 1.96 standard deviations over bootstrap samples of the trials; `high` is more by as much.
        noise: what a parameter that does nothing, or two that only add up, would seem to explain at most, in 19 of 20
            cases.
        is_told: whether it explains more, so that it can be told from none.
    """

    params: tuple[str, ...]
    share: float
    low: float
    high: float
    noise: float
    is_told: bool


@dataclass(frozen=True)
class Ranking:
    """All shares by one way to measure them, the largest first.

    Attributes:
        measure: "fanova", "ped_anova" or "interaction".
        above: (a, b) where a is larger than b by more than 1.96 standard deviations of their difference over bootstrap
            samples of the trials; names joined by " × ".
    """

    measure: str
    shares: tuple[Share, ...]
    above: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Importance:
    """What matters among some trials.

    Attributes:
        scope: "all" trials or the "top_quarter" of each pair.
        n_trials: how many there are; n_used: how many were looked at.
        rankings: empty if they are too few, or all reached the same.
    """

    scope: str
    n_trials: int
    n_used: int
    rankings: tuple[Ranking, ...]


def importances(frame: pd.DataFrame, sampler: str, measure: Measure = ACCURACY) -> tuple[Importance, ...]:
    """What matters among all complete trials, and among each pair's best quarter; every pair's own level taken off.

    Of a measure without bounds hopeless trials count as the lowest of the others, as a single one that went wrong would
    be nearly all there is to explain.

    Args:
        frame: the trials.
        sampler: name of what chose the parameters; "" if it is not known.
        measure: what trials are compared by.
    """
    trials = finished(frame)
    if trials.empty:
        return (Importance("all", 0, 0, ()),)
    if not measure.is_fraction:
        floor = marks.floor_of(trials["value"], trials["value"], measure)
        trials = trials.assign(value=trials["value"].clip(lower=floor))
    by_pair = trials.groupby("study", observed=True)["value"]
    levels = trials["value"] - by_pair.transform("median")
    is_top = by_pair.rank(ascending=False, method="first") <= np.ceil(QUARTER * by_pair.transform("size"))
    rng = np.random.default_rng(0)
    chosen = _some(len(trials), MOST_CHOSEN, rng)
    every = _Chosen.of(trials.iloc[chosen], levels.iloc[chosen].to_numpy(float), sampler)
    return (
        _importance("all", len(trials), every, _some(len(chosen), MOST, rng), rng),
        _importance("top_quarter", int(is_top.sum()), every, np.flatnonzero(is_top.iloc[chosen]), rng),
    )


def _some(n: int, at_most: int, rng: np.random.Generator) -> Rows:
    """At most so many of `n` rows, drawn at random, in their order."""
    return np.sort(rng.choice(n, at_most, replace=False)) if n > at_most else np.arange(n)


@dataclass(frozen=True)
class _Chosen:
    """Trials in the order in which their parameters were chosen, and what these could have been had they no effect.

    Attributes:
        trials: of the frame, with what they reached in `table.levels`.
        columns: the parameters that were varied, and their columns.
        table: these parameters in this order.
        groups: the rows of each pair.
        sampler: what chose.
        shadows: of parameter and turn, those that were asked for.
    """

    trials: pd.DataFrame
    columns: dict[str, str]
    table: Tried
    groups: tuple[Rows, ...]
    sampler: str
    shadows: dict[tuple[str, int], Array]

    @classmethod
    def of(cls, trials: pd.DataFrame, levels: Array, sampler: str) -> "_Chosen":
        """Trials and what they reached, each pair's level taken off."""
        columns = varied(trials)
        order, study = trials["number"].to_numpy(), trials["study"].to_numpy()
        groups = [np.flatnonzero(study == one) for one in dict.fromkeys(study)]
        groups = [rows[np.argsort(order[rows], kind="stable")] for rows in groups]
        cube = Cube.of(trials, columns)
        table = Tried(_codes(cube, trials), tuple(side.width if side.choices else None for side in cube.sides), levels)
        return cls(trials, columns, table, tuple(groups), sampler, {})

    def shadow(self, name: str, turn: int) -> Array:
        """Of a parameter like this one that does nothing the values in all trials; others at each turn."""
        key = name, turn
        if key not in self.shadows:
            which = list(self.columns).index(name)
            self.shadows[key] = shadow(
                self.table, which, self.groups, self.sampler, np.random.default_rng([which, turn])
            )
        return self.shadows[key]


def _importance(scope: str, n_trials: int, every: _Chosen, rows: Rows, rng: np.random.Generator) -> Importance:
    trials = every.trials.iloc[rows]
    partly = conditional(trials)
    names = [name for name in varied(trials) if name not in partly]
    which = [list(every.columns).index(name) for name in names]
    table = Tried(every.table.codes[rows], every.table.n_choices, every.table.levels[rows]).only(which)
    is_flat = len(rows) == 0 or table.levels.std() <= 1e-9 * float(trials["value"].abs().max())
    if len(rows) < FEWEST or len(names) < 2 or is_flat:
        return Importance(scope, n_trials, len(rows), ())
    turns = [i % len(names) for i in range(SHADOWS)]
    beside = [table.beside(every.shadow(names[i], turn)[rows], i) for turn, i in enumerate(turns)]
    alone = [(name,) for name in names]
    rankings = [_ranking("fanova", alone, fanova, table, beside, rng)]
    if len(rows) >= FEWEST_PED:
        rankings.append(_ranking("ped_anova", alone, ped_anova, table, beside, rng))
    if scope == "all":
        first = {name for share in rankings[0].shares[:MOST_TOGETHER] for name in share.params}
        pairs = list(itertools.combinations([name for name in names if name in first], 2))
        among = table.only([i for i, name in enumerate(names) if name in first])
        rankings.append(_ranking("interaction", pairs, interactions, among, adding_up(among, SHADOWS, rng), rng))
    return Importance(scope, n_trials, len(rows), tuple(rankings))


def _codes(cube: Cube, trials: pd.DataFrame) -> Array:
    """One column a parameter: a place in [0, 1], or the index of a choice."""
    codes: Array = np.empty((len(trials), len(cube.sides)))
    for i, side in enumerate(cube.sides):
        own = side.coordinates(trials[side.column])
        codes[:, i] = own[:, 0] if side.choices is None else own.argmax(1)
    return codes


def _ranking(
    measure: str,
    names: Sequence[tuple[str, ...]],
    explained: Explained,
    table: Tried,
    by_chance: Sequence[Tried],
    rng: np.random.Generator,
) -> Ranking:
    """Shares in these trials, and how far they exceed those `by_chance`.

    Args:
        measure: see `Ranking`.
        names: what explains, in the order of `explained`.
        explained: shares by a forest.
        table: the trials.
        by_chance: the same with a shadow behind their parameters, or had all effects only added up.
        rng: draws the bootstrap samples.
    """
    found = explained(table, ALL_TREES)
    scale = float(found.sum()) or 1.0 if measure == "ped_anova" else 1.0  # of a divergence, to make it a share of all
    resampled = np.array([explained(table.resampled(rng), TREES) for _ in range(RESAMPLES)]) / scale
    chance = np.array([explained(one, TREES) for one in by_chance]) / scale
    found = found / scale
    if measure == "interaction":
        # Of all pairs the one that is furthest out, each on its own scale.
        mean, std = chance.mean(0), chance.std(0) + 1e-12
        noise = mean + std * ((chance - mean) / std).max()
        is_told = found > noise
    else:
        noise = np.full(len(names), chance[:, -1].max())
        is_told = np.minimum(chance[:, :-1].mean(0), found) > noise  # with a rival, as the shadows had, and without
    spread = REACH * resampled.std(0, ddof=1)  # so few resamples give a standard deviation, but no tail
    low, high = np.clip(found - spread, 0, 1), np.clip(found + spread, 0, 1)
    order = sorted(range(len(names)), key=lambda i: (-found[i], names[i]))
    above = tuple(
        (" × ".join(names[i]), " × ".join(names[j]))
        for i, j in itertools.combinations(order, 2)
        if found[i] - found[j] > REACH * (resampled[:, i] - resampled[:, j]).std(ddof=1)
    )
    shares = tuple(
        Share(names[i], float(found[i]), float(low[i]), float(high[i]), float(noise[i]), bool(is_told[i]))
        for i in order
    )
    return Ranking(measure, shares, above)


def as_json(found: Sequence[Importance]) -> list[dict[str, Any]]:
    """The numbers for summary.json."""
    return [
        {
            **{key: getattr(one, key) for key in ("scope", "n_trials", "n_used")},
            "rankings": [
                {
                    "measure": ranking.measure,
                    "shares": [{**asdict(s), "params": list(s.params)} for s in ranking.shares],
                    "above": [list(pair) for pair in ranking.above],
                }
                for ranking in one.rankings
            ],
        }
        for one in found
    ]
