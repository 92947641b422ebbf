"""The update schedule against values worked by hand, and its laws."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigl_core.errors import BadInput, UnknownName
from rigl_core.schedules import ANNEALS, CubicRamp, UpdateSchedule


def test_cosine_values_by_hand() -> None:
    schedule = UpdateSchedule(delta_t=100, t_end=1000, alpha=0.3)
    assert schedule.drop_fraction(0) == pytest.approx(0.3)
    assert schedule.drop_fraction(250) == pytest.approx(0.15 * (1 + math.sqrt(0.5)))
    assert schedule.drop_fraction(500) == pytest.approx(0.15)
    assert schedule.drop_fraction(750) == pytest.approx(0.15 * (1 - math.sqrt(0.5)))
    assert schedule.drop_fraction(1000) == 0.0
    assert schedule.drop_fraction(5000) == 0.0


def test_other_anneals_by_hand() -> None:
    assert UpdateSchedule(delta_t=1, t_end=10, alpha=0.4, anneal="constant").drop_fraction(9) == pytest.approx(0.4)
    assert UpdateSchedule(delta_t=1, t_end=10, alpha=0.4, anneal="linear").drop_fraction(5) == pytest.approx(0.2)


def test_inverse_power_by_hand() -> None:
    cubic = UpdateSchedule(delta_t=1, t_end=10, alpha=0.4, anneal="inverse_power")
    assert cubic.drop_fraction(5) == pytest.approx(0.05)
    root = UpdateSchedule(delta_t=1, t_end=100, alpha=0.4, anneal="inverse_power", anneal_power=0.5)
    assert root.drop_fraction(75) == pytest.approx(0.2)


def test_cubic_ramp_by_hand() -> None:
    ramp = CubicRamp(delta_t=30, t_start=100, t_end=200, sparsity=0.8)
    assert [step for step in range(400) if ramp.is_update_step(step)] == [130, 160, 190, 200]
    assert [ramp.sparsity_at(step) for step in (0, 100, 150, 200, 300)] == pytest.approx([0, 0, 0.8 * 0.875, 0.8, 0.8])
    assert ramp.sparsity_at(130) == pytest.approx(0.8 * (1 - 0.7**3))


@given(
    delta_t=st.integers(1, 50),
    t_start=st.integers(0, 100),
    length=st.integers(1, 300),
    sparsity=st.floats(0, 0.999),
)
def test_cubic_ramp_laws(delta_t: int, t_start: int, length: int, sparsity: float) -> None:
    ramp = CubicRamp(delta_t=delta_t, t_start=t_start, t_end=t_start + length, sparsity=sparsity)
    values = [ramp.sparsity_at(step) for step in range(t_start + length + 10)]
    assert all(0.0 <= before <= after <= sparsity for before, after in itertools.pairwise(values))
    assert values[-1] == sparsity
    assert ramp.is_update_step(t_start + length)
    assert not any(map(ramp.is_update_step, range(t_start + 1)))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"delta_t": 0}, "delta_t is 0"),
        ({"t_start": 20}, "from step 20 to step 10"),
        ({"t_start": 10}, "from step 10 to step 10"),
        ({"t_start": -1}, "from step -1"),
        ({"sparsity": 1.0}, "sparsity is 1.0"),
    ],
)
def test_bad_ramps(changes: dict, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        CubicRamp(**{"delta_t": 1, "t_start": 0, "t_end": 10, "sparsity": 0.5, **changes})


def test_update_steps() -> None:
    schedule = UpdateSchedule(delta_t=3, t_end=10)
    assert [step for step in range(20) if schedule.is_update_step(step)] == [3, 6, 9]
    never = UpdateSchedule(delta_t=100, t_end=10)
    assert not any(map(never.is_update_step, range(200)))


@given(
    delta_t=st.integers(1, 200),
    t_end=st.integers(0, 500),
    alpha=st.floats(0, 1) | st.sampled_from([0.0, 1.0]),
    anneal=st.sampled_from(sorted(ANNEALS)),
    n_steps=st.integers(1, 800),
)
def test_laws(delta_t: int, t_end: int, alpha: float, anneal: str, n_steps: int) -> None:
    schedule = UpdateSchedule(delta_t=delta_t, t_end=t_end, alpha=alpha, anneal=anneal)
    fractions = [schedule.drop_fraction(step) for step in range(n_steps)]
    assert all(0.0 <= fraction <= alpha for fraction in fractions)
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(fractions))
    assert schedule.n_updates(n_steps) == sum(map(schedule.is_update_step, range(n_steps)))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"delta_t": 0, "t_end": 10}, "delta_t is 0"),
        ({"delta_t": 1, "t_end": -1}, "t_end is -1"),
        ({"delta_t": 1, "t_end": 10, "alpha": 1.001}, "alpha is 1.001"),
        ({"delta_t": 1, "t_end": 10, "alpha": float("nan")}, "alpha is nan"),
        ({"delta_t": 1, "t_end": 10, "anneal_power": 0.0}, "anneal_power is 0.0"),
        ({"delta_t": 1, "t_end": 10, "anneal_power": float("inf")}, "anneal_power is inf"),
    ],
)
def test_bad_input(arguments: dict, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        UpdateSchedule(**arguments)


def test_unknown_anneal() -> None:
    with pytest.raises(UnknownName, match='Did you mean "cosine"'):
        UpdateSchedule(delta_t=1, t_end=1, anneal="cosin")
