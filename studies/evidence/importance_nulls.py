"""What chance alone makes of importance: parameters that do nothing, and two that only add up.

A parameter that does nothing must have been chosen as the others were. Draws at random may be shuffled. A sampler that
learns, such as TPE, draws where trials were lucky and leaves places where they were not, so that its values and what
was reached hang together without any effect. The values of the trials do not depend on a parameter that does nothing;
hence the sampler is run again through the same trials, told what they reached, and chooses that parameter anew.

Two parameters that only add up must each keep their effect. So an additive model is fitted to the trials, and what is
left of each is shuffled (residual permutation: Freedman and Lane, Journal of Business & Economic Statistics 1983).
"""

from collections.abc import Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from studies.coordinates import Array
from studies.evidence.explained import Tried
from studies.evidence.known_study import quiet
from studies.strategies import SAMPLERS

BY_CHANCE = ("random", "grid")
"""Samplers whose choices do not depend on what trials reached; any other, or an unknown one, is taken for TPE."""
DEGREE = 3
"""Of the polynomial of each number in the additive model."""
Groups = Sequence[NDArray[np.intp]]
"""The rows of each pair, in the order of its trials."""


def shadow(table: Tried, which: int, groups: Groups, sampler: str, rng: np.random.Generator) -> Array:
    """The values of a parameter like `which` that does nothing, of all trials, chosen pair by pair."""
    codes = table.codes[:, which].copy()
    for rows in groups:
        if sampler in BY_CHANCE:
            codes[rows] = rng.permutation(codes[rows])
        else:
            codes[rows] = _chosen_again(codes[rows], table.n_choices[which], table.levels[rows], rng)
    return codes


def _chosen_again(codes: Array, n_choices: int | None, levels: Array, rng: np.random.Generator) -> Array:
    """The values that TPE gives a parameter in trials that reach these levels whatever it is."""
    axis: BaseDistribution = (
        FloatDistribution(0.0, 1.0) if n_choices is None else CategoricalDistribution(range(n_choices))
    )
    with quiet():
        study = optuna.create_study(direction="maximize", sampler=SAMPLERS["tpe"].build(int(rng.integers(2**31))))
    chosen: Array = np.empty(len(levels))
    for i, level in enumerate(levels.tolist()):
        trial = study.ask({"": axis})
        chosen[i] = trial.params[""]
        study.tell(trial, level)
    tried = np.unique(codes)
    if n_choices is None and 2 * len(tried) <= len(codes):  # a ladder or a list of numbers: of these the nearest
        chosen = tried[np.abs(chosen[:, None] - tried).argmin(1)]
    return chosen


def adding_up(table: Tried, n: int, rng: np.random.Generator) -> list[Tried]:
    """The same trials `n` times, as they could have been if every parameter did what it does by itself."""
    columns = np.column_stack([np.ones(len(table.levels)), *map(_terms, table.codes.T, table.n_choices)])
    basis = np.linalg.svd(columns, full_matrices=False)
    own = basis.U[:, basis.S / basis.S[0] > 1e-9]
    fitted = own @ (own.T @ table.levels)
    # Residuals are smaller than the noise, the more so the more the trial itself pulls the fit.
    spread = np.sqrt(np.maximum(1 - (own**2).sum(1), 1 / len(own)))
    left = (table.levels - fitted) / spread
    return [table.reaching(fitted + rng.permutation(left)) for _ in range(n)]


def _terms(codes: Array, n_choices: int | None) -> Array:
    """What an additive model has of a parameter: powers of a number, each choice of a category."""
    if n_choices is None:
        return np.column_stack([codes**power for power in range(1, DEGREE + 1)])
    return np.asarray(codes[:, None] == np.arange(n_choices), dtype=np.float64)
