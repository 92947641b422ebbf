"""Weights outside the masks are zero at every step, whatever is there: infinite gradients, odd optimizers, a past."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rigl_core.distributions import erk, layer_budgets
from rigl_core.errors import BadInput
from rigl_core.masks import init_masks, maskable_weights
from rigl_core.methods import METHODS
from rigl_core.native import build, zeroing
from rigl_core.optimizer import SparseOptimizer
from rigl_core.schedules import CubicRamp, UpdateSchedule

X = torch.randn(16, 10, generator=torch.Generator().manual_seed(1))
Y = torch.arange(16) % 4
NOT_FINITE = (math.inf, -math.inf, math.nan)
MakeOptimizer = Callable[[Any], torch.optim.Optimizer]


@pytest.fixture(params=["numbers", "compiled"], autouse=True)
def masks_select(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which masks are kept and select."""
    if request.param == "compiled":
        if isinstance(build.topology(), str):
            pytest.skip(f"no native code: {build.topology()}")
        monkeypatch.setattr(zeroing, "WORTH_IT", 0)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 24, bias=False), nn.ReLU(), nn.Linear(24, 4, bias=False))


def wrapped(
    model: nn.Module, optimizer: torch.optim.Optimizer, method: str = "rigl", **options: Any
) -> SparseOptimizer:
    weights, row = maskable_weights(model), METHODS[method]
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(0)
    sparsities = dict.fromkeys(shapes, 0.0) if row.ramp or not row.sparse else erk(shapes, 0.8)
    return SparseOptimizer(
        optimizer,
        weights=weights,
        masks=init_masks(shapes, layer_budgets(shapes, sparsities), generator),
        method=row,
        schedule=CubicRamp(delta_t=3, t_start=0, t_end=9, sparsity=0.5)
        if row.ramp
        else UpdateSchedule(delta_t=4, t_end=100),
        generator=generator,
        **options,
    )


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)


def outside(sparse: SparseOptimizer, name: str) -> Tensor:
    return ~sparse.masks.masks[name]


def advance(
    model: nn.Module, sparse: SparseOptimizer, steps: range, spoil: Callable[[int], object] = lambda _: None
) -> None:
    for step in steps:
        sparse.zero_grad()
        functional.cross_entropy(model(X), Y).backward()
        spoil(step)
        sparse.step(step)
        for name, weight in sparse.weights.items():
            assert torch.count_nonzero(weight[outside(sparse, name)]) == 0, (name, step)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5}, {"grow_accumulation": 3}], ids=str)
@pytest.mark.parametrize("optimizer", [sgd, torch.optim.Adam], ids=["sgd", "adam"])
@pytest.mark.parametrize("method", ["static", "set", "rigl", "rigl_sg", "rigl_sm", "snfs"])
def test_gradients_outside_the_masks_that_are_not_finite_change_nothing(
    method: str, optimizer: MakeOptimizer, options: dict[str, Any]
) -> None:
    """They count as 0, also in scores: a training in which they are 0 ends with the same bits."""
    ends = []
    for values in (NOT_FINITE, (0.0, 0.0, 0.0)):
        model = network()
        sparse = wrapped(model, optimizer(model.parameters()), method, **options)

        def spoil(step: int, sparse: SparseOptimizer = sparse, values: tuple[float, ...] = values) -> None:
            for name, weight in sparse.weights.items():
                places = outside(sparse, name).nonzero()[step::7]
                for i, place in enumerate(places):
                    weight.grad[tuple(place.tolist())] = values[i % 3]  # type: ignore[index]

        advance(model, sparse, range(14), spoil)
        assert all(torch.isfinite(weight).all() for weight in model.parameters())
        ends.append((copy.deepcopy(sparse.masks.masks), [weight.detach().clone() for weight in model.parameters()]))
    (masks, weights), (expected_masks, expected_weights) = ends
    assert all(torch.equal(masks[name], expected_masks[name]) for name in masks)
    assert all(map(torch.equal, weights, expected_weights))


def test_an_active_weight_whose_gradient_is_not_finite_is_not_hidden() -> None:
    model = network()
    sparse = wrapped(model, sgd(model.parameters()))
    place = tuple(sparse.masks.masks["0.weight"].nonzero()[0].tolist())
    functional.cross_entropy(model(X), Y).backward()
    model[0].weight.grad[place] = math.inf
    sparse.step(1)
    assert not math.isfinite(model[0].weight[place].item())


@pytest.mark.parametrize("method", ["static", "rigl", "snfs"])
def test_weights_and_state_outside_the_masks_that_are_not_finite_are_zeroed(method: str) -> None:
    model = network()
    optimizer = sgd(model.parameters())
    functional.cross_entropy(model(X), Y).backward()
    optimizer.step()
    probe = network()
    there = outside(wrapped(probe, sgd(probe.parameters()), method), "0.weight")  # the same seed, the same masks
    with torch.no_grad():
        model[0].weight[there] = math.nan
        if method != "snfs":
            optimizer.state[model[0].weight]["momentum_buffer"][there] = math.inf
    sparse = wrapped(model, optimizer, method)
    advance(model, sparse, range(10))
    assert torch.isfinite(model[0].weight).all()


class Noisy(torch.optim.Optimizer):
    """Moves every weight at random, as Langevin dynamics does."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.add_(torch.randn_like(parameter), alpha=0.01)


class Rotated(Noisy):
    """Keeps a momentum that is not zero where the gradient is, and steps by it."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                buffer = state.setdefault("momentum_buffer", torch.zeros_like(parameter))
                buffer.add_(parameter.grad.mean() + 1.0)
                parameter.sub_(buffer, alpha=0.01)


OPTIMIZERS: dict[str, MakeOptimizer] = {
    "SGD": sgd,
    "Adam": torch.optim.Adam,
    "Adam without eps": lambda p: torch.optim.Adam(p, eps=0.0),  # 0/0 where there never was a gradient
    "AdamW amsgrad": lambda p: torch.optim.AdamW(p, amsgrad=True),
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "Adamax": torch.optim.Adamax,
    "Adagrad": lambda p: torch.optim.Adagrad(p, initial_accumulator_value=0.1),
    "Adadelta": torch.optim.Adadelta,
    "RMSprop": lambda p: torch.optim.RMSprop(p, momentum=0.9, centered=True),
    "ASGD": lambda p: torch.optim.ASGD(p, weight_decay=0.1),
    "Adafactor": torch.optim.Adafactor,
    "Muon": lambda p: torch.optim.Muon(p, lr=0.02),
    "Noisy": Noisy,
    "Rotated": Rotated,
}


@pytest.mark.parametrize("method", ["static", "set", "rigl", "pruning"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_kept_inside_the_masks(name: str, method: str) -> None:
    model = network()
    sparse = wrapped(model, OPTIMIZERS[name](model.parameters()), method)
    advance(model, sparse, range(14))
    if name != "Adam without eps":  # which makes NaN of active weights, too, where no unit listens to them
        assert all(torch.isfinite(weight).all() for weight in model.parameters())
    assert all(weight.any() for weight in model.parameters())


@pytest.mark.parametrize("method", ["static", "rigl", "snfs", "pruning"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW amsgrad", "NAdam", "RMSprop", "Muon", "Adamax"])
def test_an_optimizer_with_a_past(name: str, method: str) -> None:
    model = network()
    optimizer = OPTIMIZERS[name](model.parameters())
    for _ in range(10):
        optimizer.zero_grad()
        functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
    sparse = wrapped(model, optimizer, method)
    for parameter, state in optimizer.state.items():
        name_of = next(key for key, weight in sparse.weights.items() if weight is parameter)
        for value in state.values():
            if method != "snfs" and isinstance(value, Tensor) and value.shape == parameter.shape:
                assert torch.count_nonzero(value[outside(sparse, name_of)]) == 0
                assert method == "pruning" or torch.count_nonzero(value) > 0
    advance(model, sparse, range(10))


def test_a_past_and_dense_weights_that_are_loaded_later_leave_no_weight_outside() -> None:
    dense = network()
    optimizer = sgd(dense.parameters())
    functional.cross_entropy(dense(X), Y).backward()
    optimizer.step()
    model = network()
    sparse = wrapped(model, sgd(model.parameters()), "static")
    sparse.optimizer.load_state_dict(optimizer.state_dict())
    model.load_state_dict(dense.state_dict())
    advance(model, sparse, range(10))


def test_a_weight_is_grown_with_no_state_whatever_the_optimizer_kept_for_it() -> None:
    model = network()
    sparse = wrapped(model, Rotated(model.parameters()))
    advance(model, sparse, range(4))
    before = {name: mask.clone() for name, mask in sparse.masks.masks.items()}
    functional.cross_entropy(model(X), Y).backward()
    sparse.step(4)
    for name, mask in sparse.masks.masks.items():
        newborn = mask & ~before[name]
        assert newborn.any()
        buffer = sparse.optimizer.state[sparse.weights[name]]["momentum_buffer"]
        assert not buffer[newborn].any()
        assert buffer[mask & before[name]].all()


@pytest.mark.parametrize("method", ["rigl", "rigl_sg", "pruning"])
def test_a_weight_that_is_frozen_during_training_keeps_its_mask_and_value(method: str) -> None:
    model = network()
    sparse = wrapped(model, sgd(model.parameters()), method)
    advance(model, sparse, range(3))
    frozen = model[0].weight.requires_grad_(False)
    before, mask = frozen.clone(), sparse.masks.masks["0.weight"].clone()
    other = sparse.masks.masks["2.weight"].clone()
    advance(model, sparse, range(3, 10))
    assert torch.equal(frozen, before)
    assert torch.equal(sparse.masks.masks["0.weight"], mask)
    assert not torch.equal(sparse.masks.masks["2.weight"], other)
    frozen.requires_grad_(True)
    advance(model, sparse, range(10, 20))
    assert method == "pruning" or not torch.equal(sparse.masks.masks["0.weight"], mask)
    for weight in model.parameters():
        weight.requires_grad_(False)
    assert sparse.topology_step(20).n_drop == {"0.weight": 0, "2.weight": 0}


def test_attention_trains_inside_its_masks() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 2, 24, dropout=0.0, batch_first=True)
    sparse = wrapped(layer, torch.optim.AdamW(layer.parameters()))
    x = torch.randn(3, 5, 12)
    before = sparse.masks.masks["self_attn.in_proj_weight"].clone()
    for step in range(9):
        sparse.zero_grad()
        layer(x).square().sum().backward()
        sparse.step(step)
    matrices = [parameter for parameter in layer.parameters() if parameter.ndim == 2]
    true = 1 - sum(int(torch.count_nonzero(m)) for m in matrices) / sum(m.numel() for m in matrices)
    assert true == pytest.approx(sparse.masks.sparsity(), abs=0.02)  # newborn weights are zero
    assert not torch.equal(sparse.masks.masks["self_attn.in_proj_weight"], before)


def test_a_momentum_that_an_optimizer_keeps_under_no_known_name_is_refused() -> None:
    class Other(Noisy):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for parameter in self.param_groups[0]["params"]:
                self.state[parameter]["velocity"] = parameter.grad.clone()

    model = network()
    optimizer = Other(model.parameters())
    optimizer.param_groups[0]["momentum"] = 0.9
    sparse = wrapped(model, optimizer, "rigl_sm")
    with pytest.raises(BadInput, match=r"looks at momentum, and Other keeps only velocity of 0\.weight"):
        advance(model, sparse, range(10))
