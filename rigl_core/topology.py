"""Topology steps over a whole network: drop and grow, or prune. Pure: tensors in, new masks and counts out.

On a device layers are joined to flat tensors, each of which takes as many launches as one layer would; on a CPU they
are worked on side by side, each while it is in the cache, by C of our own or by NumPy. The masks are the same.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rigl_core.layerwise import each_layer
from rigl_core.masks import MaskState, update_mask
from rigl_core.methods import Method
from rigl_core.native import drop_and_grow as native
from rigl_core.redistribute import redistribute
from rigl_core.scores import SCORES, SIGNED, Layer, flat, random
from rigl_core.selection import PerLayer, select_top, without_waiting

Counts = Mapping[str, int]

AT_ONCE = 4_000_000
"""Weights among which a device chooses at once: sorting takes 30 to 40 bytes a weight, beside a network's own dozen."""


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
    new = MaskState(dict(masks.masks), dict(masks.n_active))
    update = updated_in_groups
    if _on_cpu(moving):
        update = updated_natively if native.suits(moving) else updated_each
    new.masks.update(update(moving, masks.masks, method, n_keep, n_grow))
    new.n_active.update({name: n_keep[name] + n_grow[name] for name in moving})
    return new, n_drop


def updated_each(
    layers: Mapping[str, Layer], masks: Mapping[str, Tensor], method: Method, n_keep: Counts, n_grow: Counts
) -> dict[str, Tensor]:
    """The new masks of all layers, each worked on by itself."""
    drop, grow = SCORES[method.drop or ""], SCORES[method.grow or ""]
    # A generator gives its numbers in turn: they are drawn in the order of the layers, whoever is done first.
    drawn = {name: grow(layer) for name, layer in layers.items()} if grow is random else {}

    def update(name: str) -> Tensor:
        layer = layers[name]
        return update_mask(
            masks[name],
            drop_score=drop(layer),
            grow_score=drawn.pop(name) if name in drawn else grow(layer),
            n_keep=n_keep[name],
            n_grow=n_grow[name],
        )

    return each_layer(update, {name: layer.weight for name, layer in layers.items()})


def updated_natively(
    layers: Mapping[str, Layer], masks: Mapping[str, Tensor], method: Method, n_keep: Counts, n_grow: Counts
) -> dict[str, Tensor]:
    """The new masks of all layers, from one call of compiled code."""
    drop, grow = SIGNED[method.drop or ""], SIGNED[method.grow or ""]
    return native.drop_and_grow(
        masks={name: masks[name] for name in layers},
        drop_scores={name: drop(layer) for name, layer in layers.items()},
        grow_scores={name: grow(layer) for name, layer in layers.items()},
        n_keep=n_keep,
        n_grow=n_grow,
    )


def updated_in_groups(
    layers: Mapping[str, Layer], masks: Mapping[str, Tensor], method: Method, n_keep: Counts, n_grow: Counts
) -> dict[str, Tensor]:
    """The new masks of all layers, as many at a time as memory is to be spent on."""
    new: dict[str, Tensor] = {}
    for group in in_groups(layers):
        new.update(updated_together(group, masks, method, n_keep, n_grow))
    return new


def in_groups(layers: Mapping[str, Layer], at_once: int = AT_ONCE) -> Iterator[dict[str, Layer]]:
    """The layers in their order, in groups of at most `at_once` weights; a larger layer is a group by itself."""
    group: dict[str, Layer] = {}
    n = 0
    for name, layer in layers.items():
        if group and n + layer.weight.numel() > at_once:
            yield group
            group, n = {}, 0
        group[name] = layer
        n += layer.weight.numel()
    if group:
        yield group


def updated_together(
    layers: Mapping[str, Layer], masks: Mapping[str, Tensor], method: Method, n_keep: Counts, n_grow: Counts
) -> dict[str, Tensor]:
    """The new masks of all layers, worked on as one flat tensor."""
    whole, sizes = Layer.joined(layers.values()), _sizes(layers)
    new = update_mask(
        flat(masks[name] for name in layers),
        drop_score=SCORES[method.drop or ""](whole),
        grow_score=SCORES[method.grow or ""](whole),
        n_keep=PerLayer(sizes, tuple(n_keep[name] for name in layers)),
        n_grow=PerLayer(sizes, tuple(n_grow[name] for name in layers)),
    )
    return {
        name: part.view(layer.weight.shape)
        for (name, layer), part in zip(layers.items(), torch.split(new, list(sizes)), strict=True)
    }


def mean_of_active(layers: Mapping[str, Layer], masks: MaskState, score: str) -> dict[str, float]:
    """The mean score of each layer's active weights. All layers are read back from the device at once."""
    if _on_cpu(layers):
        sums = [SCORES[score](layer).masked_fill_(~masks.masks[name], 0.0).sum() for name, layer in layers.items()]
    else:
        sums = [total for group in in_groups(layers) for total in _sums_of_active(group, masks, score)]
    read = torch.stack(sums).tolist()
    return {name: total / max(1, masks.n_active[name]) for name, total in zip(layers, read, strict=True)}


def _sums_of_active(layers: Mapping[str, Layer], masks: MaskState, score: str) -> Sequence[Tensor]:
    inactive = ~flat(masks.masks[name] for name in layers)
    active = SCORES[score](Layer.joined(layers.values())).masked_fill_(inactive, 0.0)
    return torch._foreach_norm(torch.split(active, list(_sizes(layers))), 1)  # scores are not negative


def prune(weights: Mapping[str, Tensor], masks: MaskState, sparsity: float) -> tuple[MaskState, dict[str, int]]:
    """Keep the `round((1 − sparsity) · N)` largest magnitudes of the whole network, N maskable weights in all.

    Global magnitude pruning: layers compete with each other (Zhu & Gupta 2018 with the report's global threshold).
    Ties go to the earlier layer, then to the lower index. A weight that was dropped never returns. The new counts of
    the layers are read back from the device at once.

    Returns:
        The new masks and the number of weights each layer dropped.
    """
    new = MaskState(dict(masks.masks), dict(masks.n_active))
    if not weights:
        return new, {}
    sizes = tuple(weight.numel() for weight in weights.values())
    n_keep = min(round((1.0 - sparsity) * sum(sizes)), sum(masks.n_active[name] for name in weights))
    kept = select_top(flat(weights.values()).abs_(), n_keep, among=flat(masks.masks[name] for name in weights))
    for (name, weight), part, count in zip(
        weights.items(), torch.split(kept, list(sizes)), count_each(kept, sizes), strict=True
    ):
        new.masks[name], new.n_active[name] = part.view(weight.shape), count
    return new, {name: masks.n_active[name] - new.n_active[name] for name in weights}


def count_each(selected: Tensor, sizes: tuple[int, ...]) -> list[int]:
    """How many are selected of each layer of a flat tensor: on a device, one read-back."""
    if selected.device.type == "cpu":
        return [int(torch.count_nonzero(part)) for part in torch.split(selected, list(sizes))]
    ends = np.cumsum(sizes, dtype=np.int64)
    so_far: list[int] = selected.cumsum(0).take(without_waiting(ends - 1, selected.device)).tolist()
    return [after - before for before, after in zip([0, *so_far], so_far, strict=False)]


def _on_cpu(layers: Mapping[str, Layer]) -> bool:
    return all(layer.weight.device.type == "cpu" for layer in layers.values())


def _sizes(layers: Mapping[str, Layer]) -> tuple[int, ...]:
    return tuple(layer.weight.numel() for layer in layers.values())
