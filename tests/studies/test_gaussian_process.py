"""Against equations 2.23 to 2.30 of Rasmussen and Williams, Gaussian Processes for Machine Learning (2006)."""

import numpy as np
import pytest

from studies.gain import kernels
from studies.gaussian_process import GaussianProcess


@pytest.mark.parametrize("which", range(4))
def test_it_says_what_the_formulas_say(which: int) -> None:
    rng = np.random.default_rng(which)
    points, looks, places = rng.random((12, 3)), rng.normal(size=12), rng.random((7, 3))
    kernel = kernels([0, 1, 1], 4)[which]
    process = GaussianProcess.through(kernel, points, looks, 0.04)
    inverse = np.linalg.inv(kernel(points) + 0.04 * np.eye(12))
    shared = kernel(places, points)
    mean, covariance = shared @ inverse @ looks, kernel(places) - shared @ inverse @ shared.T

    density = -(looks @ inverse @ looks - np.linalg.slogdet(inverse)[1] + 12 * np.log(2 * np.pi)) / 2
    assert process.likelihood == pytest.approx(density, rel=1e-8)
    means, stds = process.at(places)
    assert means == pytest.approx(mean, abs=1e-7)
    assert stds**2 == pytest.approx(np.diag(covariance), abs=1e-7)
    weights = rng.normal(size=(4, 7))
    weights -= weights.mean(1, keepdims=True)
    means, stds = process.contrasts(places, weights)
    assert means == pytest.approx(weights @ mean, abs=1e-7)
    assert stds**2 == pytest.approx(np.diag(weights @ covariance @ weights.T), abs=1e-7)


def test_where_nothing_is_uncertain_nothing_is_said_of_rounding() -> None:
    points = np.linspace(0, 1, 12)[:, None]
    _, stds = GaussianProcess.through(kernels([0], 4)[3], points, points[:, 0], 1e-9).at(points)

    assert (stds >= 0).all()
    assert stds == pytest.approx(np.zeros(12), abs=1e-3)


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
