"""A saved state is restored in any order with the model's, or refused in one line with nothing changed."""

import copy
import io
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from rigl_core.distributions import erk, layer_budgets
from rigl_core.errors import BadInput
from rigl_core.masks import init_masks, maskable_weights
from rigl_core.methods import METHODS
from rigl_core.optimizer import SparseOptimizer
from rigl_core.schedules import UpdateSchedule

X = torch.randn(16, 10, generator=torch.Generator().manual_seed(1))
Y = torch.arange(16) % 4


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 4))


def wrapped(model: nn.Module, seed: int, method: str = "rigl", optimizer: str = "sgd") -> SparseOptimizer:
    weights = maskable_weights(model)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "sgd": lambda: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "adam": lambda: torch.optim.Adam(model.parameters(), lr=0.01),
    }
    return SparseOptimizer(
        made[optimizer](),
        weights=weights,
        masks=init_masks(shapes, layer_budgets(shapes, erk(shapes, 0.8)), generator),
        method=METHODS[method],
        schedule=UpdateSchedule(delta_t=4, t_end=100),
        generator=generator,
        grow_accumulation=3,
    )


def advance(model: nn.Module, sparse: SparseOptimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        sparse.zero_grad()
        loss = functional.cross_entropy(model(X), Y)
        loss.backward()
        losses.append(loss.item())
        sparse.step(step)
    return losses


def through_a_file(state: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def saved(method: str = "rigl", optimizer: str = "sgd") -> tuple[Any, Any, list[float]]:
    """Both states in the middle of a training, and its losses from there."""
    model = network(0)
    sparse = wrapped(model, 0, method, optimizer)
    advance(model, sparse, range(11))
    states = through_a_file((model.state_dict(), sparse.state_dict()))
    return *states, advance(model, sparse, range(11, 30))


ORDERS = [
    order for order in itertools.permutations(("model", "make", "state")) if order.index("make") < order.index("state")
] + [("model", "make", "state", "state"), ("make", "state", "model", "state"), ("make", "model", "state", "model")]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("method", ["rigl", "set", "snfs", "static"])
@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_a_state_is_restored_bit_for_bit_in_any_order(order: tuple[str, ...], method: str, optimizer: str) -> None:
    of_model, of_optimizer, losses = saved(method, optimizer)
    model = network(7)
    for part in order:
        if part == "model":
            model.load_state_dict(of_model)
        elif part == "make":
            sparse = wrapped(model, 5, method, optimizer)
        else:
            sparse.load_state_dict(of_optimizer)
    assert advance(model, sparse, range(11, 30)) == losses


@pytest.mark.parametrize("order", [("model", "state"), ("state", "model")], ids=" ".join)
def test_a_training_goes_back_to_a_state(order: tuple[str, ...]) -> None:
    model = network(0)
    sparse = wrapped(model, 0)
    advance(model, sparse, range(11))
    states = copy.deepcopy({"model": model.state_dict(), "state": sparse.state_dict()})
    losses = advance(model, sparse, range(11, 30))
    for part in order:
        {"model": model, "state": sparse}[part].load_state_dict(states[part])
    assert advance(model, sparse, range(11, 30)) == losses


@pytest.mark.parametrize("forgotten", ["all", "biases"])
def test_a_model_that_was_not_restored_is_told_at_the_first_step(forgotten: str) -> None:
    of_model, of_optimizer, losses = saved()
    model = network(7)
    sparse = wrapped(model, 5)
    if forgotten == "biases":
        model.load_state_dict({name: part for name, part in of_model.items() if "bias" not in name}, strict=False)
    sparse.load_state_dict(of_optimizer)
    before = copy.deepcopy(model.state_dict())
    what = "weight 0.weight" if forgotten == "all" else "parameter 1 of the optimizer"
    with pytest.raises(BadInput, match=f"{what} is not as it was .*: load the model's state, too") as caught:
        advance(model, sparse, range(11, 12))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], part) for name, part in model.state_dict().items())
    model.load_state_dict(of_model)
    assert advance(model, sparse, range(11, 30)) == losses


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_a_state_of_a_wrapped_network_goes_on(prefix: str) -> None:
    of_model, of_optimizer, losses = saved()
    for part in ("masks", "n_active", "explored", "gradient_sum"):
        of_optimizer[part] = {prefix + name: value for name, value in of_optimizer[part].items()}
    of_optimizer["movable"] = [prefix + name for name in of_optimizer["movable"]]
    model = network(7)
    model.load_state_dict(of_model)
    sparse = wrapped(model, 5)
    sparse.load_state_dict(of_optimizer)
    assert advance(model, sparse, range(11, 30)) == losses


def test_a_state_from_before_there_were_checksums_is_restored_too() -> None:
    of_model, of_optimizer, losses = saved()
    del of_optimizer["checksums"], of_optimizer["step"]
    model = network(7)
    model.load_state_dict(of_model)
    sparse = wrapped(model, 5)
    sparse.load_state_dict(of_optimizer)
    assert advance(model, sparse, range(11, 30)) == losses


def put(*path: Any) -> Callable[[Any], None]:
    def mutate(state: Any) -> None:
        for key in path[:-2]:
            state = state[key]
        state[path[-2]] = path[-1]

    return mutate


def drop(*path: Any) -> Callable[[Any], None]:
    def mutate(state: Any) -> None:
        for key in path[:-1]:
            state = state[key]
        del state[path[-1]]

    return mutate


ADAM = torch.optim.Adam([nn.Parameter(torch.ones(1)) for _ in range(4)]).state_dict()
WRONG: dict[str, tuple[Callable[[Any], None], str]] = {
    "no masks": (drop("masks"), "no state of a SparseOptimizer: masks missing"),
    "masks list": (put("masks", []), "masks of the saved state is a list"),
    "layer gone": (drop("masks", "0.weight"), "does not fit the weights to mask: 0.weight missing"),
    "layer more": (put("masks", "9.weight", torch.ones(2)), "9.weight unknown"),
    "other name": (put("masks", {"a.weight": torch.ones(2)}), "0.weight, 2.weight missing, a.weight unknown"),
    "count": (put("n_active", "0.weight", 3), "the mask of weight 0.weight has .* n_active says 3"),
    "mask type": (put("masks", "2.weight", torch.ones(4, 24)), "the mask of weight 2.weight is torch.float32"),
    "mask shape": (put("masks", "2.weight", torch.ones(3, dtype=torch.bool)), "2.weight of shape .* has no mask"),
    "movable": (put("movable", ["x"]), "movable of the saved state has x"),
    "explored": (put("explored", {}), "explored of the saved state is no tensor of the shape of weight 0.weight"),
    "sum": (put("gradient_sum", {"0.weight": torch.ones(2)}), "gradient_sum of the saved state is no tensor"),
    "generator": (put("generator", torch.zeros(3, dtype=torch.uint8)), "generator of the saved state is none of"),
    "no generator": (put("generator", None), "generator of the saved state is none of"),
    "another optimizer": (put("optimizer", ADAM), "the saved optimizer is of another kind than this SGD"),
    "groups": (put("optimizer", "param_groups", []), r"groups of \[\] parameters, and this SGD of \[4\]"),
    "no optimizer": (put("optimizer", None), "the saved optimizer has groups of"),
    "moment": (put("optimizer", "state", 0, "momentum_buffer", torch.ones(2)), "momentum_buffer of 0.weight has shape"),
    "checksums": (put("checksums", [1]), "another number of parameters"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_state_is_refused_with_nothing_changed(case: str) -> None:
    of_model, of_optimizer, _ = saved()
    model = network(7)
    model.load_state_dict(of_model)
    sparse = wrapped(model, 5)
    mutate, message = WRONG[case]
    wrong = copy.deepcopy(of_optimizer)
    mutate(wrong)
    before = copy.deepcopy((model.state_dict(), sparse.state_dict()))
    with pytest.raises(BadInput, match=message) as caught:
        sparse.load_state_dict(wrong)
    assert "\n" not in str(caught.value)
    after = (model.state_dict(), sparse.state_dict())
    assert repr(after) == repr(before)
    assert after[1]["checksums"] == before[1]["checksums"]
    sparse.load_state_dict(of_optimizer)
    assert int((model[0].weight != 0).sum()) <= sparse.masks.n_active["0.weight"]
    advance(model, sparse, range(11, 12))


@pytest.mark.parametrize("state", [{}, [], None, 3])
def test_something_else_is_no_state(state: Any) -> None:
    with pytest.raises(BadInput, match="this is no state of a SparseOptimizer"):
        wrapped(network(0), 0).load_state_dict(state)


def test_integers_of_a_weights_shape_are_refused() -> None:
    """Zero may be any number in an optimizer that keeps its moments in eight bits."""
    model = network(0)
    sparse = wrapped(model, 0, method="static")
    state = sparse.optimizer.state
    state[model[0].weight] = {"state1": torch.zeros(24, 10, dtype=torch.uint8)}
    with pytest.raises(BadInput, match=r"SGD keeps state1 of weight 0.weight as Tensor of torch.uint8"):
        SparseOptimizer(
            sparse.optimizer, weights=sparse.weights, masks=sparse.masks, method=sparse.method,
            schedule=sparse.schedule, generator=sparse.generator,
        )  # fmt: skip
