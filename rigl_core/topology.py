"""Topology steps over a whole network: drop and grow, or prune. Pure: tensors in, new masks and counts out."""

from collections.abc import Mapping

import torch
from torch import Tensor

from rigl_core.layerwise import each_layer
from rigl_core.masks import MaskState, update_mask
from rigl_core.methods import Method
from rigl_core.redistribute import redistribute
from rigl_core.scores import SCORES, Layer, random
from rigl_core.selection import select_top


def drop_and_grow(
    layers: Mapping[str, Layer], masks: MaskState, method: Method, drop_fraction: float
) -> tuple[MaskState, dict[str, int]]:
    """Drop the worst `int(drop_fraction · n_active)` weights of each layer and grow as many in all.

    Args:
        layers: what the scores look at, for each layer that may change.
        masks: the masks as they are; layers that are not in `layers` stay.
        method: its drop score, grow score and redistribution.
        drop_fraction: f(t), in [0, 1].

    Returns:
        The new masks and the number of weights each layer dropped.
    """
    n_drop = {name: int(drop_fraction * masks.n_active[name]) for name in layers}
    n_keep = {name: masks.n_active[name] - n_drop[name] for name in layers}
    n_grow = dict(n_drop)
    if method.redistribute is not None and any(n_drop.values()):
        n_grow = redistribute(
            n_keep=n_keep,
            sizes={name: layer.weight.numel() for name, layer in layers.items()},
            n_grow=sum(n_drop.values()),
            statistic=mean_of_active(layers, masks, method.redistribute),
        )
    moving = {name: layer for name, layer in layers.items() if n_drop[name] or n_grow[name]}
    drop, grow = SCORES[method.drop or ""], SCORES[method.grow or ""]
    # A generator gives its numbers in turn: they are drawn in the order of the layers, whoever is done first.
    drawn = {name: grow(layer) for name, layer in moving.items()} if grow is random else {}

    def update(name: str) -> Tensor:
        layer = moving[name]
        return update_mask(
            masks.masks[name],
            drop_score=drop(layer),
            grow_score=drawn.pop(name) if name in drawn else grow(layer),
            n_keep=n_keep[name],
            n_grow=n_grow[name],
        )

    new = MaskState(dict(masks.masks), dict(masks.n_active))
    new.masks.update(each_layer(update, {name: layer.weight for name, layer in moving.items()}))
    new.n_active.update({name: n_keep[name] + n_grow[name] for name in moving})
    return new, n_drop


def mean_of_active(layers: Mapping[str, Layer], masks: MaskState, score: str) -> dict[str, float]:
    """The mean score of each layer's active weights. All layers are read back from the device at once."""
    means = [
        (SCORES[score](layer) * masks.masks[name]).sum() / max(1, masks.n_active[name])
        for name, layer in layers.items()
    ]
    return dict(zip(layers, torch.stack(means).tolist(), strict=True))


def prune(weights: Mapping[str, Tensor], masks: MaskState, sparsity: float) -> tuple[MaskState, dict[str, int]]:
    """Keep the `round((1 − sparsity) · N)` largest magnitudes of the whole network, N maskable weights in all.

    Global magnitude pruning: layers compete with each other (Zhu & Gupta 2018 with the report's global threshold).
    Ties go to the earlier layer, then to the lower index. A weight that was dropped never returns.

    Returns:
        The new masks and the number of weights each layer dropped.
    """
    sizes = {name: weight.numel() for name, weight in weights.items()}
    n_keep = min(round((1.0 - sparsity) * sum(sizes.values())), sum(masks.n_active[name] for name in weights))
    scores = torch.cat([weight.abs().flatten() for weight in weights.values()])
    active = torch.cat([masks.masks[name].flatten() for name in weights])
    kept = torch.split(select_top(scores, n_keep, among=active), list(sizes.values()))
    counts = torch.stack([part.sum() for part in kept]).tolist()
    new = MaskState(dict(masks.masks), dict(masks.n_active))
    for (name, weight), part, count in zip(weights.items(), kept, counts, strict=True):
        new.masks[name], new.n_active[name] = part.view_as(weight), int(count)
    return new, {name: masks.n_active[name] - new.n_active[name] for name in weights}
