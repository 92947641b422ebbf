"""A Gaussian process through noisy looks, given its kernel and the noise. Pure functions of numbers.

Algorithm 2.1 of Rasmussen and Williams, Gaussian Processes for Machine Learning (MIT Press 2006), with the kernels of
scikit-learn and the factorisation of SciPy. A report asks two thousand of them, none of which has anything left to
optimise; scikit-learn's regressor, which the tests compare with, would evaluate and factorise each kernel twice.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from sklearn.gaussian_process.kernels import Kernel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GaussianProcess:
    """What the looks say of the response, if the kernel is right.

    Attributes:
        kernel: how far the response ranges and how smooth it is.
        points: where was looked, looks by coordinates.
        factor: lower Cholesky factor of the looks' covariance.
        weights: that covariance's inverse times the looks.
        likelihood: logarithm of the looks' probability density.
    """

    kernel: Kernel
    points: Array
    factor: Array
    weights: Array
    likelihood: float

    @classmethod
    def through(cls, kernel: Kernel, points: Array, looks: Array, noise: float) -> "GaussianProcess":
        """The process given looks at points; `noise` is the variance of a look around the response."""
        covariance = kernel(points)
        covariance[np.diag_indices_from(covariance)] += noise
        factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
        weights = cho_solve((factor, True), looks, check_finite=False)
        likelihood = -0.5 * looks @ weights - np.log(np.diag(factor)).sum() - 0.5 * len(looks) * np.log(2 * np.pi)
        return cls(kernel, points, factor, weights, float(likelihood))

    def at(self, places: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the response at places (places by coordinates)."""
        mean, explained = self._known(self.kernel(places, self.points))
        variance = self.kernel.diag(places) - (explained**2).sum(0)
        return mean, np.sqrt(np.maximum(variance, 0))

    def contrasts(self, places: Array, weights: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of weighted sums over places; `weights` are sums by places."""
        mean, explained = self._known(weights @ self.kernel(places, self.points))
        variance = ((weights @ self.kernel(places)) * weights).sum(1) - (explained**2).sum(0)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def draw(self, places: Array, n: int, seed: int) -> Array:
        """`n` responses as they may be at all the places together: draws by places."""
        mean, explained = self._known(self.kernel(places, self.points))
        covariance = self.kernel(places) - explained.T @ explained
        rng = np.random.default_rng(seed)
        return rng.multivariate_normal(mean, covariance, n, check_valid="ignore", method="eigh")

    def _known(self, shared: Array) -> tuple[Array, Array]:
        """Means, and what of the uncertainty the looks take away, from covariances with the looks (one row each)."""
        return shared @ self.weights, solve_triangular(self.factor, shared.T, lower=True, check_finite=False)
