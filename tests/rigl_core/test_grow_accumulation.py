"""`grow_accumulation` against an oracle: growth looks at the mean of the dense gradients of the last n steps."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from rigl_core.config import TrainConfig
from rigl_core.data.task import load_task
from rigl_core.masks import init_masks
from rigl_core.methods import METHODS
from rigl_core.optimizer import SparseOptimizer
from rigl_core.replica import Replica
from rigl_core.schedules import UpdateSchedule
from tests.rigl_core.numpy_reference import Matrix, best, share_out

ALPHA = 0.5
Gradients = list[Matrix]
"""One of each layer."""


def growth_signal(history: list[Gradients], step: int, n: int, delta_t: int) -> Gradients:
    """The mean of the last `n` gradients up to `step`, or of those since the last topology step if they are fewer."""
    last_update = step - delta_t if step > delta_t else -1
    recent = history[max(step - n, last_update) + 1 : step + 1]
    return [np.mean([gradients[i] for gradients in recent], axis=0) for i in range(len(history[0]))]


def masks_by_hand(method: str, weights: Gradients, masks: list[Matrix], signal: Gradients) -> list[Matrix]:
    """The masks after a topology step at a constant ALPHA, of layers that are not dense; two of them for rigl_sg."""
    n_active = [int(mask.sum()) for mask in masks]
    n_keep = [n - int(ALPHA * n) for n in n_active]
    n_grow = [n - kept for n, kept in zip(n_active, n_keep, strict=True)]
    if method == "rigl_sg":
        means = [float(np.abs(g)[mask].mean()) for g, mask in zip(signal, masks, strict=True)]
        n_grow = share_out(sum(n_grow), n_keep, [mask.size for mask in masks], means)
    new = []
    for weight, mask, gradient, keep, grow in zip(weights, masks, signal, n_keep, n_grow, strict=True):
        kept = best(np.abs(weight), np.flatnonzero(mask).tolist(), keep)
        grown = best(np.abs(gradient), [p for p in range(mask.size) if p not in kept], grow)
        new.append(np.isin(np.arange(mask.size), list(kept | grown)).reshape(mask.shape))
    return new


@pytest.mark.parametrize("method", ["rigl", "rigl_sg"])
@pytest.mark.parametrize(("n", "delta_t"), [(1, 4), (2, 5), (3, 5), (4, 4), (5, 3)])
def test_growth_looks_at_the_mean_of_the_last_dense_gradients(method: str, n: int, delta_t: int) -> None:
    random = torch.Generator().manual_seed(10 * n + delta_t)
    shapes = {"w1": (8, 9), "w2": (7, 8)}
    weights = {
        name: nn.Parameter(torch.randn(shape, generator=random, dtype=torch.float64)) for name, shape in shapes.items()
    }
    sparse = SparseOptimizer(
        torch.optim.SGD(weights.values(), lr=0.1),
        weights=weights,
        masks=init_masks(shapes, {"w1": 20, "w2": 25}, random),
        method=METHODS[method],
        schedule=UpdateSchedule(delta_t=delta_t, t_end=100, alpha=ALPHA, anneal="constant"),
        generator=torch.Generator(),
        grow_accumulation=n,
    )
    history: list[Gradients] = []
    for step in range(6 * delta_t + 1):
        gradients = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes.values()]
        history.append([gradient.numpy().copy() for gradient in gradients])
        before = [weight.detach().numpy().copy() for weight in weights.values()]
        expected = [mask.numpy().copy() for mask in sparse.masks.masks.values()]
        if step and step % delta_t == 0:
            expected = masks_by_hand(method, before, expected, growth_signal(history, step, n, delta_t))
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            weight.grad = gradient
        sparse.step(step)
        for mask, by_hand in zip(sparse.masks.masks.values(), expected, strict=True):
            np.testing.assert_array_equal(mask.numpy(), by_hand, f"step {step}")


def test_a_run_averages_as_its_configuration_says() -> None:
    images = {"channels": 1, "height": 6, "width": 6, "num_classes": 4, "n_train": 64, "n_eval": 8}
    n, delta_t, n_steps = 3, 5, 16
    config = TrainConfig(
        dataset="synthetic", dataset_options=images, sparsity=0.8, alpha=ALPHA, anneal="constant", delta_t=delta_t,
        t_end_fraction=1.0, grow_accumulation=n, batch_size=16, epochs=4,
    )  # fmt: skip
    replica = Replica(config, load_task(config), 0, n_steps, "cpu")
    names = ["fc1.weight", "fc2.weight"]  # the last layer is dense
    history: list[Gradients] = []
    for step in range(n_steps):
        epoch, batch = divmod(step, 4)
        twin = copy.deepcopy(replica.model)  # whose gradients nobody masks
        inputs, targets = replica.data.batch(replica.order(epoch)[batch * 16 : (batch + 1) * 16])
        functional.cross_entropy(twin(inputs), targets).backward()
        parameters = dict(twin.named_parameters())
        history.append([parameters[name].grad.numpy() for name in names])
        expected = [replica.masks.masks[name].numpy().copy() for name in names]
        if step and step % delta_t == 0:
            before = [parameters[name].detach().numpy() for name in names]
            expected = masks_by_hand("rigl", before, expected, growth_signal(history, step, n, delta_t))
        replica.train_step(epoch, batch, step)
        for name, by_hand in zip(names, expected, strict=True):
            assert not by_hand.all()
            np.testing.assert_array_equal(replica.masks.masks[name].numpy(), by_hand, f"{name} at step {step}")
