"""`SparseOptimizer` against the independent NumPy reference: 50 topology steps of every method and optimizer."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from rigl_core.distributions import erk, layer_budgets
from rigl_core.masks import init_masks
from rigl_core.methods import METHODS
from rigl_core.optimizer import SparseOptimizer
from rigl_core.schedules import CubicRamp, UpdateSchedule
from tests.rigl_core.numpy_reference import Adam, Reference, Sgd

N_INPUTS, N_HIDDEN, N_CLASSES, BATCH = 12, 10, 5, 8
DELTA_T, T_START, SPARSITY, ALPHA = 3, 2, 0.6, 0.5
N_STEPS = DELTA_T * 52
T_END = DELTA_T * 50 + 2
LR = {"sgd": 0.1, "adam": 0.01}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("method", METHODS)
def test_fifty_topology_steps_equal_the_reference(method: str, optimizer: str) -> None:
    row = METHODS[method]
    random = torch.Generator().manual_seed(11)
    shapes = {"w1": (N_HIDDEN, N_INPUTS), "w2": (N_CLASSES, N_HIDDEN)}
    dense = row.ramp or not row.sparse
    budgets = layer_budgets(shapes, dict.fromkeys(shapes, 0.0) if dense else erk(shapes, SPARSITY))
    masks = init_masks(shapes, budgets, random)
    start = {name: torch.randn(shape, generator=random, dtype=torch.float64) / 3 for name, shape in shapes.items()}
    weights = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    schedule = (
        CubicRamp(delta_t=DELTA_T, t_start=T_START, t_end=T_END, sparsity=SPARSITY)
        if row.ramp
        else UpdateSchedule(delta_t=DELTA_T, t_end=T_END, alpha=ALPHA)
    )
    torch_optimizer = {
        "sgd": lambda: torch.optim.SGD(weights.values(), lr=LR["sgd"], momentum=0.9, nesterov=True, weight_decay=0.01),
        "adam": lambda: torch.optim.Adam(weights.values(), lr=LR["adam"], weight_decay=0.01),
    }[optimizer]()
    sparse = SparseOptimizer(
        torch_optimizer,
        weights=weights,
        masks=masks,
        method=row,
        schedule=schedule,
        generator=torch.Generator().manual_seed(5),
    )
    reference = Reference(
        method,
        [value.numpy() for value in start.values()],
        [mask.numpy() for mask in masks.masks.values()],
        Sgd(LR["sgd"], weight_decay=0.01) if optimizer == "sgd" else Adam(LR["adam"], weight_decay=0.01),
        alpha=ALPHA,
        delta_t=DELTA_T,
        t_end=T_END,
        t_start=T_START,
        sparsity=SPARSITY,
    )
    same_random = torch.Generator().manual_seed(5)

    def same_numbers(i: int) -> np.ndarray:
        return torch.rand(list(shapes.values())[i], generator=same_random).numpy()

    n_updates = 0
    for step in range(N_STEPS):
        x = torch.randn(BATCH, N_INPUTS, generator=random, dtype=torch.float64)
        y = torch.randint(N_CLASSES, (BATCH,), generator=random)
        sparse.zero_grad()
        logits = functional.relu(x @ weights["w1"].T) @ weights["w2"].T
        functional.cross_entropy(logits, y).backward()
        n_updates += sparse.step(step) is not None
        reference.step(step, x.numpy(), y.numpy(), same_numbers)
        for i, name in enumerate(shapes):
            np.testing.assert_array_equal(sparse.masks.masks[name].numpy(), reference.masks[i], f"{name} at {step}")
            np.testing.assert_allclose(weights[name].detach().numpy(), reference.weights[i], atol=1e-6, rtol=0)
    assert n_updates == (50 if row.updates_topology else 0)
