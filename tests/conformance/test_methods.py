"""What every method must do on every model (DESIGN §5), step by step on small images."""

import pytest
import torch

from rigl_core.config import TrainConfig
from rigl_core.data.images import ImageData, load_dataset
from rigl_core.methods import METHODS
from rigl_core.models import MODELS
from rigl_core.replica import Replica
from rigl_core.schedules import CubicRamp

N_STEPS = 12
IMAGES = {"channels": 1, "height": 8, "width": 8, "num_classes": 4, "n_train": 64, "n_eval": 32}
SMALL = {"wrn": {"depth": 10, "width": 1, "dropout": 0.2}, "resnet50": {"width": 0.05}}
"""Options that keep a model small enough for a step to take milliseconds."""

pytestmark = [
    pytest.mark.parametrize("method", METHODS),
    pytest.mark.parametrize("model", MODELS),
]


@pytest.fixture(scope="module")
def images() -> ImageData:
    return load_dataset("synthetic", options=IMAGES)


def make(method: str, model: str, images: ImageData, *, seed: int = 0, **changes: object) -> Replica:
    arguments = {
        "sparsity": 0.8,
        "alpha": 0.4,
        "delta_t": 2,
        "t_end_fraction": 1.0,
        "lr": 0.05,
        "batch_size": 16,
        "ramp_start": 1,
        "warmup_steps": 0,
    }
    config = TrainConfig.model_validate(
        {
            **arguments,
            "method": method,
            "model": model,
            "model_options": SMALL.get(model, {}),
            "dataset": "synthetic",
            "dataset_options": IMAGES,
            "epochs": 3,
            "seeds": [seed],
            **changes,
        }
    )
    return Replica(config, images, seed, N_STEPS, "cpu")


def advance(replica: Replica, first: int, last: int) -> None:
    for step in range(first, last):
        replica.train_step(*divmod(step, 4), step)


def momentum(replica: Replica, name: str) -> torch.Tensor | None:
    state = replica.sparse.optimizer.state[replica.sparse.weights[name]]
    return state.get("momentum_buffer")


def masks(replica: Replica) -> dict[str, torch.Tensor]:
    return {name: mask.clone() for name, mask in replica.masks.masks.items()}


def expected_total(replica: Replica, step: int, before: int) -> int:
    """How many weights must be active after `step`, if `before` were when training began."""
    schedule = replica.sparse.schedule
    if not isinstance(schedule, CubicRamp):
        return before
    last = max((s for s in range(step + 1) if schedule.is_update_step(s)), default=0)
    return round((1 - schedule.sparsity_at(last)) * before)


def test_zero_outside_the_mask_and_counts_kept_at_every_step(method: str, model: str, images: ImageData) -> None:
    replica = make(method, model, images)
    row, budgets = METHODS[method], dict(replica.masks.n_active)
    for step in range(N_STEPS):
        advance(replica, step, step + 1)
        for name, weight in replica.sparse.weights.items():
            mask = replica.masks.masks[name]
            assert int(mask.sum()) == replica.masks.n_active[name], (step, name)
            if row.redistribute is None and not row.ramp:
                assert replica.masks.n_active[name] == budgets[name], (step, name)
            assert torch.count_nonzero(weight[~mask]) == 0, (step, name)
            buffer = momentum(replica, name)
            assert buffer is None or row.dense_momentum or torch.count_nonzero(buffer[~mask]) == 0, (step, name)
        assert sum(replica.masks.n_active.values()) == expected_total(replica, step, sum(budgets.values())), step


def test_a_topology_step_moves_masks_but_trains_nothing(method: str, model: str, images: ImageData) -> None:
    replica = make(method, model, images)
    first_update = next((s for s in range(1, N_STEPS) if replica.sparse.schedule.is_update_step(s)), 2)
    advance(replica, 0, first_update)
    before, weights = masks(replica), {n: w.detach().clone() for n, w in replica.sparse.weights.items()}
    change = replica.train_step(*divmod(first_update, 4), first_update)
    if not METHODS[method].updates_topology:
        assert change is None
        assert all(torch.equal(before[name], mask) for name, mask in replica.masks.masks.items())
        return
    assert change is not None
    assert change.step == first_update
    dropped = 0
    for name, weight in replica.sparse.weights.items():
        old, new = before[name], replica.masks.masks[name]
        newborn, survivors = new & ~old, new & old
        dropped += int((old & ~new).sum())
        assert torch.count_nonzero(weight[newborn]) == 0, name
        assert torch.equal(weight[survivors], weights[name][survivors]), name
        buffer = momentum(replica, name)
        assert buffer is not None
        assert torch.count_nonzero(buffer[newborn]) == 0, name
        assert int((old & ~new).sum()) <= change.n_drop[name]
    assert dropped > 0


def test_explored_only_grows_and_holds_the_masks(method: str, model: str, images: ImageData) -> None:
    replica = make(method, model, images)
    fractions = [replica.sparse.explored_fraction()]
    for step in range(N_STEPS):
        advance(replica, step, step + 1)
        fractions.append(replica.sparse.explored_fraction())
        for name, mask in replica.masks.masks.items():
            assert (replica.sparse.explored[name] | ~mask).all()
    assert fractions == sorted(fractions)
    assert fractions[0] == pytest.approx(1 - make(method, model, images).masks.sparsity())
    moves = METHODS[method].updates_topology and not METHODS[method].ramp
    assert (fractions[-1] > fractions[0]) == moves


def test_a_dense_layer_stays_dense(method: str, model: str, images: ImageData) -> None:
    if METHODS[method].ramp:
        pytest.skip("pruning drops from every layer")
    replica = make(method, model, images, distribution="uniform")
    advance(replica, 0, N_STEPS)
    first = next(iter(replica.masks.masks.values()))
    assert first.all()


def test_alpha_zero_changes_nothing(method: str, model: str, images: ImageData) -> None:
    if METHODS[method].ramp:
        pytest.skip("pruning has no alpha")
    replica = make(method, model, images, alpha=0.0)
    before = masks(replica)
    advance(replica, 0, N_STEPS)
    assert all(torch.equal(before[name], mask) for name, mask in replica.masks.masks.items())


def test_averaged_gradients_resume_in_the_middle(method: str, model: str, images: ImageData) -> None:
    straight, first, second = (make(method, model, images, grow_accumulation=3, delta_t=5) for _ in range(3))
    advance(straight, 0, N_STEPS)
    advance(first, 0, 5)  # two of three gradients are remembered
    second.load_state_dict(first.state_dict())
    advance(second, 5, N_STEPS)
    assert all(torch.equal(mask, second.masks.masks[name]) for name, mask in straight.masks.masks.items())
    assert all(torch.equal(weight, second.sparse.weights[name]) for name, weight in straight.sparse.weights.items())


def test_alpha_one_keeps_the_counts(method: str, model: str, images: ImageData) -> None:
    replica = make(method, model, images, alpha=1.0, anneal="constant")
    advance(replica, 0, N_STEPS)
    assert all(int(mask.sum()) == replica.masks.n_active[name] for name, mask in replica.masks.masks.items())


def test_delta_t_beyond_training_is_static(method: str, model: str, images: ImageData) -> None:
    if METHODS[method].ramp:
        pytest.skip("pruning always ends at its sparsity")
    replica = make(method, model, images, delta_t=1000)
    before = masks(replica)
    advance(replica, 0, N_STEPS)
    assert all(torch.equal(before[name], mask) for name, mask in replica.masks.masks.items())


def test_same_seed_same_run_and_another_seed_another(method: str, model: str, images: ImageData) -> None:
    one, two, other = (make(method, model, images, seed=seed) for seed in (3, 3, 4))
    for replica in (one, two, other):
        advance(replica, 0, N_STEPS)
    for name, weight in one.sparse.weights.items():
        assert torch.equal(weight, two.sparse.weights[name])
        assert torch.equal(one.masks.masks[name], two.masks.masks[name])
    assert any(not torch.equal(weight, other.sparse.weights[name]) for name, weight in one.sparse.weights.items())


@pytest.mark.parametrize("middle", [1, 2, 5, 8])
def test_saved_and_loaded_in_the_middle_is_identical(method: str, model: str, middle: int, images: ImageData) -> None:
    straight = make(method, model, images)
    advance(straight, 0, N_STEPS)
    first_half = make(method, model, images)
    advance(first_half, 0, middle)
    second_half = make(method, model, images, seed=99)
    second_half.seed = first_half.seed  # everything else must come from the state
    second_half.load_state_dict(first_half.state_dict())
    advance(second_half, middle, N_STEPS)
    for (name, a), b in zip(straight.model.state_dict().items(), second_half.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert all(torch.equal(m, second_half.masks.masks[name]) for name, m in straight.masks.masks.items())
    assert straight.take_loss() == second_half.take_loss()
