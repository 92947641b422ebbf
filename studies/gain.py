"""What the best found gains on test, without the winner's luck. Pure functions of numbers.

The best of many on validation owes part of its lead to luck, and its test accuracy shares that luck, because both are
measured on the same trained networks. So the gain is not read off the best trial alone. All trials of a pair are seen
as noisy looks at one response that changes smoothly with the parameters (a Gaussian process); how noisy, is known from
the seeds of each trial (`studies.seed_noise`); and the gain is what this response has between the best trial and the
reference. Where the looks differ by no more than noise, the response is flat and the lead melts away; where neighbours
agree, it stays.

A response may be smooth but for a hill too narrow for any other trial to see. So best and reference may each be off the
smooth response, by as much as `HILLS` says. Their noise may be wider than it is told, too, by as much as `LUCKS` says:
few seeds tell little of one trial, and with one seed nothing can tell it from a hill.

How smooth the response is and how far it ranges is not known. Rather than at the most likely values, it is averaged
over `DRAWS` of them, each weighted by how well it explains the trials.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern

from studies.seed_noise import noise_of_a_seed, seed_noise

Array = NDArray[np.float64]

DRAWS = 64
"""Smoothness and range are averaged over so many values, spread evenly (a Sobol sequence)."""

LENGTHS = (0.15, 10.0)
"""The response may change over so much of a parameter's range: from wiggly to practically straight."""

RANGES = (0.001, 0.001, 0.2, 0.4, 0.8, 1.6, 3.2)
"""How far it may range, in standard deviations of what was seen, all as likely beforehand; the first two are flat."""

NOISES = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
"""Standard deviation of a look where one seed leaves it unknown, in standard deviations of what was seen.

With half as many, twice and more apart, none need be near the truth, and 95 % intervals held in 91 of 100 simulations.
"""

GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, but for their whole numbers, lie evenly in [0, 1] (an additive recurrence)."""

OFF = 0.2
"""How likely best and reference each are off the smooth response beforehand.

On narrow hills, with 15 trials and equal noise, intervals held in 88 of 100 simulations with 0.05, in 92 with 0.15.
"""

HILLS = (1.0, 2.5, 6.0, 15.0)
"""How far, in standard deviations of a look, all as likely."""

LUCKS = (1.0, 2.5)
"""How much wider the noise of best and reference may be than the seeds, or the other trials, tell; all as likely."""

WIDER = 0.05
"""How likely the noise of each of them is wider beforehand, beside `OFF`; with one seed it is as likely as a hill.

A few seeds hardly tell the noise of a single trial, and the best may be the best because its noise is wide. In five
conditions (15 to 40 trials, three seeds, 300 simulated campaigns each) 95 % intervals held in 91 to 93 of 100 with 0,
in 93 to 98 with 0.05 and in 94 to 98 with 0.1; undecided were 19 to 31, 20 to 40 and 21 to 42 of 100.
"""

FEWEST = 3
"""Fewer trials say nothing about a response."""

MOST = 200
"""The work grows with the cube of the trials; more of them are thinned out evenly, from best to worst."""

MOST_SEEDS = 100
"""Nobody trains more seeds to settle a verdict."""

FAR = 0.02
"""Trials further below the best than this, or than ten times the noise, say nothing about what happens near it."""


@dataclass(frozen=True)
class Gain:
    """How much better the best is than the reference on test, as probabilities go; accuracies are fractions.

    Attributes:
        mean: the expected gain.
        low: it is above with 97.5 % probability.
        high: it is below with 97.5 % probability; `low` and `high` are the ends of the 95 % interval.
        at_least: it is above with 95 % probability.
        at_most: it is below with 95 % probability.
        std: its standard deviation.
        noise: standard deviation of one network's test accuracy around its setting's, a seed's share taken out; NaN
            where one seed leaves it unknown.
        freedom: degrees of freedom that its noise is known with.
        alike: share of that noise which near settings have in common; 0 where the seeds do not show that.
    """

    mean: float
    low: float
    high: float
    at_least: float
    at_most: float
    std: float
    noise: float
    freedom: float
    alike: float = 0.0

    def more_seeds(self, margin: float) -> int | None:
        """How many further seeds of best and reference would show that the best gains, or gains below `margin`.

        Supposing that they confirm the mean, and what is known of the noise. Each brings one more difference of the
        two, with a variance of 2 `noise`², and one more degree of freedom to Student's t.

        Returns:
            The smallest number that is enough; None where the seeds there are settle it, where even `MOST_SEEDS` more
            would not, or where one seed leaves the noise unknown.
        """
        if self.low > 0 or self.high < margin or not math.isfinite(self.noise):
            return None
        reaches = ((self.mean, self.mean - self.low), (margin - self.mean, self.high - self.mean))
        now, n = stats.t.ppf(0.975, self.freedom), np.arange(1, MOST_SEEDS + 1)
        quantiles = stats.t.ppf(0.975, self.freedom + n)
        enough = np.zeros(MOST_SEEDS, bool)
        for reach, width in reaches:
            std = width / now
            enough |= quantiles * std / np.sqrt(1 + n * (std / self.noise) ** 2 / 2) < reach
        return int(n[enough][0]) if enough.any() else None

    def times(self, scale: float) -> "Gain":
        """The same gain in another unit, of which there are `scale` in one of this."""
        lengths = {name: scale * value for name, value in vars(self).items() if name not in ("freedom", "alike")}
        return Gain(**lengths, freedom=self.freedom, alike=self.alike)


def paired_gain(by_seed: Sequence[float]) -> Gain | None:
    """The gain from the differences of two settings alone, one a seed; None where they leave no interval.

    For pairs with too few trials to see a response, and so with little to choose a lucky one from.
    """
    differences = np.array(by_seed, float)
    std = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    if std < 1e-12:  # one seed, or rounding of the same difference on every seed
        return None
    error = std / math.sqrt(len(differences))
    one = np.ones(1)
    mixture = Mixture(one, differences.mean() * one, error * one, len(differences) - 1)
    return mixture.gain(std / math.sqrt(2))


def estimate_gain(points: Array, accuracies: Array, *, best: int, reference: int, groups: Sequence[int]) -> Gain | None:
    """The gain of a trial over the reference; None where the trials allow no statement.

    Args:
        points: what was tried, trials by coordinates, each in [0, 1] (see `studies.coordinates`).
        accuracies: of all trials on test, trials by seeds, the same seeds in the same order for all.
        best: row of the best on validation.
        reference: row of the reference, another one.
        groups: for each coordinate the parameter it belongs to, from 0: a choice has several coordinates.
    """
    looks = Looks.of(points, accuracies)
    if looks is None:
        return None
    between = _Between(points, looks.values, best, reference, wider=WIDER if accuracies.shape[1] > 1 else OFF)
    found = [between.look(kernel, looks.noises(i)) for i, kernel in enumerate(kernels(groups, DRAWS))]
    likelihood, means, variances = (np.concatenate(column) for column in zip(*found, strict=True))
    weights = np.exp(likelihood - likelihood.max())
    weights /= weights.sum()
    mixture = Mixture(weights, means * looks.scale, np.sqrt(variances) * looks.scale, looks.freedom)
    return mixture.gain(noise_of_a_seed(accuracies)[0], looks.alike)


@dataclass(frozen=True)
class Looks:
    """What the trials reached, in standard deviations of all of it, and how noisy that is.

    Attributes:
        values: one a trial, their mean is 0.
        scale: accuracy of their unit.
        covariances: of their noise, as it may be; ways by trials by trials.
        weights: how likely each way is; with one seed all are alike, and the looks decide.
        freedom: degrees of freedom of the noise.
        alike: share of the noise that near settings have in common; 0 where the seeds do not show that.
    """

    values: Array
    scale: float
    covariances: Array
    weights: Array | None
    freedom: float
    alike: float

    @classmethod
    def of(cls, points: Array, accuracies: Array) -> "Looks | None":
        """From accuracies, trials by seeds; None where they are too few or do not differ."""
        noise, freedom = noise_of_a_seed(accuracies)
        means = accuracies.mean(1)
        scale = float(means.std())
        if len(means) < FEWEST or scale == 0 or (freedom > 0 and noise < 1e-9):
            return None
        values = (means - means.mean()) / scale
        if not freedom:
            covariances = np.array(NOISES)[:, None, None] ** 2 * np.eye(len(means))
            return cls(values, scale, covariances, None, len(means) - 1, 0.0)
        seeds = seed_noise(points, accuracies)
        return cls(values, scale, seeds.covariances / scale**2, seeds.weights, seeds.freedom, seeds.alike)

    def noises(self, draw: int) -> Array:
        """The covariances to look at with one draw of the response: all of them, or one drawn by its weight."""
        if self.weights is None:
            return self.covariances
        place = draw * GOLDEN % 1.0  # spread evenly, whatever the number of draws
        return self.covariances[[int(np.searchsorted(np.cumsum(self.weights)[:-1], place))]]


def kernels(groups: Sequence[int], n: int) -> list[Kernel]:
    """`n` responses as they may be, spread evenly over all smoothnesses and ranges; `groups` as in `estimate_gain`."""
    n_parameters = max(groups) + 1
    low, high = map(math.log, LENGTHS)
    sequence = stats.qmc.Sobol(n_parameters, scramble=False).random(n)
    lengths = np.exp(low + (high - low) * sequence)
    return [
        ConstantKernel(100.0) + ConstantKernel(RANGES[i % len(RANGES)] ** 2) * Matern(draw[list(groups)], nu=2.5)
        for i, draw in enumerate(lengths)
    ]


@dataclass(frozen=True)
class _Between:
    """The response between two trials, given how smooth it is; `wider` is `WIDER`, or what it is with one seed."""

    points: Array
    looks: Array
    best: int
    reference: int
    wider: float

    def look(self, kernel: Kernel, noises: Array) -> tuple[Array, Array, Array]:
        """Log likelihood of the looks but for a constant, and mean and variance of the difference.

        Each has a value for each of `noises` (ways by trials by trials), all at once, as most of the time would else go
        into the same kernel, and for each way to be off the response. Rasmussen and Williams, Gaussian Processes for
        Machine Learning (2006), algorithm 2.1; a hill on one trial adds to the covariance a matrix of rank one, so that
        its likelihood, and what it does to the difference, follow from the same factor (Sherman and Morrison).
        """
        covariance = kernel(self.points)
        factors = np.linalg.cholesky(covariance + noises + 1e-8 * np.eye(len(self.looks)))
        apart = covariance[self.best] - covariance[self.reference]
        at = np.eye(len(self.looks))[[self.best, self.reference]]
        solved = np.moveaxis(np.linalg.solve(factors, np.column_stack([self.looks, apart, *at])), 2, 0)
        seen, shared = solved[:2]
        diagonals = np.diagonal(factors, axis1=1, axis2=2)
        likelihood = -(seen**2).sum(1) / 2 - np.log(diagonals).sum(1)
        mean, variance = (seen * shared).sum(1), apart[self.best] - apart[self.reference] - (shared**2).sum(1)
        found = [(likelihood + math.log(1 - 2 * OFF), mean, variance)]
        for trial, sign, own in ((self.best, 1, solved[2]), (self.reference, -1, solved[3])):
            known, pull, share = (own**2).sum(1), (own * seen).sum(1), (own * shared).sum(1)
            ways = [(height, sign, OFF / len(HILLS)) for height in HILLS]
            ways += [(width, 0, self.wider / len(LUCKS)) for width in LUCKS]
            for height, moves, prior in ways:
                added = height**2 * noises[:, trial, trial]
                widened = 1 + added * known
                found.append(
                    (
                        likelihood + math.log(prior) - np.log(widened) / 2 + added * pull**2 / widened / 2,
                        mean + (moves - share) * added * pull / widened,
                        variance + (moves - share) ** 2 * added / widened,
                    )
                )
        likelihoods, means, variances = (np.concatenate(column) for column in zip(*found, strict=True))
        return likelihoods, means, np.maximum(variances, 1e-12)


@dataclass(frozen=True)
class Mixture:
    """Student's t distributions, weighted: the noise is estimated, too.

    Attributes:
        weights: of each; their sum is 1.
        means: of each.
        scales: of each, before the noise's uncertainty widens it.
        freedom: degrees of freedom of the noise, of all of them.
    """

    weights: Array
    means: Array
    scales: Array
    freedom: float

    def gain(self, noise: float, alike: float = 0.0) -> Gain:
        """This distribution as a result."""
        low, high, at_least, at_most = map(self.quantile, (0.025, 0.975, 0.05, 0.95))
        return Gain(self.mean(), low, high, at_least, at_most, self.std(), noise, self.freedom, alike)

    def mean(self) -> float:
        """Its expected value."""
        return float(self.weights @ self.means)

    def std(self) -> float:
        """Its standard deviation, that of the noise's uncertainty left out."""
        return math.sqrt(float(self.weights @ (self.scales**2 + (self.means - self.mean()) ** 2)))

    def quantile(self, probability: float) -> float:
        """The value below which the difference lies with this probability."""

        def beyond(value: float) -> float:
            return float(self.weights @ stats.t.cdf((value - self.means) / self.scales, self.freedom)) - probability

        reach = stats.t.ppf(0.9999, self.freedom) * float(self.scales.max()) + 1e-9
        ends = float(self.means.min()) - reach, float(self.means.max()) + reach
        return float(optimize.brentq(beyond, *ends, xtol=1e-9))
