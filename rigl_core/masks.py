"""Masks: which weights are active, how they are drawn at first, and the one rule that changes them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rigl_core.distributions import Shape
from rigl_core.errors import BadInput
from rigl_core.maskable import maskable_weights as maskable_weights
from rigl_core.selection import PerLayer, select_top


@dataclass
class MaskState:
    """The masks of a network and their counts.

    Attributes:
        masks: layer name to bool tensor of the weight's shape, True = active.
        n_active: layer name to the number of True; Python ints, so that counting never waits for a device.
    """

    masks: dict[str, Tensor]
    n_active: dict[str, int]

    def sparsities(self) -> dict[str, float]:
        """The masked-out fraction of each layer."""
        return {name: 1.0 - self.n_active[name] / mask.numel() for name, mask in self.masks.items()}

    def sparsity(self) -> float:
        """The masked-out fraction of all maskable weights."""
        return 1.0 - sum(self.n_active.values()) / sum(mask.numel() for mask in self.masks.values())


def init_masks(
    shapes: Mapping[str, Shape],
    budgets: Mapping[str, int],
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> MaskState:
    """Random masks with exactly `budgets[name]` active weights a layer, uniform over all such masks.

    Args:
        shapes: shapes of the weights, in model order.
        budgets: number of active weights of each layer, from `layer_budgets`.
        generator: a CPU generator, so that a seed gives the same masks on every device.
        device: where the masks are to live.

    Raises:
        BadInput: a budget outside [0, size of the layer].
    """
    masks = {}
    for name, shape in shapes.items():
        size, n_active = math.prod(shape), budgets[name]
        if not 0 <= n_active <= size:
            raise BadInput(f"layer {name} has {size} weights and cannot keep {n_active} of them.")
        mask = torch.zeros(size, dtype=torch.bool)
        mask[torch.randperm(size, generator=generator)[:n_active]] = True
        masks[name] = mask.view(shape).to(device)
    return MaskState(masks, dict(budgets))


def update_mask(
    mask: Tensor, *, drop_score: Tensor, grow_score: Tensor, n_keep: int | PerLayer, n_grow: int | PerLayer
) -> Tensor:
    """One topology update: keep the best active weights, grow the best of everything not kept.

    A weight that was just dropped may be grown again at once; it then keeps its value (Evci et al. 2020, as in
    google-research/rigl). Pure: the same inputs give the same mask, ties by flat index.

    Args:
        mask: bool, True = active: of one layer, or of several, flat and one after another.
        drop_score: same shape; active weights with the highest are kept.
        grow_score: same shape; weights that are not kept and have the highest are grown.
        n_keep: how many active weights to keep, of the layer or of each; at most the number of active ones.
        n_grow: how many weights to grow, likewise; at most the number of those not kept.

    Returns:
        The new mask, with exactly `n_keep + n_grow` active weights, in each layer.

    Raises:
        BadInput: a negative count or one that exceeds the layer.
    """
    for size, keep, grow in _by_layer(mask.numel(), n_keep, n_grow):
        check_counts(size, keep, grow)
    kept = select_top(drop_score, n_keep, among=mask)
    return kept | select_top(grow_score, n_grow, among=~kept)


def check_counts(size: int, n_keep: int, n_grow: int) -> None:
    """Whether a layer of `size` can keep and grow so many weights.

    Raises:
        BadInput: a negative count or one that exceeds the layer.
    """
    if n_keep < 0 or n_grow < 0 or n_keep + n_grow > size:
        raise BadInput(f"cannot keep {n_keep} and grow {n_grow} weights of a layer of {size}.")


def _by_layer(size: int, n_keep: int | PerLayer, n_grow: int | PerLayer) -> Iterable[tuple[int, int, int]]:
    if isinstance(n_keep, PerLayer) and isinstance(n_grow, PerLayer):
        return zip(n_keep.sizes, n_keep.counts, n_grow.counts, strict=True)
    assert isinstance(n_keep, int)
    assert isinstance(n_grow, int)
    return [(size, n_keep, n_grow)]
