"""How far a trial's mean over seeds strays from what its setting is worth. Pure functions of accuracies by seed.

A seed that is easy for all settings says nothing about their order, so only the contrasts between seeds count. They
tell three things: how wide the noise is, whether it is wider for some settings than for others, and whether one seed
moves near settings the same way. The last matters: such neighbours do not confirm each other.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

SHRINKS = (math.inf, 16.0, 6.0, 3.0)
"""How alike the trials' variances may be: degrees of freedom of the inverse gamma distribution they come from."""

REACHES = (0.15, 0.35, 1.0)
"""Over so much of the parameters' ranges an effect of a seed may be alike."""

SHARES = (0.15, 0.35, 0.65, 0.95)
"""So much of a seed's variance may be alike in near settings."""

STEPS = 25
"""Of Fisher's scoring, for the variance as a function of the setting."""


@dataclass(frozen=True)
class SeedNoise:
    """Noise of the trials' means, as its seeds show it.

    Attributes:
        covariances: of the means, one matrix for each way in which seeds may act; ways by trials by trials.
        weights: how likely each is; their sum is 1. The first is that seeds act on each setting anew.
        shares: how much of the variance is alike in near settings, for each way.
        freedom: degrees of freedom that the variances are known with.
    """

    covariances: Array
    weights: Array
    shares: Array
    freedom: float

    @property
    def alike(self) -> float:
        """Expected share of the variance that near settings have in common; 0 unless the seeds show it (95 %)."""
        return float(self.weights @ self.shares) if self.weights[0] < 0.05 else 0.0


def noise_of_a_seed(accuracies: Array) -> tuple[float, int]:
    """How far a network's accuracy strays from what its trial and its seed make one expect.

    The residual of a two-way analysis of variance: a seed that is easy for all says nothing about their order.

    Args:
        accuracies: trials by seeds, the same seeds for all.

    Returns:
        Its standard deviation and degrees of freedom; NaN and 0 for one seed or one trial.
    """
    n_trials, n_seeds = accuracies.shape
    freedom = (n_trials - 1) * (n_seeds - 1)
    if freedom == 0:
        return math.nan, 0
    residual = accuracies - accuracies.mean(1, keepdims=True) - accuracies.mean(0, keepdims=True) + accuracies.mean()
    return math.sqrt(float((residual**2).sum()) / freedom), freedom


def seed_noise(points: Array, accuracies: Array) -> SeedNoise:
    """The noise of the trials' means.

    Args:
        points: trials by coordinates.
        accuracies: trials by seeds, two or more of each, the same seeds for all, not all in step.
    """
    n_trials, n_seeds = accuracies.shape
    residual = accuracies - accuracies.mean(1, keepdims=True)
    residual = residual - residual.mean(0)
    variances, freedom = _variances(points, residual, n_seeds - 1)
    spread = np.sqrt(variances)
    distances = np.sqrt(((points[:, None] - points) ** 2).sum(2))
    ways = [(0.0, np.eye(n_trials))]
    for reach in REACHES:
        r = math.sqrt(5) * distances / reach
        near = (1 + r + r**2 / 3) * np.exp(-r)  # Matérn 5/2
        ways += [(share, share * near + (1 - share) * np.eye(n_trials)) for share in SHARES]
    found = [_likelihood(correlations, residual / spread[:, None], 1 / spread, n_seeds - 1) for _, correlations in ways]
    prior = np.array([0.5] + [0.5 / (len(ways) - 1)] * (len(ways) - 1))
    likelihood = np.array([own for own, _ in found])
    weights = prior * np.exp(likelihood - likelihood.max())
    outer = np.outer(spread, spread) / n_seeds
    covariances = np.array(
        [scale * outer * correlations for (_, scale), (_, correlations) in zip(found, ways, strict=True)]
    )
    return SeedNoise(covariances, weights / weights.sum(), np.array([share for share, _ in ways]), freedom)


def _likelihood(correlations: Array, residual: Array, common: Array, n_contrasts: int) -> tuple[float, float]:
    """Log likelihood of the contrasts between seeds, the scale integrated out, and the scale of their variance.

    Args:
        correlations: trials by trials.
        residual: trials by seeds, in units of each trial's spread.
        common: what an effect that a seed has on all trials alike is, in the same units.
        n_contrasts: seeds but one.
    """
    factor = np.linalg.cholesky(correlations + 1e-8 * np.eye(len(correlations)))
    solved = np.linalg.solve(factor, np.column_stack([residual, common]))
    residual, common = solved[:, :-1], solved[:, -1]
    residual = residual - np.outer(common, common @ residual) / (common @ common)
    freedom = (len(correlations) - 1) * n_contrasts
    squares = float((residual**2).sum())
    volume = float(np.log(np.diag(factor)).sum()) + math.log(float(common @ common)) / 2
    return -n_contrasts * volume - freedom / 2 * math.log(squares), squares / freedom


def _variances(points: Array, residual: Array, n_contrasts: int) -> tuple[Array, float]:
    """Variance of one network of each trial, and the degrees of freedom it is known with.

    Either all are alike, or their logarithms are linear in the coordinates; around that they come from an inverse gamma
    distribution (Smyth 2004, Linear models and empirical Bayes methods). Averaged over all, by likelihood.
    """
    n_trials = len(residual)
    squares = np.maximum((residual**2).sum(1) * n_trials / (n_trials - 1), 1e-30)
    alike = np.full(n_trials, squares.sum() / (n_trials * n_contrasts))
    slanted, penalty = _slanted(points - points.mean(0), squares, n_contrasts, float(alike[0]))
    found = []
    for expected, log_prior in ((alike, 0.0), (slanted, penalty)):
        ratio = squares / (n_contrasts * expected)
        for own in SHRINKS:
            law = stats.chi2(n_contrasts, scale=1 / n_contrasts) if math.isinf(own) else stats.f(n_contrasts, own)
            likelihood = float((law.logpdf(ratio) - np.log(expected)).sum()) + log_prior
            shrunk = expected if math.isinf(own) else (own * expected + squares) / (own + n_contrasts)
            found.append((likelihood, shrunk, min((n_trials - 1) * n_contrasts, own + n_contrasts)))
    weights = np.exp(np.array([own for own, _, _ in found]) - max(own for own, _, _ in found))
    weights /= weights.sum()
    freedom = 1 / float(weights @ [1 / own for _, _, own in found])
    return weights @ np.array([shrunk for _, shrunk, _ in found]), freedom


def _slanted(centred: Array, squares: Array, n_contrasts: int, start: float) -> tuple[Array, float]:
    """Variances as exp(a + b·place), and the log of the prior and of the volume around it (Laplace's approximation).

    A gamma regression; each of b is normal beforehand, with a standard deviation of 1.
    """
    design = np.column_stack([np.ones(len(squares)), centred])
    ridge = np.diag([0.0] + [1.0] * centred.shape[1])
    found = np.array([math.log(start)] + [0.0] * centred.shape[1])
    curvature = n_contrasts / 2 * design.T @ design + ridge
    for _ in range(STEPS):
        ratio = squares / (n_contrasts * np.exp(design @ found))
        step = np.linalg.solve(curvature, n_contrasts / 2 * design.T @ (ratio - 1) - ridge @ found)
        found = found + np.clip(step, -1, 1)
    inner = curvature[1:, 1:]
    return np.exp(design @ found), -float(found[1:] @ found[1:]) / 2 - float(np.linalg.slogdet(inner)[1]) / 2
