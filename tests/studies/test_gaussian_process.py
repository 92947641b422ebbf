"""One factorisation says what scikit-learn's regressor says with two."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor

from studies.gain import kernels
from studies.gaussian_process import GaussianProcess


@pytest.mark.parametrize("which", range(4))
def test_it_says_what_scikit_learn_says(which: int) -> None:
    rng = np.random.default_rng(which)
    points, looks, places = rng.random((12, 3)), rng.normal(size=12), rng.random((7, 3))
    kernel = kernels([0, 1, 1], 4)[which]
    own = GaussianProcess.through(kernel, points, looks, 0.04)
    theirs = GaussianProcessRegressor(kernel, alpha=0.04, optimizer=None).fit(points, looks)

    assert own.likelihood == pytest.approx(theirs.log_marginal_likelihood_value_, rel=1e-9)
    mean, std = theirs.predict(places, return_std=True)
    for ours, expected in zip(own.at(places), (mean, std), strict=True):
        assert ours == pytest.approx(expected, abs=1e-8)
    weights = rng.normal(size=(4, 7))
    weights -= weights.mean(1, keepdims=True)
    mean, covariance = theirs.predict(places, return_cov=True)
    means, stds = own.contrasts(places, weights)
    assert means == pytest.approx(weights @ mean, abs=1e-8)
    assert stds**2 == pytest.approx(np.diag(weights @ covariance @ weights.T), abs=1e-8)


def test_a_thousand_draws_scatter_as_the_process_does_and_a_seed_gives_the_same_ones() -> None:
    rng = np.random.default_rng(0)
    points, places = rng.random((10, 2)), rng.random((3, 2))
    process = GaussianProcess.through(kernels([0, 1], 4)[3], points, rng.normal(size=10), 0.1)
    mean, std = process.at(places)
    drawn = process.draw(places, 1000, seed=1)

    assert drawn.shape == (1000, 3)
    assert drawn.mean(0) == pytest.approx(mean, abs=5 * std.max() / np.sqrt(1000))
    assert drawn.std(0) == pytest.approx(std, rel=0.15)
    assert (drawn == process.draw(places, 1000, seed=1)).all()
