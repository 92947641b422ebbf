"""One RigL topology step of a whole network at S = 0.9: ours against plain PyTorch and against others' libraries.

Masks (ERK), weights and gradients are the same for all but the libraries, which draw their own (rigl-torch uniform).
Peers: a stable sort of indices (what a first version would write), a top-k of PyTorch, a partition of NumPy, and those
of `benchmarks.peers` that are installed.
"""

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.peers import TOPOLOGY_STEPS
from benchmarks.rows import Row, not_measured, share, show, speedup
from rigl_core.distributions import erk, layer_budgets
from rigl_core.masks import MaskState, init_masks, maskable_weights
from rigl_core.methods import METHODS
from rigl_core.models import MODELS
from rigl_core.optimizer import SparseOptimizer
from rigl_core.schedules import UpdateSchedule
from rigl_core.scores import Layer
from rigl_core.topology import drop_and_grow

ROUNDS = 7
DROP_FRACTION = 0.3


def prepare(model_name: str, num_classes: int) -> tuple[nn.Module, dict[str, Layer], MaskState]:
    """A network with masks, zeroed weights and random dense gradients."""
    torch.manual_seed(0)
    model: nn.Module = MODELS[model_name](num_classes=num_classes, in_channels=3, image_size=(32, 32))
    weights = maskable_weights(model)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(0)
    masks = init_masks(shapes, layer_budgets(shapes, erk(shapes, 0.9)), generator)
    layers = {}
    for name, weight in weights.items():
        weight.data.mul_(masks.masks[name])
        weight.grad = torch.randn(weight.shape, generator=generator)
        if masks.n_active[name] < weight.numel():
            layers[name] = Layer(weight.detach(), weight.grad, None, generator)
    return model, layers, masks


def by_sorting(layers: dict[str, Layer], masks: MaskState) -> dict[str, torch.Tensor]:
    """The same step with stable sorts of indices, layer by layer."""
    new = {}
    for name, layer in layers.items():
        mask = masks.masks[name].flatten()
        n_drop = int(DROP_FRACTION * masks.n_active[name])
        magnitude = torch.where(mask, layer.weight.abs().flatten(), -1.0)
        kept = torch.zeros_like(mask)
        kept[torch.sort(magnitude, descending=True, stable=True).indices[: masks.n_active[name] - n_drop]] = True
        gradient = torch.where(kept, -1.0, layer.gradient.abs().flatten())
        kept[torch.sort(gradient, descending=True, stable=True).indices[:n_drop]] = True
        new[name] = kept.view_as(masks.masks[name])
    return new


def by_top_k(layers: dict[str, Layer], masks: MaskState) -> dict[str, torch.Tensor]:
    """The step with `torch.topk`, which breaks ties as it likes."""
    new = {}
    for name, layer in layers.items():
        mask = masks.masks[name].flatten()
        n_drop = int(DROP_FRACTION * masks.n_active[name])
        kept = torch.zeros_like(mask)
        magnitude = layer.weight.abs().flatten().masked_fill(~mask, -1.0)
        kept[magnitude.topk(masks.n_active[name] - n_drop, sorted=False).indices] = True
        kept[layer.gradient.abs().flatten().masked_fill(kept, -1.0).topk(n_drop, sorted=False).indices] = True
        new[name] = kept.view_as(masks.masks[name])
    return new


def by_partition(layers: dict[str, Layer], masks: MaskState) -> dict[str, NDArray[np.bool_]]:
    """The step with `numpy.argpartition`, which breaks ties as it likes."""
    new = {}
    for name, layer in layers.items():
        mask = masks.masks[name].numpy().ravel()
        n_drop = int(DROP_FRACTION * masks.n_active[name])
        kept = np.zeros_like(mask)
        magnitude = np.where(mask, np.abs(layer.weight.numpy().ravel()), -1.0)
        n_keep = masks.n_active[name] - n_drop
        kept[np.argpartition(magnitude, len(mask) - n_keep)[len(mask) - n_keep :]] = True
        gradient = np.where(kept, -1.0, np.abs(layer.gradient.numpy().ravel()))
        kept[np.argpartition(gradient, len(mask) - n_drop)[len(mask) - n_drop :]] = True
        new[name] = kept
    return new


def medians(steps: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Milliseconds of each, measured in turn, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if round_number:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def weight_step_rows(name: str, model: nn.Module, masks: MaskState) -> list[Row]:
    """The optimizer's part of a weight step, by fused SGD as in training, against SGD without masks."""
    weights = maskable_weights(model)

    def sgd(*, fused: bool | None) -> torch.optim.SGD:
        parameters = [nn.Parameter(weight.detach().clone()) for weight in weights.values()]
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape)
        return torch.optim.SGD(parameters, lr=1e-6, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=fused)

    plain, fused, wrapped = sgd(fused=None), sgd(fused=True), sgd(fused=True)
    ours = SparseOptimizer(
        wrapped,
        weights=dict(zip(weights, wrapped.param_groups[0]["params"], strict=True)),
        masks=masks,
        method=METHODS["rigl"],
        schedule=UpdateSchedule(delta_t=10**6, t_end=10**7),
        generator=torch.Generator(),
    )
    steps: dict[str, Callable[[], object]] = {"ours": ours.weight_step, "plain": plain.step, "fused": fused.step}
    found = medians(steps, 10 * ROUNDS)
    line = f"Optimizer's part of a weight step, {name}, CPU"
    return [
        share(line, found["ours"], "SGD as PyTorch comes", found["plain"], unit="ms", goal="≤ 1.15×"),
        share(line, found["ours"], "fused SGD", found["fused"], unit="ms"),
    ]


def measure() -> list[Row]:
    """Both networks of the reproduction report: ours alone, then in turn with all peers."""
    rows = []
    for name, num_classes, goal in (("wrn_22_2", 10, 7.5), ("resnet50", 100, 180.0)):
        model, layers, masks = prepare(name, num_classes)

        def ours(layers: dict[str, Layer] = layers, masks: MaskState = masks) -> MaskState:
            return drop_and_grow(layers, masks, METHODS["rigl"], DROP_FRACTION)[0]

        new, sorted_masks = ours(), by_sorting(layers, masks)
        if not all(torch.equal(new.masks[layer], mask) for layer, mask in sorted_masks.items()):
            raise AssertionError("ours and the plain sort disagree about the new masks")
        line, in_words = f"Topology step, {name}, S = 0.9, CPU", f"≤ {goal:g} ms"
        alone = medians({"ours": ours}, 3 * ROUNDS)["ours"]
        rows.append(Row(line=line, ours=alone, unit="ms", goal=in_words, note="alone"))
        steps: dict[str, Callable[[], object]] = {
            "ours": ours,
            "NumPy partition": partial(by_partition, layers, masks),
            "plain top-k": partial(by_top_k, layers, masks),
            "plain stable sort": partial(by_sorting, layers, masks),
        }
        missing = []
        for name_of_peer, make in TOPOLOGY_STEPS.items():
            try:
                steps[name_of_peer] = make(copy.deepcopy(model), DROP_FRACTION)
            except ImportError as error:
                missing.append(not_measured(line, str(error), peer=name_of_peer))
        found = medians(steps)
        note = "in turn, after threads of others that still spin"
        rows += [
            speedup(line, found["ours"], name_of_peer, found[name_of_peer], unit="ms", note=note)
            for name_of_peer in list(steps)[1:]
        ]
        rows += missing
        rows += weight_step_rows(name, model, masks)
    return rows


if __name__ == "__main__":
    show(measure, __doc__)
