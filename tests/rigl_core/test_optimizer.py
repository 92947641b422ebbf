"""SparseOptimizer on layers small enough to follow by hand, and the defects known from other implementations."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from rigl_core.errors import BadInput
from rigl_core.masks import MaskState
from rigl_core.methods import METHODS
from rigl_core.native import build, zeroing
from rigl_core.optimizer import SparseOptimizer
from rigl_core.schedules import UpdateSchedule


@pytest.fixture(params=["numbers", "compiled"], autouse=True)
def masks_multiply(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which masks are kept and multiplied by."""
    if request.param == "compiled":
        if isinstance(build.topology(), str):
            pytest.skip(f"no native code: {build.topology()}")
        monkeypatch.setattr(zeroing, "WORTH_IT", 0)


def make(
    weight: list[list[float]],
    mask: list[list[bool]],
    *,
    method: str = "rigl",
    alpha: float = 0.5,
    optimizer: type[torch.optim.Optimizer] = torch.optim.SGD,
    grow_accumulation: int = 1,
    **options: float,
) -> tuple[SparseOptimizer, nn.Parameter]:
    parameter = nn.Parameter(torch.tensor(weight))
    masks = MaskState({"w": torch.tensor(mask)}, {"w": sum(map(sum, mask))})
    sparse = SparseOptimizer(
        optimizer([parameter], **{"lr": 0.1, **options}),
        weights={"w": parameter},
        masks=masks,
        method=METHODS[method],
        schedule=UpdateSchedule(delta_t=2, t_end=100, alpha=alpha, anneal="constant"),
        generator=torch.Generator().manual_seed(0),
        grow_accumulation=grow_accumulation,
    )
    return sparse, parameter


def give_gradient(parameter: nn.Parameter, gradient: list[list[float]]) -> None:
    parameter.grad = torch.tensor(gradient)


def test_weights_outside_the_mask_are_zeroed_at_once() -> None:
    _, weight = make([[1.0, 2.0], [3.0, 4.0]], [[True, False], [False, True]])
    assert weight.tolist() == [[1.0, 0.0], [0.0, 4.0]]


def test_a_weight_step_by_hand() -> None:
    sparse, weight = make([[1.0, 2.0], [3.0, 4.0]], [[True, False], [True, True]], weight_decay=0.1)
    give_gradient(weight, [[1.0, 5.0], [0.0, -1.0]])
    assert sparse.step(0) is None
    # w - 0.1 · (g + 0.1 w), where active
    assert weight.detach().numpy() == pytest.approx(torch.tensor([[0.89, 0.0], [2.97, 4.06]]).numpy())


def test_a_topology_step_by_hand() -> None:
    sparse, weight = make([[1.0, 0.2], [3.0, 0.5]], [[True, False], [True, True]], alpha=0.4, momentum=0.9)
    give_gradient(weight, [[1.0, 1.0], [1.0, 1.0]])
    sparse.step(0)  # weights 0.9, 0, 2.9, 0.4; momentum 1, 0, 1, 1
    give_gradient(weight, [[0.1, 7.0], [0.0, 0.2]])
    change = sparse.step(2)
    assert change is not None
    assert change.n_drop == {"w": 1}  # int(0.4 · 3)
    assert sparse.masks.masks["w"].tolist() == [[True, True], [True, False]]
    assert weight.detach().numpy() == pytest.approx(torch.tensor([[0.9, 0.0], [2.9, 0.0]]).numpy())
    momentum = sparse.optimizer.state[weight]["momentum_buffer"]
    assert momentum.tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_a_topology_step_that_trains_the_weights_as_well_by_hand() -> None:
    sparse, weight = make([[1.0, 0.2], [3.0, 0.5]], [[True, False], [True, True]], alpha=0.4, momentum=0.9)
    sparse.method = replace(sparse.method, replaces_weight_step=False)
    give_gradient(weight, [[0.1, 7.0], [0.0, 0.2]])
    sparse.step(2)  # the lower right one is dropped, the upper right one is grown, and then is trained
    assert weight.detach().flatten().tolist() == pytest.approx([0.99, -0.7, 3.0, 0.0])
    assert sparse.weight_steps(5) == 5


def test_plain_steps_are_those_that_only_train_weights() -> None:
    one, _ = make([[1.0, 0.0]], [[True, False]])  # topology steps 2, 4, 6
    assert [step for step in range(6) if one.is_plain(step)] == [0, 1, 3, 5]
    assert one.weight_steps(5) == 3
    two, _ = make([[1.0, 0.0]], [[True, False]], grow_accumulation=2)
    assert [step for step in range(6) if two.is_plain(step)] == [0]
    assert [step for step in range(6) if two.sums_gradients_after(step)] == [1, 3, 5]
    static, _ = make([[1.0, 0.0]], [[True, False]], method="static", grow_accumulation=2)
    assert all(map(static.is_plain, range(6)))
    assert static.weight_steps(5) == 5


def test_a_dropped_weight_that_comes_straight_back_keeps_its_value() -> None:
    sparse, weight = make([[1.0, 0.2], [3.0, 0.5]], [[True, False], [True, True]], alpha=0.4)
    give_gradient(weight, [[0.0, 1.0], [0.0, 9.0]])
    sparse.step(2)
    assert weight.tolist() == [[1.0, 0.0], [3.0, 0.5]]
    assert sparse.masks.masks["w"].tolist() == [[True, False], [True, True]]


def test_gradient_ties_lose_no_connection() -> None:
    """A peer lost connections where gradients were equal."""
    sparse, weight = make([[1.0, 2.0, 3.0, 4.0, 0.0, 0.0]], [[True] * 4 + [False] * 2], alpha=1.0)
    give_gradient(weight, [[0.0] * 6])
    sparse.step(2)
    assert int(sparse.masks.masks["w"].sum()) == 4


def test_set_never_drifts_over_many_updates() -> None:
    """A peer grew each weight with a probability, and its counts wandered."""
    sparse, weight = make([[float(i) for i in range(50)]], [[i % 3 == 0 for i in range(50)]], method="set")
    seen = sparse.masks.masks["w"].clone()
    for step in range(0, 98):
        give_gradient(weight, [[1.0] * 50])
        sparse.step(step)
        seen |= sparse.masks.masks["w"]
        assert int(sparse.masks.masks["w"].sum()) == 17
    assert seen.all()  # random growth reaches every position in time


def test_a_dense_layer_loses_nothing() -> None:
    """A peer's dense layers lost weights at an update."""
    sparse, weight = make([[1.0, 2.0]], [[True, True]], alpha=1.0)
    give_gradient(weight, [[5.0, 6.0]])
    sparse.step(2)
    assert weight.tolist() == [[1.0, 2.0]]


def test_a_one_weight_layer() -> None:
    sparse, weight = make([[1.0]], [[True]], alpha=1.0)
    for step in range(4):
        give_gradient(weight, [[1.0]])
        sparse.step(step)
    assert sparse.masks.masks["w"].tolist() == [[True]]


def test_adam_state_is_zero_outside_the_mask() -> None:
    """A peer left Adam's moments where weights had been dropped."""
    sparse, weight = make([[1.0, 0.2], [3.0, 0.5]], [[True, False], [True, True]], optimizer=torch.optim.Adam)
    for step in range(7):
        give_gradient(weight, [[1.0 + step, 7.0], [1.0, 0.2 * step]])
        sparse.step(step)
        outside = ~sparse.masks.masks["w"]
        for key in ("exp_avg", "exp_avg_sq") if step else ():
            assert torch.count_nonzero(sparse.optimizer.state[weight][key][outside]) == 0, (step, key)


def test_clipping_measures_active_weights_only_and_leaves_scores_alone() -> None:
    sparse, weight = make([[1.0, 0.0], [3.0, 0.5]], [[True, False], [True, True]], lr=1.0)
    sparse.clip_norm = 1.0
    give_gradient(weight, [[3.0, 100.0], [0.0, 4.0]])  # norm 5 of the active ones
    sparse.step(1)
    assert weight.detach().flatten().tolist() == pytest.approx([1 - 0.6, 0.0, 3.0, 0.5 - 0.8], abs=1e-5)
    give_gradient(weight, [[3.0, 100.0], [0.0, 4.0]])
    sparse.step(2)  # a topology step, which clips nothing
    assert sparse.masks.masks["w"].tolist() == [[True, True], [True, False]]
    assert weight.grad.tolist() == [[3.0, 100.0], [0.0, 4.0]]


def test_clipping_leaves_a_small_gradient_alone() -> None:
    sparse, weight = make([[1.0, 2.0]], [[True, True]], lr=1.0)
    sparse.clip_norm = 10.0
    give_gradient(weight, [[0.5, 0.25]])
    sparse.step(1)
    assert weight.tolist() == [[0.5, 1.75]]


def test_clipping_measures_all_weights_where_momentum_is_dense() -> None:
    sparse, weight = make([[1.0, 0.0]], [[True, False]], method="snfs", lr=1.0, momentum=0.9)
    sparse.clip_norm = 1.0
    give_gradient(weight, [[3.0, 4.0]])
    sparse.step(1)
    assert weight.detach().flatten().tolist() == pytest.approx([1 - 0.6, 0.0], abs=1e-5)
    buffer = sparse.optimizer.state[weight]["momentum_buffer"]
    assert buffer.flatten().tolist() == pytest.approx([0.6, 0.8], abs=1e-5)


def test_a_topology_step_with_dense_momentum_by_hand() -> None:
    sparse, weight = make(
        [[1.0, 0.2], [3.0, 0.5]], [[True, False], [True, True]], method="snfs", alpha=0.4, momentum=0.9
    )
    give_gradient(weight, [[1.0, 5.0], [1.0, 1.0]])
    sparse.step(0)  # weights 0.9, 0, 2.9, 0.4; the momentum is the gradient
    sparse.step(2)
    assert sparse.masks.masks["w"].tolist() == [[True, True], [True, False]]
    assert weight.detach().flatten().tolist() == pytest.approx([0.9, 0.0, 2.9, 0.0])
    # The newborn one begins without, and that of the dropped one stays.
    assert sparse.optimizer.state[weight]["momentum_buffer"].tolist() == [[1.0, 0.0], [1.0, 1.0]]


def test_a_step_without_gradients_changes_nothing() -> None:
    sparse, weight = make([[1.0, 2.0]], [[True, False]], momentum=0.9, weight_decay=0.1)
    assert sparse.step(1) is None
    assert weight.tolist() == [[1.0, 0.0]]


def test_state_round_trip() -> None:
    sparse, weight = make([[1.0, 0.2], [3.0, 0.5]], [[True, False], [True, True]], momentum=0.9)
    give_gradient(weight, [[1.0, 7.0], [1.0, 0.2]])
    sparse.step(1)
    sparse.step(2)
    other, _ = make([[9.0, 9.0], [9.0, 9.0]], [[False, True], [True, True]], momentum=0.9)
    other.load_state_dict(sparse.state_dict())
    assert torch.equal(other.masks.masks["w"], sparse.masks.masks["w"])
    assert other.masks.n_active == sparse.masks.n_active
    restored = other.optimizer.state[other.weights["w"]]["momentum_buffer"]
    assert torch.equal(restored, sparse.optimizer.state[weight]["momentum_buffer"])


def test_sums_of_gradients_are_not_shared_with_the_state_they_came_from() -> None:
    sparse, weight = make([[1.0, 0.2, 3.0]], [[True, False, True]], grow_accumulation=5)
    give_gradient(weight, [[1.0, 7.0, 1.0]])
    sparse.step(1)
    state = sparse.state_dict()
    other, _ = make([[1.0, 0.2, 3.0]], [[True, False, True]], grow_accumulation=5)
    other.load_state_dict(state)
    state["gradient_sum"]["w"].zero_()
    assert other.state_dict()["gradient_sum"]["w"].tolist() == [[1.0, 7.0, 1.0]]


def test_an_optimizer_takes_over_the_memory_that_a_recorded_step_reads() -> None:
    before, weight = make([[1.0, 2.0, 3.0]], [[True, False, True]])
    after = SparseOptimizer(
        before.optimizer,
        weights={"w": weight},
        masks=MaskState({"w": torch.tensor([[False, True, True]])}, {"w": 2}),
        method=METHODS["set"],
        schedule=before.schedule,
        generator=before.generator,
        mask_memory=before.memory,
    )
    assert after.masks.masks["w"].tolist() == [[False, True, True]]
    give_gradient(weight, [[10.0, 40.0, 20.0]])
    before.weight_step()  # as it was recorded: with the masks of now
    assert weight.tolist() == [[0.0, -4.0, 1.0]]


def test_bad_input() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    arguments = {
        "weights": {"w": parameter},
        "method": METHODS["rigl"],
        "schedule": UpdateSchedule(delta_t=1, t_end=10),
        "generator": torch.Generator(),
    }
    good = MaskState({"w": torch.ones(2, 2, dtype=torch.bool)}, {"w": 4})
    with pytest.raises(BadInput, match="the set of masks does not fit the weights to mask: w missing"):
        SparseOptimizer(torch.optim.SGD([parameter]), masks=MaskState({}, {}), **arguments)
    flat = MaskState({"w": torch.ones(4, dtype=torch.bool)}, {"w": 4})
    with pytest.raises(BadInput, match=r"weight w of shape \(2, 2\) has no mask of that shape"):
        SparseOptimizer(torch.optim.SGD([parameter]), masks=flat, **arguments)
    with pytest.raises(BadInput, match="a method that prunes along a ramp needs a CubicRamp"):
        SparseOptimizer(torch.optim.SGD([parameter]), masks=good, **{**arguments, "method": METHODS["pruning"]})
    with pytest.raises(BadInput, match="weight w is not among the optimizer's parameters"):
        SparseOptimizer(torch.optim.SGD([nn.Parameter(torch.ones(1))]), masks=good, **arguments)
    sparse, _ = make([[1.0, 2.0, 3.0]], [[True, True, False]])
    with pytest.raises(BadInput, match="weight w has no gradient at topology step 2"):
        sparse.step(2)
