"""What the analysis asks of scikit-learn's Gaussian processes, whose kernels are given: nothing is optimised."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GaussianProcess:
    """What noisy looks say of the response, if the kernel is right.

    Attributes:
        regressor: fitted.
    """

    regressor: GaussianProcessRegressor

    @classmethod
    def through(cls, kernel: Kernel, points: Array, looks: Array, noise: float) -> "GaussianProcess":
        """The process given looks at points; `noise` is the variance of a look around the response."""
        # A report asks hundreds of them: to check the same arguments again takes as long as to answer.
        with config_context(assume_finite=True, skip_parameter_validation=True):
            regressor = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None, copy_X_train=False)
            return cls(regressor.fit(points, looks))

    @property
    def likelihood(self) -> float:
        """Logarithm of the looks' probability density."""
        return float(self.regressor.log_marginal_likelihood_value_)

    def at(self, places: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the response at places (places by coordinates)."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Predicted variances smaller than 0")  # by rounding; they become 0
            mean, std = self.regressor.predict(places, return_std=True)
        return mean, std

    def contrasts(self, places: Array, weights: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of weighted sums over places; `weights` are sums by places."""
        mean, covariance = self.regressor.predict(places, return_cov=True)
        variance = ((weights @ covariance) * weights).sum(1)
        return weights @ mean, np.sqrt(np.maximum(variance, 1e-12))

    def draw(self, places: Array, n: int, seed: int) -> Array:
        """`n` responses as they may be at all the places together: draws by places."""
        mean, covariance = self.regressor.predict(places, return_cov=True)
        rng = np.random.default_rng(seed)
        return rng.multivariate_normal(mean, covariance, n, check_valid="ignore", method="eigh")
