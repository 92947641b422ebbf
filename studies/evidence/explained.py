"""How parameters are said to explain what trials reached: Optuna's fANOVA and PED-ANOVA, and what two do together."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from sklearn.ensemble import RandomForestRegressor

from studies.coordinates import Array
from studies.evidence.known_study import KnownStudy, known_trial

DEPTH = 6
"""Of the trees of a forest."""
GRID, OTHERS = 6, 40
"""An interaction is looked at on so many values of either parameter, with the others as in so many of the trials."""
QUARTER = 0.25
"""PED-ANOVA compares this share of the trials, the best, with all."""


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

    def beside(self, shadow: Array, which: int) -> "Tried":
        """With one more parameter, of the kind of the parameter `which`."""
        return Tried(np.column_stack([self.codes, shadow]), (*self.n_choices, self.n_choices[which]), self.levels)

    def reaching(self, levels: Array) -> "Tried":
        """The same trials, had they reached these levels."""
        return Tried(self.codes, self.n_choices, levels)


Explained = Callable[[Tried, int], Array]
"""What each parameter, or each two of them in the order of combinations, explains, by a forest of so many trees."""


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
