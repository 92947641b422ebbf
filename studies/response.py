"""What the trials of a pair say of any setting, tried or not. Pure functions of numbers.

The same view as in `studies.gain`: trials are noisy looks at one response that changes smoothly with the parameters (a
Gaussian process), and nobody knows how smooth. `fit` weighs `DRAWS` degrees of smoothness by how well
each explains the trials and keeps `KEPT` of them in proportion, so that a question can be put to all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.gain import NOISES, Mixture, kernels
from studies.gaussian_process import GaussianProcess

Array = NDArray[np.float64]

DRAWS = 32
"""So many degrees of smoothness are weighed."""

KEPT = 8
"""So many stand for them."""

FEWEST = 8
"""Fewer trials give no response to draw."""

MOST = 100
"""More trials of a pair are thinned out evenly, from best to worst: the work grows with their cube."""


@dataclass(frozen=True)
class Response:
    """Accuracy as a function of the place in the cube (`studies.coordinates`), as sure as the trials make it.

    Attributes:
        processes: as many Gaussian processes as were kept, all as likely.
        centre: accuracy at their zero.
        scale: accuracy of their unit.
        freedom: degrees of freedom of the noise.
    """

    processes: tuple[GaussianProcess, ...]
    centre: float
    scale: float
    freedom: int

    def at(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the accuracy at points (points by coordinates)."""
        found = [process.at(points) for process in self.processes]
        means, stds = (np.array(column) for column in zip(*found, strict=True))
        return self.centre + self.scale * means.mean(0), self.scale * np.sqrt((stds**2).mean(0) + means.var(0))

    def contrasts(self, points: Array, weights: Array) -> tuple[Array, Array]:
        """Differences between places, or between averages over places, with what these have in common taken off.

        Args:
            points: points by coordinates.
            weights: contrasts by points; each row sums up to 0.

        Returns:
            Means and standard deviations, each processes by contrasts.
        """
        found = [process.contrasts(points, weights) for process in self.processes]
        means, stds = (np.array(column) for column in zip(*found, strict=True))
        return self.scale * means, self.scale * stds

    def difference(self, points: Array, weights: Array) -> Mixture:
        """One contrast, `weights` has one number a point, as a distribution."""
        means, stds = self.contrasts(points, weights[None, :])
        return Mixture(np.full(len(means), 1 / len(means)), means[:, 0], stds[:, 0], self.freedom)

    def draw(self, points: Array, n: int) -> Array:
        """`n` responses a process as they may be, in one order for all points: draws by points."""
        drawn = [process.draw(points, n, seed=i) for i, process in enumerate(self.processes)]
        return np.asarray(self.centre + self.scale * np.vstack(drawn), dtype=np.float64)


def fit(points: Array, looks: Array, error: float, freedom: int, groups: Sequence[int]) -> Response | None:
    """The response behind the trials; None where they are too few or all reached the same.

    Args:
        points: what was tried, trials by coordinates.
        looks: what each reached.
        error: standard deviation of a look around the response; NaN where it is not known.
        freedom: degrees of freedom of `error`; 0 where it is not known.
        groups: for each coordinate the parameter it belongs to.
    """
    seen = float(looks.std())
    if len(looks) < FEWEST or seen <= 1e-9 * float(np.abs(looks).max()):
        return None
    errors = list(NOISES) if math.isnan(error) else [error / seen]
    scaled = (looks - looks.mean()) / seen
    processes = [
        GaussianProcess.through(kernel, points, scaled, max(noise**2, 1e-6))
        for kernel in kernels(groups, DRAWS)
        for noise in errors
    ]
    likelihood = np.array([process.likelihood for process in processes])
    weights = np.exp(likelihood - likelihood.max())
    ends = np.cumsum(weights / weights.sum())
    chosen = np.searchsorted(ends, (np.arange(KEPT) + 0.5) / KEPT)
    return Response(
        tuple(processes[min(i, len(processes) - 1)] for i in chosen),
        float(looks.mean()),
        seen,
        freedom or len(looks) - 1,
    )
