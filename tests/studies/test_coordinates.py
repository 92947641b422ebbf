"""Where trials are in the unit cube, by hand."""

import numpy as np
import pandas as pd
import pytest

from studies.coordinates import Side, coordinates


def test_numbers_and_choices_by_hand() -> None:
    trials = pd.DataFrame(
        {
            "alpha": [0.1, 0.2, 0.5],
            "delta_t": pd.array([50, 500, 5000], dtype="Int64"),
            "method": pd.array(["set", "rigl", "set"], dtype="string"),
            "nesterov": pd.array([True, False, True], dtype="boolean"),
        }
    )
    points, groups = coordinates(trials, {name: name for name in trials.columns})

    half = np.sqrt(0.5)
    assert groups == [0, 1, 2, 2, 3, 3]
    assert points == pytest.approx(
        np.array(
            [
                [0.0, 0.0, 0.0, half, 0.0, half],
                [0.25, 0.5, half, 0.0, half, 0.0],  # delta_t spans two decades: 500 is in the middle
                [1.0, 1.0, 0.0, half, 0.0, half],
            ]
        )
    )
    assert np.linalg.norm(points[0, 2:4] - points[1, 2:4]) == pytest.approx(1.0)


def test_a_scale_is_logarithmic_where_the_values_were_chosen_so() -> None:
    drawn = np.random.default_rng(0).random(24)
    trials = pd.DataFrame({"dropout": drawn, "lr": 10 ** (4 * drawn - 5), "delta_t": [50, 100, 500] * 8})
    dropout, lr, delta_t = (Side.of(name, name, trials[name]) for name in trials)

    assert drawn.max() > 20 * drawn.min()
    assert [side.log for side in (dropout, lr, delta_t)] == [False, True, True]
    assert dropout.value(0.5) == pytest.approx((drawn.min() + drawn.max()) / 2)


def test_a_parameter_that_never_changed_is_at_one_place() -> None:
    points, groups = coordinates(pd.DataFrame({"lr": [0.1, 0.1], "other": [-1.0, 3.0]}), {"lr": "lr", "o": "other"})

    assert points.tolist() == [[0.0, 0.0], [0.0, 1.0]]
    assert groups == [0, 1]


def test_a_parameter_that_some_trials_do_not_have() -> None:
    trials = pd.DataFrame(
        {
            "degree": pd.array([1, None, 3], dtype="Int64"),
            "kind": pd.array(["a", "b", None], dtype="string"),
            "none": [np.nan] * 3,
        }
    )
    points, groups = coordinates(trials, {name: name for name in trials.columns})

    half = np.sqrt(0.5)
    assert groups == [0, 0, 1, 1, 1, 2]
    assert points == pytest.approx(
        np.array([[0.0, 0.0, half, 0.0, 0.0, 0.0], [0.5, 1.0, 0.0, half, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, half, 0.0]])
    )
