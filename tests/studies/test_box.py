"""What a box may still hold: shares worked out by hand, and boxes with and without a hill."""

import numpy as np
import pandas as pd
import pytest

from studies.analysis import analyse
from studies.box import better_share, most_of, n_settings, nearest, places_in
from studies.reporting.findings import Verdict
from studies.search_space import Choice, Range
from tests.studies.sample_campaign import Told, make_spec
from tests.studies.sample_cases import load
from tests.studies.test_gain import simulate


@pytest.mark.parametrize(("n", "share"), [(0, 1.0), (1, 0.95), (5, 0.4507), (14, 0.1926), (29, 0.0981)])
def test_what_may_be_better_where_no_random_setting_was(n: int, share: float) -> None:
    assert better_share(n) == pytest.approx(share, abs=1e-4)  # 1 − 0.05 ** (1 / n)


def test_places_lie_in_the_box_and_on_its_ladders_and_choices() -> None:
    search = {
        "lr": Range(low=0.01, high=1.0, log=True),
        "width": Range(low=2, high=8, step=2),
        "kind": Choice(values=("a", "b")),
        "free": None,
    }
    trials = pd.DataFrame({"lr": [0.1, 0.2], "width": [2, 4], "kind": ["a", "a"], "free": [1.0, 3.0]})
    places = places_in(search, {name: name for name in search}, trials)

    assert places["lr"].between(0.01, 1.0).all()
    assert places["lr"].median() == pytest.approx(0.1, rel=0.05)  # the middle of the logarithms
    assert set(places["width"]) == {2, 4, 6, 8}
    assert set(places["kind"]) == {"a", "b"}
    assert places["free"].between(1.0, 3.0).all()  # of an axis that is not known, what was seen
    assert n_settings(search, {"width": "width", "kind": "kind"}) == 8
    assert n_settings(search, {"lr": "lr"}) == np.inf


def test_the_distance_to_the_nearest_trial_is_in_units_of_the_box() -> None:
    places = pd.DataFrame({"x": np.linspace(0, 10, 11)})
    distances, rows = nearest(places, pd.DataFrame({"x": [2.0, 7.0]}), {"x": "x"})

    assert distances == pytest.approx([0.2, 0.1, 0.0, 0.1, 0.2, 0.2, 0.1, 0.0, 0.1, 0.2, 0.3])
    assert rows.tolist() == [0] * 5 + [1] * 6


def test_the_most_of_a_flat_box_is_little_and_of_a_slope_its_height() -> None:
    rng = np.random.default_rng(0)
    points, places = rng.random((40, 1)), np.linspace(0, 1, 50)[:, None]
    for height in (0.0, 0.02):
        truth = height * (points[:, 0] - points[0, 0])
        _, test = simulate(rng, truth)
        most = most_of(points, test, places, reference=0, groups=[0])
        assert most is not None
        assert height * (1 - points[0, 0]) - 0.001 < most < height * (1 - points[0, 0]) + 0.0025


def boxes(n_trials: int, dimensions: int, hill: float, n: int) -> list[Verdict]:
    """Verdicts of campaigns of random settings, the reference in the plain, beside a hill of width 0.15 if it has one.

    Settings are shares of the box; the truth is 0.9 elsewhere.
    """
    names = ("alpha", "label_smoothing", "weight_decay")[:dimensions]
    search = {name: {"low": 0.05, "high": 0.95} for name in names}
    rng, found = np.random.default_rng(11), []
    for _ in range(n):
        points, top = rng.random((n_trials, dimensions)), rng.random(dimensions)
        truth = hill * np.exp(-((points - top) ** 2).sum(1) / 2 / 0.15**2)
        truth[0] = 0.0
        val, test = (0.9 + own for own in simulate(rng, truth))
        settings = [dict(zip(names, map(float, 0.05 + 0.9 * point), strict=True)) for point in points]
        spec = make_spec(search=search, reference=settings[0], seeds=(0, 1, 2), n_trials=n_trials, sampler="random")
        told = [Told(*own) for own in zip(settings, ["complete"] * n_trials, val.tolist(), test.tolist(), strict=True)]
        frame, provenance = load(spec, [told])
        (pair,) = analyse(frame, provenance.campaign, search=spec.search).pairs
        found.append(pair.verdict)
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("n_trials", [2, 6, 15, 30])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_box_with_a_hill_is_hardly_ever_said_not_to_pay(n_trials: int, dimensions: int) -> None:
    """In 0.05 of campaigns at most, and two standard deviations of the chance in 100 more."""
    said = np.mean([verdict is Verdict.DOES_NOT_PAY for verdict in boxes(n_trials, dimensions, 0.02, 100)])
    print(f"a hill, {dimensions} parameters, {n_trials} trials: does not pay in {said:.3f}")
    assert said <= 0.09


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_flat_box_that_was_seen_is_said_not_to_pay() -> None:
    """One parameter and 15 trials: 0.83 of 100; two standard deviations of the chance are 0.075."""
    verdicts = boxes(15, 1, 0.0, 100)
    said = np.mean([verdict is Verdict.DOES_NOT_PAY for verdict in verdicts])
    print(f"flat, 1 parameter, 15 trials: does not pay in {said:.3f}")
    assert said >= 0.75
    assert np.mean([verdict is Verdict.PAYS for verdict in verdicts]) <= 0.09
