"""How much each searched parameter matters, by Optuna's fANOVA and PED-ANOVA, and which of them act together.

fANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014) is the share of a forest's variance that a parameter explains alone;
PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023) how far the parameter's values among the best quarter differ from
those of all. What two parameters do together beyond what each does is Friedman's and Popescu's interaction (Annals of
Applied Statistics 2008, section 8.1), here as a share of the forest's variance as well.

A forest explains noise, too, so no share is 0. Hence the trials are looked at `SHADOWS` times more with one parameter
added, the shuffled values of one of the others (a shadow, as in Boruta: Kursa and Rudnicki, Journal of Statistical
Software 2010). The most that a shadow seemed to explain is exceeded by a parameter that does nothing once in twenty.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from sklearn.ensemble import RandomForestRegressor

from studies.coordinates import Array, Cube
from studies.evidence.finished import conditional, finished, varied
from studies.evidence.known_study import KnownStudy, known_trial
from studies.reporting import marks
from studies.reporting.findings import REACH
from studies.reporting.measure import ACCURACY, Measure

FEWEST = 12
"""Fewer trials say nothing about which parameter matters."""
FEWEST_PED = 20
"""PED-ANOVA needs five trials in the best quarter."""
MOST = 120
"""More trials are sampled down: the work is bounded."""
RESAMPLES = 16
"""Bootstrap samples of the trials, for the spread of a share."""
SHADOWS = 19
"""The largest of so many is exceeded by one more of the kind with a probability of 1/20."""
TREES, ALL_TREES = 8, 32
"""Of the forest of a resample, and of all trials."""
DEPTH = 6
MOST_TOGETHER = 6
"""Interactions are looked at among so many parameters, those that explain most: their number grows with the square."""
GRID, OTHERS = 6, 40
"""An interaction is looked at on so many values of either parameter, with the others as in so many of the trials."""
QUARTER = 0.25


@dataclass(frozen=True)
class Share:
    """How much one parameter, or two together, explain.

    Attributes:
        params: one name, or two.
        share: of the variance (fANOVA, interactions), or of all parameters' importance (PED-ANOVA); in [0, 1].
        low: lower end of its 95 % bootstrap interval.
        high: upper end.
        noise: what a parameter that does nothing would seem to explain at most, in 19 of 20 cases.
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
        above: (a, b) where a is larger than b with 97.5 % confidence; names joined by " × ".
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


def importances(frame: pd.DataFrame, measure: Measure = ACCURACY) -> tuple[Importance, ...]:
    """What matters among all finished trials, and among each pair's best quarter; every pair's own level taken off.

    Of a measure without bounds hopeless trials count as the lowest of the others, as a single one that went wrong would
    be nearly all there is to explain.
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
    return (
        _importance("all", trials, levels.to_numpy(float)),
        _importance("top_quarter", trials[is_top], levels[is_top].to_numpy(float)),
    )


def _importance(scope: str, trials: pd.DataFrame, levels: Array) -> Importance:
    n_trials = len(trials)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(n_trials, MOST, replace=False)) if n_trials > MOST else np.arange(n_trials)
    trials, levels = trials.iloc[chosen], levels[chosen]
    partly = conditional(trials)
    columns = {name: column for name, column in varied(trials).items() if name not in partly}
    is_flat = levels.std() <= 1e-9 * float(trials["value"].abs().max())
    if len(trials) < FEWEST or len(columns) < 2 or is_flat:
        return Importance(scope, n_trials, len(trials), ())
    cube = Cube.of(trials, columns)
    table = Tried(_codes(cube, trials), tuple(side.width if side.choices else None for side in cube.sides), levels)
    names = [(name,) for name in columns]
    rankings = [_ranking("fanova", names, fanova, table, rng)]
    if len(trials) >= FEWEST_PED:
        rankings.append(_ranking("ped_anova", names, ped_anova, table, rng))
    if scope == "all":
        first = {name for share in rankings[0].shares[:MOST_TOGETHER] for name in share.params}
        which = [i for i, name in enumerate(columns) if name in first]
        pairs = list(itertools.combinations([name for name in columns if name in first], 2))
        rankings.append(_ranking("interaction", pairs, interactions, table.only(which), rng))
    return Importance(scope, n_trials, len(trials), tuple(rankings))


def _codes(cube: Cube, trials: pd.DataFrame) -> Array:
    """One column a parameter: a place in [0, 1], or the index of a choice."""
    sides = [side.coordinates(trials[side.column]) for side in cube.sides]
    return np.column_stack(
        [own[:, 0] if side.choices is None else own.argmax(1) for side, own in zip(cube.sides, sides, strict=True)]
    )


@dataclass(frozen=True)
class Tried:
    """Trials as Optuna and scikit-learn take them.

    Attributes:
        codes: trials by parameters; numbers in [0, 1], or the index of a choice.
        n_choices: of each parameter; None for a number.
        levels: what each trial reached.
    """

    codes: Array
    n_choices: tuple[int | None, ...]
    levels: Array

    def only(self, which: Sequence[int]) -> "Tried":
        """With these parameters alone."""
        return Tried(self.codes[:, which], tuple(self.n_choices[i] for i in which), self.levels)

    def resampled(self, rng: np.random.Generator) -> "Tried":
        """A bootstrap sample."""
        rows = rng.integers(len(self.levels), size=len(self.levels))
        return Tried(self.codes[rows], self.n_choices, self.levels[rows])

    def shadowed(self, rng: np.random.Generator, which: int) -> "Tried":
        """With one more parameter: the values of the parameter `which`, shuffled."""
        codes = np.column_stack([self.codes, rng.permutation(self.codes[:, which])])
        return Tried(codes, (*self.n_choices, self.n_choices[which]), self.levels)


Explained = Callable[[Tried, int], Array]
"""What each parameter, or each two of them in the order of combinations, explains, by a forest of so many trees."""


def _ranking(
    measure: str, names: Sequence[tuple[str, ...]], explained: Explained, table: Tried, rng: np.random.Generator
) -> Ranking:
    n_params, size = len(table.n_choices), len(names[0])
    found = explained(table, ALL_TREES)
    scale = float(found.sum()) or 1.0 if measure == "ped_anova" else 1.0  # of a divergence, to make it a share of all
    resampled = np.array([explained(table.resampled(rng), TREES) for _ in range(RESAMPLES)]) / scale
    beside = np.array([explained(table.shadowed(rng, i % n_params), TREES) for i in range(SHADOWS)]) / scale
    found = found / scale
    is_shadow = np.array([n_params in which for which in itertools.combinations(range(n_params + 1), size)])
    noise = float(beside[:, is_shadow].max(1).max() if size == 1 else np.quantile(beside[:, is_shadow], 0.95))
    is_told = np.minimum(beside[:, ~is_shadow].mean(0), found) > noise  # with a rival, as the shadows had, and without
    spread = REACH * resampled.std(0, ddof=1)  # so few resamples give a standard deviation, but no tail
    low, high = np.clip(found - spread, 0, 1), np.clip(found + spread, 0, 1)
    order = sorted(range(len(names)), key=lambda i: (-found[i], names[i]))
    above = tuple(
        (" × ".join(names[i]), " × ".join(names[j]))
        for i, j in itertools.combinations(order, 2)
        if found[i] - found[j] > REACH * (resampled[:, i] - resampled[:, j]).std(ddof=1)
    )
    shares = tuple(
        Share(names[i], float(found[i]), float(low[i]), float(high[i]), noise, bool(is_told[i])) for i in order
    )
    return Ranking(measure, shares, above)


def fanova(table: Tried, n_trees: int) -> Array:
    """Shares of the variance; none where the trials, or as many of them as the trees saw, are all alike."""
    try:
        return _evaluate(FanovaImportanceEvaluator(n_trees=n_trees, max_depth=DEPTH, seed=0), table)
    except RuntimeError as error:
        if "zero total variance" not in str(error):
            raise
        return np.zeros(len(table.n_choices))


def ped_anova(table: Tried, _n_trees: int) -> Array:
    """Divergences of the best quarter from all; their sum has no meaning."""
    return _evaluate(PedAnovaImportanceEvaluator(target_quantile=QUARTER), table)


def _evaluate(evaluator: Any, table: Tried) -> Array:
    distributions: dict[str, BaseDistribution] = {
        str(i): FloatDistribution(0.0, 1.0) if n is None else CategoricalDistribution(range(n))
        for i, n in enumerate(table.n_choices)
    }
    values = [
        column.tolist() if n is None else column.astype(int).tolist()
        for column, n in zip(table.codes.T, table.n_choices, strict=True)
    ]
    trials = [
        known_trial(i, level, dict(zip(distributions, row, strict=True)), distributions)
        for i, (level, *row) in enumerate(zip(table.levels.tolist(), *values, strict=True))
    ]
    found = evaluator.evaluate(KnownStudy(trials))
    return np.array([float(found[name]) for name in distributions])


def interactions(table: Tried, n_trees: int) -> Array:
    """Of each two parameters the variance of their partial dependence beyond that of each, as a share of the whole."""
    codes = table.codes
    forest = RandomForestRegressor(n_trees, max_depth=DEPTH, random_state=0).fit(codes, table.levels)
    others = codes[np.linspace(0, len(codes) - 1, min(len(codes), OTHERS)).astype(int)]
    pairs = list(itertools.combinations(range(codes.shape[1]), 2))
    # The middles of as many equal parts of the trials: with the ends of each parameter among so few values there would
    # be up to twice the variance that there is over the values tried.
    middles = ((np.arange(GRID) + 0.5) / GRID * len(codes)).astype(int)
    grids = [np.unique(np.sort(column)[middles]) for column in codes.T]
    asked = [_asked(others, i, j, grids[i], grids[j]) for i, j in pairs]
    told = forest.predict(np.vstack([codes, *asked]))
    total = float(told[: len(codes)].var()) or 1.0
    parts = np.split(told[len(codes) :], np.cumsum([len(rows) for rows in asked])[:-1])
    found = []
    for (i, j), part in zip(pairs, parts, strict=True):
        both = part.reshape(len(grids[i]), len(grids[j]), len(others)).mean(2)
        beyond = both - both.mean(1, keepdims=True) - both.mean(0, keepdims=True) + both.mean()
        found.append(float(beyond.var()) / total)
    return np.array(found)


def _asked(others: Array, i: int, j: int, grid_i: Array, grid_j: Array) -> Array:
    """Every combination of the two grids with all the other parameters of every trial."""
    rows = np.tile(others, (len(grid_i) * len(grid_j), 1))
    rows[:, i] = np.repeat(grid_i, len(grid_j) * len(others))
    rows[:, j] = np.tile(np.repeat(grid_j, len(others)), len(grid_i))
    return rows


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
