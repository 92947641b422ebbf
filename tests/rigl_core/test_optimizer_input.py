"""What `SparseOptimizer` refuses, by name, before it changes anything."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rigl_core.errors import BadInput
from rigl_core.masks import MaskState
from rigl_core.methods import METHODS
from rigl_core.optimizer import SparseOptimizer
from rigl_core.optimizer_input import matched
from rigl_core.schedules import UpdateSchedule
from rigl_core.scores import momentum_of

MASK = [[True, False], [True, True]]


def make(
    masks: MaskState, optimizer: Any = None, *, method: str = "rigl", weights: Any = None
) -> tuple[SparseOptimizer, nn.Parameter]:
    weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    made = optimizer([weight]) if optimizer else torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    sparse = SparseOptimizer(
        made,
        weights={"w": weight} if weights is None else weights(weight),
        masks=masks,
        method=METHODS[method],
        schedule=UpdateSchedule(delta_t=2, t_end=100),
        generator=torch.Generator(),
    )
    return sparse, weight


def good() -> MaskState:
    return MaskState({"w": torch.tensor(MASK)}, {"w": 3})


def other(**changes: Any) -> MaskState:
    state = good()
    for name, value in changes.items():
        getattr(state, name).update(value)
    return state


WRONG_MASKS = {
    "count": (other(n_active={"w": 2}), "the mask of weight w has 3 active weights, and n_active says 2"),
    "type": (other(masks={"w": torch.tensor(MASK).float()}), "the mask of weight w is torch.float32"),
    "not a number": (other(masks={"w": torch.full((2, 2), float("nan"))}), "the mask of weight w is torch.float32"),
    "shape": (other(masks={"w": torch.ones(4, dtype=torch.bool)}), r"weight w of shape \(2, 2\) has no mask"),
    "a layer more": (other(masks={"v": torch.tensor(MASK)}), "set of masks does not fit .*: v unknown"),
    "a count more": (other(n_active={"v": 1}), "n_active of the set of masks does not fit .*: v unknown"),
    "no int": (other(n_active={"w": torch.tensor(3)}), "n_active of weight w is a Tensor"),
    "another layer": (MaskState({"v": torch.tensor(MASK)}, {"v": 3}), "set of masks does not fit .*: w missing, v unk"),
}


@pytest.mark.parametrize("case", WRONG_MASKS)
def test_masks_that_do_not_fit_are_refused_and_no_weight_is_changed(case: str) -> None:
    masks, message = WRONG_MASKS[case]
    seen: list[Tensor] = []

    def weights(weight: nn.Parameter) -> dict[str, nn.Parameter]:
        seen.append(weight)
        return {"w": weight}

    with pytest.raises(BadInput, match=message):
        make(masks, weights=weights)
    assert seen[0].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_method_without_masks_refuses_masks_that_are_sparse() -> None:
    with pytest.raises(BadInput, match="the method masks nothing, and the mask of weight w is not True everywhere"):
        make(good(), method="dense")


def test_weights_that_cannot_be_trained_are_refused() -> None:
    with pytest.raises(BadInput, match="weight w is frozen"):
        make(good(), weights=lambda weight: {"w": weight.requires_grad_(False)})
    with pytest.raises(BadInput, match="weights w and v are one tensor"):
        make(other(masks={"v": torch.tensor(MASK)}, n_active={"v": 3}), weights=lambda w: {"w": w, "v": w})


NO_MOMENTUM = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.1), "momentum, which is 0 for weight w; set it above 0, for example 0.9"),
    "RMSprop": (torch.optim.RMSprop, "momentum, which is 0 for weight w"),
    "Adam": (lambda p: torch.optim.Adam(p, betas=(0.0, 0.9)), "momentum, which is 0 for weight w"),
    "Adagrad": (torch.optim.Adagrad, "momentum, and Adagrad keeps none for weight w"),
    "Adadelta": (torch.optim.Adadelta, "momentum, and Adadelta keeps none"),
    "Adafactor": (torch.optim.Adafactor, "momentum, and Adafactor keeps none"),
    "ASGD": (torch.optim.ASGD, "momentum, and ASGD keeps none"),
}


@pytest.mark.parametrize("method", ["snfs", "rigl_sm"])
@pytest.mark.parametrize("name", NO_MOMENTUM)
def test_methods_that_look_at_momentum_need_an_optimizer_that_keeps_it(name: str, method: str) -> None:
    optimizer, message = NO_MOMENTUM[name]
    with pytest.raises(BadInput, match=f"the method looks at {message}"):
        make(good(), optimizer, method=method)
    make(good(), optimizer)  # which rigl does not mind


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax,
        lambda p: torch.optim.RMSprop(p, momentum=0.5), lambda p: torch.optim.Muon(p, lr=0.1),
    ],
)  # fmt: skip
def test_momentum_is_found_in_optimizers_that_keep_it(optimizer: Any) -> None:
    sparse, weight = make(good(), optimizer, method="snfs")
    for step in range(3):
        weight.grad = torch.tensor([[1.0, 5.0], [0.1, 0.2]])
        sparse.step(step)
    momentum = momentum_of(sparse.optimizer.state[weight])
    assert momentum is not None
    assert momentum.all()


def test_momentum_that_is_set_to_0_later_is_refused_at_the_topology_step() -> None:
    sparse, weight = make(good(), method="snfs")
    weight.grad = torch.ones(2, 2)
    sparse.step(1)
    sparse.param_groups[0]["momentum"] = 0.0
    with pytest.raises(BadInput, match="the method looks at momentum, which is 0 for weight w"):
        sparse.step(2)


def test_groups_of_parameters_are_looked_at_one_by_one() -> None:
    weights = {name: nn.Parameter(torch.ones(2, 2)) for name in ("a", "b")}
    bias = nn.Parameter(torch.ones(2))
    arguments: dict[str, Any] = {
        "weights": weights,
        "masks": MaskState({n: torch.tensor(MASK) for n in weights}, dict.fromkeys(weights, 3)),
        "method": METHODS["snfs"],
        "schedule": UpdateSchedule(delta_t=2, t_end=100),
        "generator": torch.Generator(),
    }
    groups: list[dict[str, Any]] = [
        {"params": [weights["a"]], "momentum": 0.9},
        {"params": [weights["b"]]},
        {"params": [bias], "momentum": 0.0},
    ]
    with pytest.raises(BadInput, match="which is 0 for weight b"):
        SparseOptimizer(torch.optim.SGD(groups, lr=0.1), **arguments)
    groups[1]["momentum"] = 0.5
    SparseOptimizer(torch.optim.SGD(groups, lr=0.1), **arguments)


UNFIT = {
    "LBFGS": (torch.optim.LBFGS, r"LBFGS.step\(\) asks for closure"),
    "SparseAdam": (torch.optim.SparseAdam, "SparseAdam takes sparse gradients only"),
    "Rprop": (torch.optim.Rprop, "Rprop starts each weight with a step size"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_optimizers_that_cannot_train_a_sparse_network_are_refused(name: str) -> None:
    optimizer, message = UNFIT[name]
    with pytest.raises(BadInput, match=message):
        make(good(), optimizer)


@pytest.mark.parametrize(
    "theirs", ["module.{}", "_orig_mod.{}", "module._orig_mod.{}", "_orig_mod.module.{}", "{}"], ids=str
)
def test_names_are_the_same_up_to_what_wraps_the_network(theirs: str) -> None:
    own = ["0.weight", "block.module.weight"]
    given = [theirs.format(name) for name in own]
    assert matched(own, given, "it") == dict(zip(own, given, strict=True))
    assert matched(given, own, "it") == dict(zip(given, own, strict=True))
    compiled_inside = ["0._orig_mod.weight", "block.module._orig_mod.weight"]
    assert matched(own, compiled_inside, "it") == dict(zip(own, compiled_inside, strict=True))


def test_names_that_match_nothing_or_two_are_refused() -> None:
    with pytest.raises(BadInput, match=r"^it does not fit the weights to mask: b missing, module.c unknown\.$"):
        matched(["a", "b"], ["module.a", "module.c"], "it")
    with pytest.raises(BadInput, match="2 of one side are called a"):
        matched(["a", "b"], ["module.a", "a"], "it")
    with pytest.raises(BadInput, match="w0, w1, w2 and 2 more missing"):
        matched([f"w{i}" for i in range(5)], [], "it")
    assert matched(["a", "module.a"], ["module.a", "a"], "it") == {"a": "a", "module.a": "module.a"}
