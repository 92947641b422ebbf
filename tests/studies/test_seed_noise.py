"""The noise that seeds show, on accuracies that are known in truth."""

import numpy as np
import pytest

from studies.seed_noise import seed_noise


def test_seeds_that_act_on_each_setting_anew_give_a_diagonal() -> None:
    rng = np.random.default_rng(0)
    points, accuracies = rng.random((60, 2)), 0.9 + rng.normal(0, 0.003, (60, 3)) + rng.normal(0, 0.01, 3)
    noise = seed_noise(points, accuracies)

    assert noise.weights[0] > 0.5
    assert noise.alike == 0
    assert noise.covariances[0] == pytest.approx(np.diag(np.diag(noise.covariances[0])))
    assert np.sqrt(np.diag(noise.covariances[0])) == pytest.approx(np.full(60, 0.003 / np.sqrt(3)), rel=0.35)


def test_noise_that_grows_along_a_parameter_is_told_as_such() -> None:
    rng = np.random.default_rng(1)
    points = np.sort(rng.random((80, 1)), axis=0)
    accuracies = rng.normal(0, 0.001 * 5**points, (80, 3))
    spread = np.sqrt(3 * np.diag(seed_noise(points, accuracies).covariances[0]))

    assert spread[:20].mean() == pytest.approx(0.0012, rel=0.25)
    assert spread[-20:].mean() == pytest.approx(0.0041, rel=0.25)


def test_seeds_that_move_near_settings_alike_are_noticed() -> None:
    rng = np.random.default_rng(2)
    points = rng.random((40, 1))
    phases = rng.uniform(0, 2 * np.pi, 3)
    noise = seed_noise(points, 0.003 * np.cos(6 * points + phases) + rng.normal(0, 0.001, (40, 3)))

    assert noise.alike > 0.5
    assert noise.weights[0] < 0.05
