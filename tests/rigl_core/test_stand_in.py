"""`SparseOptimizer` in PyTorch's own tools: schedulers, mixed precision, accumulation of gradients, hooks, copies."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from rigl_core.distributions import erk, layer_budgets
from rigl_core.errors import BadInput
from rigl_core.masks import init_masks, maskable_weights
from rigl_core.methods import METHODS
from rigl_core.optimizer import SparseOptimizer
from rigl_core.schedules import CubicRamp, UpdateSchedule

X = torch.randn(16, 10, generator=torch.Generator().manual_seed(1))
Y = torch.arange(16) % 4


def training(
    *, method: str = "rigl", fused: bool = False, grow_accumulation: int = 1
) -> tuple[nn.Sequential, SparseOptimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 24), nn.Tanh(), nn.Linear(24, 4))
    weights, ramp = maskable_weights(model), METHODS[method].ramp
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(0)
    sparsities = dict.fromkeys(shapes, 0.0) if ramp else erk(shapes, 0.8)
    schedule = CubicRamp(delta_t=3, t_start=0, t_end=8, sparsity=0.7) if ramp else UpdateSchedule(delta_t=4, t_end=50)
    sparse = SparseOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=fused),
        weights=weights,
        masks=init_masks(shapes, layer_budgets(shapes, sparsities), generator),
        method=METHODS[method],
        schedule=schedule,
        generator=generator,
        grow_accumulation=grow_accumulation,
    )
    return model, sparse


def backward(model: nn.Module, sparse: SparseOptimizer, scaler: Any = None) -> None:
    sparse.zero_grad()
    loss = functional.cross_entropy(model(X), Y)
    (loss if scaler is None else scaler.scale(loss)).backward()


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("overflows", [(3, 7), (4,), (3, 4, 5), (8,), (8, 12)], ids=str)
@pytest.mark.parametrize("method", ["rigl", "set", "pruning"])
def test_a_scaled_training_is_that_of_the_steps_without_an_overflow(
    method: str, overflows: tuple[int, ...], fused: bool
) -> None:
    """Topology steps are at 4, 8 and 12, and of pruning at 3, 6 and 8: none is lost."""
    ends, when = [], []
    for scaled in (True, False):
        model, sparse = training(method=method, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=scaled)
        changes = []
        for step in range(16):
            backward(model, sparse, scaler)
            if step in overflows and not scaled:
                continue
            if step in overflows:
                model[0].weight.grad[0, 0] = float("inf")
            before = copy.deepcopy(sparse.masks.masks)
            change = scaler.step(sparse, step)
            scaler.update()
            if step in overflows:
                assert all(torch.equal(before[name], mask) for name, mask in sparse.masks.masks.items())
            elif change is not None:
                changes.append((step, change.step))
        ends.append(model)
        when.append(changes)
    assert same(*ends)
    assert when[0] == when[1]
    due = [3, 6, 8] if method == "pruning" else [4, 8, 12]
    made = [next(s for s in range(step, 16) if s not in overflows) for step in due]
    assert [step for step, _ in when[0]] == sorted(set(made))
    if method == "pruning":
        assert sparse.masks.sparsity() == pytest.approx(0.7, abs=0.01)


def test_unscaling_by_hand_and_clipping_work_as_for_other_optimizers() -> None:
    model, sparse = training()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    backward(model, sparse, scaler)
    scaler.unscale_(sparse)
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    scaler.step(sparse, 0)
    scaler.update()
    other, other_sparse = training()
    backward(other, other_sparse)
    nn.utils.clip_grad_norm_(other.parameters(), 0.1)
    other_sparse.step(0)
    assert same(model, other)


def test_a_topology_step_that_was_left_out_survives_a_checkpoint() -> None:
    model, sparse = training()
    for step in range(4):
        backward(model, sparse)
        sparse.step(step)
    states = copy.deepcopy((model.state_dict(), sparse.state_dict()))  # step 4, a topology step, is left out
    again, again_sparse = training()
    again.load_state_dict(states[0])
    again_sparse.load_state_dict(states[1])
    backward(again, again_sparse)
    assert not again_sparse.is_plain(5)
    change = again_sparse.step(5)
    assert change is not None
    assert change.step == 4
    assert again_sparse.is_plain(6)


def test_a_left_out_topology_step_uses_the_sum_of_gradients() -> None:
    model, sparse = training(grow_accumulation=3)
    for step in (0, 1, 2, 3, 5):
        backward(model, sparse)
        change = sparse.step(step)
    assert change is not None
    assert not sparse.state_dict()["gradient_sum"]


SCHEDULERS: dict[str, Any] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.2, total_steps=20),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)], [3]
    ),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=3),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_takes_it_for_the_optimizer_it_wraps(name: str) -> None:
    ends = []
    for direct in (True, False):
        model, sparse = training()
        scheduler = SCHEDULERS[name](sparse if direct else sparse.optimizer)
        rates = []
        for step in range(10):
            backward(model, sparse)
            sparse.step(step)
            scheduler.step()
            rates.append(sparse.param_groups[0]["lr"])
        ends.append(model)
    assert len(set(rates)) > 1
    assert sparse.param_groups is sparse.optimizer.param_groups
    assert sparse.state is sparse.optimizer.state
    assert same(*ends)


def test_steps_are_counted_where_no_number_is_given() -> None:
    """As tools do that call `step()` or `step(closure=...)`."""
    model, sparse = training()
    other, other_sparse = training()
    for step in range(10):
        backward(model, sparse)
        sparse.step(step)
        assert other_sparse.step(closure=lambda: backward(other, other_sparse)) is None or step in (4, 8)
    assert same(model, other)
    assert all(torch.equal(other_sparse.masks.masks[name], mask) for name, mask in sparse.masks.masks.items())
    with pytest.raises(BadInput, match="step is a function; it must be the number of the step"):
        sparse.step(lambda: None)  # type: ignore[arg-type]


def test_gradients_are_accumulated_over_several_backward_passes() -> None:
    model, sparse = training()
    other, other_sparse = training()
    for step in range(6):
        backward(model, sparse)
        sparse.step(step)
        other_sparse.zero_grad(set_to_none=False)
        for half in (slice(8), slice(8, 16)):
            (functional.cross_entropy(other(X[half]), Y[half]) / 2).backward()
        other_sparse.step(step)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)
    assert all(torch.equal(other_sparse.masks.masks[name], mask) for name, mask in sparse.masks.masks.items())


def test_groups_hooks_and_copies() -> None:
    model, sparse = training()
    more = nn.Parameter(torch.ones(2))
    sparse.add_param_group({"params": [more], "lr": 1.0})
    assert sparse.optimizer.param_groups[1]["params"] == [more]
    called = []
    sparse.register_step_post_hook(lambda *_: called.append(True))
    backward(model, sparse)
    more.grad = torch.ones(2)
    sparse.step(0)
    assert more.tolist() == [0.0, 0.0]
    assert called == [True]
    assert isinstance(sparse, torch.optim.Optimizer)
    assert "lr: 1.0" in repr(sparse)
    twin, twin_sparse = copy.deepcopy((model, sparse))
    for step in range(1, 10):
        for network, optimizer in ((model, sparse), (twin, twin_sparse)):
            backward(network, optimizer)
            optimizer.step(step)
    assert same(model, twin)
    with pytest.raises(AttributeError, match="no_such_thing"):
        sparse.no_such_thing  # noqa: B018
