"""Selecting the best: exact counts, ties by index, the same on a CPU as on a device."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rigl_core import selection
from rigl_core.selection import PerLayer, sample_stride, select_top
from tests.rigl_core.score_kinds import KINDS

T, F = True, False

Select = Callable[[Tensor, int, Tensor], Tensor]


def select_as_a_device_does(scores: Tensor, n: int, among: Tensor) -> Tensor:
    """Plain torch, so that it can be tried without a device."""
    return selection._select_by_sorting(scores, PerLayer((scores.numel(),), (n,)), among)


WAYS: dict[str, Select] = {"cpu": selection._select_on_cpu, "device": select_as_a_device_does}


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def by_a_stable_sort(scores: list[float], n: int, among: list[bool]) -> list[int]:
    candidates = sorted((i for i in range(len(scores)) if among[i]), key=lambda i: (-scores[i], i))
    return sorted(candidates[:n])


@pytest.mark.parametrize("select", WAYS.values(), ids=WAYS)
def test_ties_go_to_the_lower_index(select: Select) -> None:
    scores = vector(1, 1, 1, 1, 1)
    assert select(scores, 2, torch.tensor([F, T, T, T, T])).tolist() == [F, T, T, F, F]
    assert select(vector(0, 2, 1, 1, 1), 2, torch.ones(5, dtype=torch.bool)).tolist() == [F, T, T, F, F]


@pytest.mark.parametrize("select", WAYS.values(), ids=WAYS)
def test_nan_and_infinite_scores_keep_the_count_exact(select: Select) -> None:
    scores = vector(float("nan"), float("inf"), -float("inf"), 1.0)
    everywhere = torch.ones(4, dtype=torch.bool)
    assert select(scores, 2, everywhere).tolist() == [F, T, F, T]
    assert select(scores, 3, everywhere).tolist() == [T, T, F, T]
    assert select(vector(float("nan"), -1.0), 1, torch.ones(2, dtype=torch.bool)).tolist() == [F, T]


def test_nothing_of_nothing() -> None:
    assert select_top(vector(1, 2), 0, torch.tensor([T, T])).tolist() == [F, F]
    assert select_top(torch.empty(0), 0, torch.empty(0, dtype=torch.bool)).shape == (0,)


@pytest.mark.parametrize("select", WAYS.values(), ids=WAYS)
@given(
    scores=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=40),
    data=st.data(),
)
def test_it_equals_a_stable_sort(select: Select, scores: list[float], data: st.DataObject) -> None:
    among = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    n = data.draw(st.integers(min(1, sum(among)), sum(among)))
    if n == 0:
        return
    taken = select(vector(*scores), n, torch.tensor(among))
    assert taken.nonzero().flatten().tolist() == by_a_stable_sort(scores, n, among)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cpu_looks_at_a_part_and_selects_what_a_device_selects(
    kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "SMALL", 500)
    rng = np.random.default_rng(0)
    for size, density, fraction in ((5_000, 1.0, 0.03), (4_999, 0.9, 0.5), (5_041, 0.1, 0.7), (20_000, 0.5, 0.001)):
        scores = torch.from_numpy(KINDS[kind](rng, size)).to(dtype)
        among = torch.from_numpy(rng.random(size) < density)
        n = max(1, int(fraction * int(among.sum())))
        assert torch.equal(select_top(scores, n, among), select_as_a_device_does(scores, n, among))
        assert torch.equal(select_top(scores.view(-1, 1), n, among.view(-1, 1)).flatten(), select_top(scores, n, among))


def test_a_sample_that_misleads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "SMALL", 500)
    everywhere, scores = torch.ones(5_000, dtype=torch.bool), torch.ones(5_000)
    scores[:: sample_stride(5_000)] = 2.0  # all that is sampled is better than nearly all that is not
    for n in (500, 1_000):
        assert torch.equal(select_top(scores, n, everywhere), select_as_a_device_does(scores, n, everywhere))


def test_the_bound_spares_most_of_the_work() -> None:
    scores = np.random.default_rng(0).random(2_000_000).astype(np.float32)
    everywhere = np.ones(len(scores), dtype=bool)
    n = 60_000
    places = selection._contenders(scores, n, everywhere)
    assert n <= len(places) < 2 * n
    assert scores[places].min() < np.sort(scores)[-n]


@pytest.mark.parametrize("size", [16_385, 300 * 3 * 3, 640 * 640 * 3 * 3, 10_000_000])
def test_a_sample_is_as_large_as_is_quickest_and_sees_every_place_of_a_kernel(size: int) -> None:
    stride = sample_stride(size)
    assert stride == pytest.approx(1.5 * size ** (1 / 3), abs=4)
    assert {place % 9 for place in range(0, size, stride)} == set(range(9))
    assert {place % 4 for place in range(0, size, stride)} == set(range(4))


def test_scores_are_left_as_they_are() -> None:
    scores = vector(float("nan"), 3.0, float("inf"), 1.0)
    before = scores.clone()
    select_top(scores, 2, torch.ones(4, dtype=torch.bool))
    assert torch.equal(scores.nan_to_num(nan=-7.0), before.nan_to_num(nan=-7.0))
