"""What every method must do on every model, step by step on small images and a short text."""

from copy import deepcopy

import pytest
import torch

from rigl_core.config import TrainConfig
from rigl_core.data.task import Task, load_task
from rigl_core.methods import METHODS
from rigl_core.models import MODELS
from rigl_core.replica import Replica
from rigl_core.schedules import CubicRamp

N_STEPS = 12
"""Of a whole training. No test goes so far."""
IMAGES = {"channels": 1, "height": 8, "width": 8, "num_classes": 4, "n_train": 32, "n_eval": 16}
TEXT = {"n_characters": 32 * 8 * 10 // 9 + 20, "sequence_length": 8}
"""32 sequences to train on, as there are images."""
DATA = {"images": {"dataset": "synthetic", "dataset_options": IMAGES},
        "text": {"dataset": "synthetic_text", "dataset_options": TEXT}}  # fmt: skip
SMALL = {"wrn": {"depth": 10, "width": 0.5, "dropout": 0.2}, "resnet50": {"width": 0.05}, "char_gru": {"width": 0.05}}
"""Options that keep a model small enough for a step to take milliseconds."""
DEEP = {"wrn_22_2", "resnet50"}
"""Models with so many layers that a step takes long: trained less far, and saved at one place, not two."""
UNLIKE = {"rigl", "rigl_sm", "pruning"}
"""Methods that have the least in common: weights stay in their layer, move to others, or become fewer."""
BY_ADAM = {"lenet_300_100 by adam", "char_gru by adam"}
"""Models once more, trained by Adam with clipped gradients instead of SGD."""

ALL = [(method, model) for model in [*MODELS, *sorted(BY_ADAM)] for method in METHODS]
every_pair = pytest.mark.parametrize(("method", "model"), ALL)
# Of what a schedule says a deep network cannot know more than a shallow one with layers of the same kinds.
every_pair_but_few_deep = pytest.mark.parametrize(
    ("method", "model"), [(method, model) for method, model in ALL if model not in DEEP or method in UNLIKE]
)


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    """One of each kind, read once."""
    return {kind: load_task(TrainConfig.model_validate({"model": model, **DATA[kind]})) for kind, model in
            (("images", "lenet_300_100"), ("text", "char_gru"))}  # fmt: skip


def make(method: str, model: str, tasks: dict[str, Task], *, seed: int = 0, **changes: object) -> Replica:
    by_adam = {"optimizer": "adam", "lr": 0.01, "clip_norm": 0.5} if model in BY_ADAM else {}
    model = model.removesuffix(" by adam")
    kind = MODELS[model].reads
    arguments = {
        "sparsity": 0.8,
        "alpha": 0.4,
        "delta_t": 2,
        "t_end_fraction": 1.0,
        "lr": 0.05,
        "batch_size": 8,
        "ramp_start": 1,
        "warmup_steps": 0,
    }
    config = TrainConfig.model_validate(
        {
            **arguments,
            "method": method,
            "model": model,
            "model_options": SMALL.get(model, {}),
            **DATA[kind],
            "epochs": 3,
            "seeds": [seed],
            **by_adam,
            **changes,
        }
    )
    return Replica(config, tasks[kind], seed, N_STEPS, "cpu")


def advance(replica: Replica, first: int, last: int) -> None:
    for step in range(first, last):
        replica.train_step(*divmod(step, 4), step)


def moments(replica: Replica, name: str) -> list[torch.Tensor]:
    """What the optimizer remembers of each weight: SGD's momentum or both moments of Adam; nothing before a step."""
    state = replica.sparse.optimizer.state[replica.sparse.weights[name]]
    return [state[key] for key in ("momentum_buffer", "exp_avg", "exp_avg_sq") if state.get(key) is not None]


def n_steps(model: str) -> int:
    """How far a model is trained; steps 2, 4, ... may change its masks."""
    return 6 if model in DEEP else 9


PAST_TWO_UPDATES = 5
"""Steps that suffice where nothing may move."""


def masks(replica: Replica) -> dict[str, torch.Tensor]:
    return {name: mask.clone() for name, mask in replica.masks.masks.items()}


def expected_total(replica: Replica, step: int, before: int) -> int:
    """How many weights must be active after `step`, if `before` were when training began."""
    schedule = replica.sparse.schedule
    if not isinstance(schedule, CubicRamp):
        return before
    last = max((s for s in range(step + 1) if schedule.is_update_step(s)), default=0)
    return round((1 - schedule.sparsity_at(last)) * before)


@every_pair
def test_laws_at_every_step(method: str, model: str, tasks: dict[str, Task]) -> None:
    """Zero outside the mask, counts kept, and what was explored only grows and holds the masks."""
    replica = make(method, model, tasks)
    row, budgets, sparsity = METHODS[method], dict(replica.masks.n_active), replica.masks.sparsity()
    fractions = [replica.sparse.explored_fraction()]
    for step in range(n_steps(model)):
        advance(replica, step, step + 1)
        for name, weight in replica.sparse.weights.items():
            mask = replica.masks.masks[name]
            assert int(mask.sum()) == replica.masks.n_active[name], (step, name)
            if row.redistribute is None and not row.ramp:
                assert replica.masks.n_active[name] == budgets[name], (step, name)
            assert torch.count_nonzero(weight[~mask]) == 0, (step, name)
            for moment in moments(replica, name):
                assert row.dense_momentum or torch.count_nonzero(moment[~mask]) == 0, (step, name)
            assert (replica.sparse.explored[name] | ~mask).all(), (step, name)
        assert sum(replica.masks.n_active.values()) == expected_total(replica, step, sum(budgets.values())), step
        fractions.append(replica.sparse.explored_fraction())
    assert fractions == sorted(fractions)
    assert fractions[0] == pytest.approx(1 - sparsity)
    assert (fractions[-1] > fractions[0]) == (row.updates_topology and not row.ramp)


@every_pair
def test_a_topology_step_moves_masks_but_trains_nothing(method: str, model: str, tasks: dict[str, Task]) -> None:
    replica = make(method, model, tasks)
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
        assert len(moments(replica, name)) == (2 if model in BY_ADAM else 1)
        for moment in moments(replica, name):
            assert torch.count_nonzero(moment[newborn]) == 0, name
        assert int((old & ~new).sum()) <= change.n_drop[name]
    assert dropped > 0


@every_pair
def test_a_dense_layer_stays_dense(method: str, model: str, tasks: dict[str, Task]) -> None:
    if METHODS[method].ramp:
        pytest.skip("pruning drops from every layer")
    replica = make(method, model, tasks, distribution="uniform")
    advance(replica, 0, PAST_TWO_UPDATES)
    first = next(iter(replica.masks.masks.values()))
    # Of a network that reads text the first layer is the embedding, which has no mask.
    assert first.all() == (MODELS[model.removesuffix(" by adam")].reads == "images" or not METHODS[method].sparse)


@every_pair_but_few_deep
def test_alpha_zero_changes_nothing(method: str, model: str, tasks: dict[str, Task]) -> None:
    if METHODS[method].ramp:
        pytest.skip("pruning has no alpha")
    replica = make(method, model, tasks, alpha=0.0)
    before = masks(replica)
    advance(replica, 0, PAST_TWO_UPDATES)
    assert all(torch.equal(before[name], mask) for name, mask in replica.masks.masks.items())


@every_pair_but_few_deep
def test_averaged_gradients_resume_in_the_middle(method: str, model: str, tasks: dict[str, Task]) -> None:
    straight, second = (make(method, model, tasks, grow_accumulation=3, delta_t=5) for _ in range(2))
    advance(straight, 0, 5)  # two of three gradients are remembered
    second.load_state_dict(deepcopy(straight.state_dict()))
    advance(straight, 5, 8)
    advance(second, 5, 8)
    assert all(torch.equal(mask, second.masks.masks[name]) for name, mask in straight.masks.masks.items())
    assert all(torch.equal(weight, second.sparse.weights[name]) for name, weight in straight.sparse.weights.items())


@every_pair_but_few_deep
def test_alpha_one_keeps_the_counts(method: str, model: str, tasks: dict[str, Task]) -> None:
    replica = make(method, model, tasks, alpha=1.0, anneal="constant")
    row, first = METHODS[method], {name: int(mask.sum()) for name, mask in replica.masks.masks.items()}
    for step in range(n_steps(model)):
        advance(replica, step, step + 1)
        now = {name: int(mask.sum()) for name, mask in replica.masks.masks.items()}
        assert sum(now.values()) == expected_total(replica, step, sum(first.values())), step
        if row.redistribute is None and not row.ramp:
            assert now == first, step


@every_pair_but_few_deep
def test_delta_t_beyond_training_is_static(method: str, model: str, tasks: dict[str, Task]) -> None:
    if METHODS[method].ramp:
        pytest.skip("pruning always ends at its sparsity")
    replica = make(method, model, tasks, delta_t=1000)
    before = masks(replica)
    advance(replica, 0, PAST_TWO_UPDATES)
    assert all(torch.equal(before[name], mask) for name, mask in replica.masks.masks.items())


@every_pair_but_few_deep
def test_same_seed_same_run_and_another_seed_another(method: str, model: str, tasks: dict[str, Task]) -> None:
    one, two, other = (make(method, model, tasks, seed=seed) for seed in (3, 3, 4))
    for replica in (one, two, other):
        advance(replica, 0, 3)  # the last of which may move weights
    for name, weight in one.sparse.weights.items():
        assert torch.equal(weight, two.sparse.weights[name])
        assert torch.equal(one.masks.masks[name], two.masks.masks[name])
    assert any(not torch.equal(weight, other.sparse.weights[name]) for name, weight in one.sparse.weights.items())


@every_pair
def test_saved_and_loaded_in_the_middle_is_identical(method: str, model: str, tasks: dict[str, Task]) -> None:
    straight, saved = make(method, model, tasks), {}
    for step in range(n_steps(model)):
        if step in ((3,) if model in DEEP else (2, 5)):
            saved[step] = deepcopy(straight.state_dict())
        advance(straight, step, step + 1)
    loss = straight.take_loss()
    for middle, state in saved.items():
        second_half = make(method, model, tasks, seed=99)
        second_half.seed = straight.seed  # everything else must come from the state
        second_half.load_state_dict(state)
        advance(second_half, middle, n_steps(model))
        ended = second_half.model.state_dict()
        for name, tensor in straight.model.state_dict().items():
            assert torch.equal(tensor, ended[name]), (middle, name)
        for name, mask in straight.masks.masks.items():
            assert torch.equal(mask, second_half.masks.masks[name]), (middle, name)
        assert loss == second_half.take_loss(), middle
