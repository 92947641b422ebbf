"""Peers on PyPI that train sparsely, each made to do what ours is measured at, in the way its documentation shows.

They change the network they are given: each needs one of its own. Where one is not installed (`make bench` installs
all), making it raises ImportError.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from rigl_core.torchvision_compat import import_torchvision_datasets

SPARSITY = 0.9
ONCE_AND_AGAIN = 10**9
"So late do schedules end that every call of a step is one."


def rigl_torch_step(model: nn.Module, drop_fraction: float) -> Callable[[], object]:
    """RigL's topology step by rigl-torch."""
    import_torchvision_datasets()  # rigl-torch imports torchvision, which fails beside a CPU torch without this
    from rigl_torch.RigL import RigLScheduler

    scheduler = RigLScheduler(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        dense_allocation=1.0 - SPARSITY,
        T_end=ONCE_AND_AGAIN,
        delta=100,
        alpha=drop_fraction,
        sparsity_distribution="uniform",
    )
    scheduler.step = 99  # its hooks only collect gradients just before an update
    _backward(model)  # fills the gradients its hooks collect
    step: Callable[[], object] = scheduler._rigl_step
    return step


def sparsimony_step(model: nn.Module, drop_fraction: float) -> Callable[[], object]:
    """RigL's topology step by sparsimony."""
    from sparsimony.distributions.base import ERKDistribution
    from sparsimony.dst.rigl import RigL
    from sparsimony.schedulers.base import ConstantScheduler

    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    sparsifier = RigL(
        ConstantScheduler(drop_fraction, t_end=ONCE_AND_AGAIN, delta_t=1),
        ERKDistribution(),
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        sparsity=SPARSITY,
        init_method=None,
    )
    sparsifier.prepare(model, [{"tensor_fqn": f"{name}.weight"} for name in layers])
    _backward(model)  # fills the gradients its parametrizations collect

    def step() -> None:
        if not sparsifier.step():
            raise AssertionError("sparsimony took no topology step")

    return step


TOPOLOGY_STEPS: Mapping[str, Callable[[nn.Module, float], Callable[[], object]]] = {
    "rigl-torch": rigl_torch_step,
    "sparsimony": sparsimony_step,
}
"""By the name of the peer: given a network and the drop fraction, a step that can be taken again and again."""


def sparselab_epoch(
    images: Tensor, labels: Tensor, sizes: list[int], sparsities: list[float], *, drop_fraction: float, delta_t: int
) -> Callable[[], object]:
    """An epoch of fully connected layers by sparselab, which keeps and multiplies active weights only.

    Args:
        images: float32 (N, sizes[0]), normalised: no data path is counted.
        labels: int64 (N,).
        sizes: of the layers, from the input's to the output's.
        sparsities: of the layers, one less.
        drop_fraction: of each topology step.
        delta_t: steps between topology steps.
    """
    import sparselab

    layers: list[nn.Module] = []
    for size, next_size, sparsity in zip(sizes, sizes[1:], sparsities, strict=False):
        layers += [sparselab.SparseLinear(size, next_size, sparsity=sparsity), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    topology = sparselab.RigL(SPARSITY, drop_fraction=drop_fraction, update_freq=delta_t, seed=0)
    model.apply(topology)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def epoch() -> None:
        for chosen in torch.split(torch.randperm(len(labels)), 128):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            topology.step()

    return epoch


def _backward(model: nn.Module) -> None:
    model(torch.randn(2, 3, 32, 32)).sum().backward()
