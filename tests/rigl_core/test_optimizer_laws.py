"""Laws of `SparseOptimizer` as a whole, on small networks, schedules and settings drawn at random."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rigl_core.masks import MaskState, init_masks
from rigl_core.methods import METHODS, Method
from rigl_core.optimizer import SparseOptimizer
from rigl_core.schedules import ANNEALS, CubicRamp, UpdateSchedule

N_STEPS = 10


@dataclass(frozen=True)
class Case:
    """What is drawn for one training; shapes are (out, in), budgets the weights active at first."""

    widths: list[int]
    budgets: list[int]
    schedule: UpdateSchedule | CubicRamp
    optimizer: str
    clip_norm: float | None
    grow_accumulation: int
    seed: int

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        return {f"w{i}": (self.widths[i + 1], self.widths[i]) for i in range(len(self.budgets))}


@st.composite
def cases(draw: st.DrawFn, method: Method) -> Case:
    widths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    sizes = [a * b for a, b in itertools.pairwise(widths)]
    starts_dense = method.ramp or not method.sparse
    budgets = [size if starts_dense else draw(st.integers(1, size) | st.just(size)) for size in sizes]
    delta_t = draw(st.integers(1, 4))
    schedule: UpdateSchedule | CubicRamp
    if method.ramp:
        t_start = draw(st.integers(0, 3))
        t_end = draw(st.integers(t_start + 1, N_STEPS + 3))
        schedule = CubicRamp(delta_t=delta_t, t_start=t_start, t_end=t_end, sparsity=draw(st.floats(0, 0.99)))
    else:
        schedule = UpdateSchedule(
            delta_t=delta_t, t_end=draw(st.integers(0, N_STEPS + 3)),
            alpha=draw(st.floats(0, 1) | st.just(1.0)), anneal=draw(st.sampled_from(sorted(ANNEALS))),
            anneal_power=draw(st.floats(0.1, 5)),
        )  # fmt: skip
    return Case(
        widths, budgets, schedule,
        optimizer=draw(st.sampled_from(["sgd", "adam"])), clip_norm=draw(st.sampled_from([None, 0.01, 10.0])),
        grow_accumulation=draw(st.integers(1, 5)), seed=draw(st.integers(0, 2**16)),
    )  # fmt: skip


class Training:
    """A chain of masked matrices with tanh between them and a bias at its end, in training on random numbers."""

    def __init__(self, method: Method, case: Case) -> None:
        self.random = torch.Generator().manual_seed(case.seed)
        self.weights = {
            name: nn.Parameter(torch.randn(shape, generator=self.random)) for name, shape in case.shapes.items()
        }
        self.bias = nn.Parameter(torch.zeros(case.widths[-1]))
        parameters = [*self.weights.values(), self.bias]
        self.sparse = SparseOptimizer(
            torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)
            if case.optimizer == "sgd"
            else torch.optim.Adam(parameters, lr=0.1, weight_decay=0.01),
            weights=self.weights,
            masks=init_masks(case.shapes, dict(zip(case.shapes, case.budgets, strict=True)), self.random),
            method=method,
            schedule=case.schedule,
            generator=torch.Generator().manual_seed(case.seed),
            grow_accumulation=case.grow_accumulation,
            clip_norm=case.clip_norm,
        )

    def step(self, step: int) -> bool:
        """Train a step; whether it moved the topology."""
        self.sparse.zero_grad()
        x = torch.randn(4, next(iter(self.weights.values())).shape[1], generator=self.random)
        for weight in self.weights.values():
            x = torch.tanh(x @ weight.T)
        target = torch.randn(x.shape, generator=self.random)
        (x + self.bias - target).square().mean().backward()
        return self.sparse.step(step) is not None

    def moments(self, name: str) -> list[Tensor]:
        state = self.sparse.optimizer.state[self.weights[name]]
        return [state[key] for key in ("momentum_buffer", "exp_avg", "exp_avg_sq") if key in state]


def total_by_now(case: Case, step: int) -> int:
    """The active weights there must be after `step`."""
    reached = 0.0
    if isinstance(case.schedule, CubicRamp):
        for earlier in filter(case.schedule.is_update_step, range(step + 1)):
            reached = case.schedule.sparsity_at(earlier)
    return round((1 - reached) * sum(case.budgets))


def snapshot(masks: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: mask.clone() for name, mask in masks.items()}


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=60)
@given(data=st.data())
def test_laws_at_every_step(method: str, data: st.DataObject) -> None:
    row = METHODS[method]
    case = data.draw(cases(row))
    training = Training(row, case)
    sparse, n_first = training.sparse, dict(zip(case.shapes, case.budgets, strict=True))
    n_weights = sum(mask.numel() for mask in sparse.masks.masks.values())
    for step in range(N_STEPS):
        before, explored = snapshot(sparse.masks.masks), snapshot(sparse.explored)
        moved = training.step(step)
        assert moved == (row.updates_topology and case.schedule.is_update_step(step))
        masks: MaskState = sparse.masks
        counts = {name: int(mask.sum()) for name, mask in masks.masks.items()}
        assert counts == masks.n_active
        assert sum(counts.values()) == total_by_now(case, step)
        assert sum(int(seen.sum()) for seen in sparse.explored.values()) == round(
            sparse.explored_fraction() * n_weights
        )
        for name, mask in masks.masks.items():
            assert moved or torch.equal(mask, before[name])
            assert torch.equal(sparse.explored[name], explored[name] | mask)
            assert torch.count_nonzero(training.weights[name][~mask]) == 0
            moments = training.moments(name)
            assert len(moments) == (1 if case.optimizer == "sgd" else 2)
            for moment in moments:
                assert row.dense_momentum or torch.count_nonzero(moment[~mask]) == 0
                assert not moved or torch.count_nonzero(moment[mask & ~before[name]]) == 0  # of the newborn
            assert torch.isfinite(training.weights[name]).all()
            if row.ramp:
                assert not (mask & ~before[name]).any()  # what was pruned never returns
                continue
            assert counts[name] > 0
            assert isinstance(case.schedule, UpdateSchedule)
            n_lost, n_before = int((before[name] & ~mask).sum()), int(before[name].sum())
            assert n_lost <= int(case.schedule.drop_fraction(step) * n_before)
            if row.redistribute is None or n_first[name] == mask.numel():  # a layer that began dense stays dense
                assert counts[name] == n_first[name]
