"""A replica's evaluation, loss and random streams, by hand; training itself is in `test_training_by_hand`."""

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rigl_core.config import TrainConfig
from rigl_core.data.task import Task, load_task
from rigl_core.replica import Replica

N_TRAIN, N_EVAL = 40, 30
IMAGES = {"channels": 1, "height": 8, "width": 8, "num_classes": 4, "n_train": N_TRAIN, "n_eval": N_EVAL}
TEXT = {"n_characters": 2000, "sequence_length": 8}
WRN = TrainConfig(  # with normalisation and dropout, which evaluation must not train, nor be disturbed by
    model="wrn", model_options={"depth": 10, "width": 0.25, "dropout": 0.5}, dataset="synthetic",
    dataset_options=IMAGES, sparsity=0.5, batch_size=16, delta_t=2, augmentation="crop_flip",
)  # fmt: skip
GRU = TrainConfig(
    model="char_gru", model_options={"width": 0.05}, dataset="synthetic_text", dataset_options=TEXT, batch_size=16
)


def trained(config: TrainConfig, task: Task, n_steps: int = 3, seed: int = 0) -> Replica:
    replica = Replica(config, task, seed, 100)
    for step in range(n_steps):
        replica.train_step(0, step, step)
    return replica


def probabilities(replica: Replica, part: str) -> tuple[Tensor, Tensor]:
    """Of each class at each target of a held-out part (targets, classes), and the targets, as a copy computes them."""
    twin = copy.deepcopy(replica.model).eval()
    batches = list(replica.data.held_out(part))
    with torch.no_grad():
        outputs = [twin(inputs).softmax(-1) for inputs, _ in batches]
    rows = torch.cat([output.reshape(-1, output.shape[-1]) for output in outputs])
    return rows, torch.cat([targets.reshape(-1) for _, targets in batches])


@pytest.mark.parametrize("part", ["val", "test"])
def test_an_evaluation_is_that_of_the_network_as_it_is_and_leaves_it_so(part: str) -> None:
    replica = trained(WRN, load_task(WRN))
    rows, targets = probabilities(replica, part)
    before = copy.deepcopy(replica.state_dict())
    evaluation = replica.evaluate(part)
    assert (
        evaluation.accuracy == sum(int(row.argmax()) == int(t) for row, t in zip(rows, targets, strict=True)) / N_EVAL
    )
    assert evaluation.bits_per_character is None
    after = replica.state_dict()
    assert all(torch.equal(after["model"][name], tensor) for name, tensor in before["model"].items())
    assert torch.equal(after["dropout_random"], before["dropout_random"])
    replica.train_step(0, 0, 3)  # and training goes on as training
    assert not torch.equal(replica.state_dict()["dropout_random"], before["dropout_random"])


def test_bits_per_character_by_hand() -> None:
    replica = trained(GRU, load_task(GRU))
    rows, targets = probabilities(replica, "val")
    bits = [-math.log2(float(row[t])) for row, t in zip(rows, targets, strict=True)]
    assert replica.evaluate("val").bits_per_character == pytest.approx(sum(bits) / len(bits), rel=1e-5)


def test_the_loss_of_an_epoch_is_the_mean_of_its_items_and_is_told_once() -> None:
    # Batches of 16, 16 and 8, and steps too small to change a weight.
    config = WRN.model_copy(
        update={"model": "lenet_300_100", "model_options": {}, "augmentation": "none", "lr": 1e-30, "method": "static"}
    )
    replica = trained(config, load_task(config))
    inputs, targets = replica.data.batch(torch.arange(N_TRAIN))
    with torch.no_grad():
        expected = functional.cross_entropy(replica.model(inputs), targets).item()
    assert replica.take_loss() == pytest.approx(expected, rel=1e-5)
    assert replica.take_loss() == 0.0


def test_every_epoch_of_every_seed_has_an_order_of_its_own() -> None:
    task = load_task(WRN)
    one, two = (Replica(WRN, task, seed, 100) for seed in (0, 1))
    orders = [one.order(0), one.order(1), two.order(0), two.order(1)]
    assert all(order.sort().values.tolist() == list(range(N_TRAIN)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert torch.equal(one.order(0), orders[0])


def test_seeds_share_no_stream_of_random_numbers() -> None:
    task = load_task(WRN)
    one, two = (Replica(WRN, task, seed, 100).state_dict() for seed in (0, 1))
    streams = [
        *(state[name] for state in (one, two) for name in ("augment_random", "dropout_random")),
        *(state["sparse"]["generator"] for state in (one, two)),
    ]
    assert len({tuple(stream.tolist()) for stream in streams}) == 6


def test_a_replica_that_begins_again_is_as_a_new_one() -> None:
    task = load_task(WRN)
    used = trained(WRN, task)
    other = WRN.model_copy(update={"sparsity": 0.8, "distribution": "uniform"})
    used.begin_again(other, 7, 100)
    new = Replica(other, task, 7, 100)
    for step in range(3):
        for replica in (used, new):
            replica.train_step(0, step, step)
    assert used.take_loss() == new.take_loss()
    mine, expected = used.state_dict(), new.state_dict()
    assert all(torch.equal(mine["model"][name], tensor) for name, tensor in expected["model"].items())
    assert all(torch.equal(mine["sparse"]["masks"][name], mask) for name, mask in expected["sparse"]["masks"].items())
    assert mine["sparse"]["n_active"] == expected["sparse"]["n_active"]
    for name in ("augment_random", "dropout_random"):
        assert torch.equal(mine[name], expected[name])
