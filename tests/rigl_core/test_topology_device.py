"""What a device does at a topology step, tried on a CPU: the same masks, no waiting, and few operations."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from rigl_core.masks import MaskState, init_masks
from rigl_core.methods import METHODS, Method
from rigl_core.scores import Layer
from rigl_core.topology import in_groups, updated_each, updated_together

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive", "_unique2", "equal", "is_nonzero"}
FREE = {"view", "_unsafe_view", "detach", "split_with_sizes", "split", "alias", "slice", "reshape", "lift_fresh"}
"""Operations that launch nothing."""


class Watch(TorchDispatchMode):
    """Counts operations, and does not let those happen that read back what a device has computed."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in WAITS, f"the host waits for {name}"
        # With a tensor for repeats and no size of the output, its size is read back.
        assert name != "repeat_interleave" or (kwargs or {}).get("output_size") is not None
        if name not in FREE:
            self.counted[name] += 1
        return func(*args, **(kwargs or {}))


def network(sizes: list[int], seed: int, *, coarse: bool) -> tuple[dict[str, Layer], MaskState]:
    """Layers with masks, as many weights active as not; where `coarse`, with many ties and some that are no numbers."""
    random = torch.Generator().manual_seed(seed)
    shapes = {f"layer {i}": (size, 2, 1, 1) for i, size in enumerate(sizes)}
    masks = init_masks(shapes, {name: shape[0] for name, shape in shapes.items()}, random)
    layers = {}
    for name, shape in shapes.items():
        weight, gradient, momentum = (torch.randn(shape, generator=random) for _ in range(3))
        if coarse:
            weight, gradient, momentum = weight.round(), gradient.round(), momentum.round()
            gradient[::7] = torch.nan
        weight = (weight * masks.masks[name]).to(memory_format=torch.channels_last)
        layers[name] = Layer(weight, gradient.to(memory_format=torch.channels_last), momentum, random)
    return layers, masks


def counts(masks: MaskState) -> tuple[dict[str, int], dict[str, int]]:
    n_drop = {name: n // 3 for name, n in masks.n_active.items()}
    return {name: n - n_drop[name] for name, n in masks.n_active.items()}, n_drop


@pytest.mark.parametrize("method", ["rigl", "snfs"])
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), seed=st.integers(0, 99), coarse=st.booleans())
def test_layers_together_get_the_masks_of_each_by_itself(
    method: str, sizes: list[int], seed: int, coarse: bool
) -> None:
    layers, masks = network(sizes, seed, coarse=coarse)
    n_keep, n_grow = counts(masks)
    each = updated_each(layers, masks.masks, METHODS[method], n_keep, n_grow)
    together = updated_together(layers, masks.masks, METHODS[method], n_keep, n_grow)
    for name, mask in each.items():
        assert torch.equal(together[name], mask)
        assert int(mask.sum()) == masks.n_active[name]


def operations(n_layers: int, method: Method) -> Mapping[str, int]:
    layers, masks = network([30] * n_layers, 0, coarse=False)
    n_keep, n_grow = counts(masks)
    with Watch() as watch:
        updated_together(layers, masks.masks, method, n_keep, n_grow)
    return watch.counted


@pytest.mark.parametrize("method", ["rigl", "set", "snfs"])
def test_layers_together_take_a_handful_of_operations_and_the_host_never_waits(method: str) -> None:
    few, many = operations(2, METHODS[method]), operations(50, METHODS[method])
    assert few == many
    assert 10 < sum(many.values()) < 80


@given(sizes=st.lists(st.integers(1, 40), max_size=8), at_once=st.integers(1, 120))
def test_groups_keep_the_layers_in_order_and_are_as_full_as_they_may_be(sizes: list[int], at_once: int) -> None:
    layers, _ = network(sizes, 0, coarse=False)
    groups = list(in_groups(layers, at_once))
    assert all(groups)
    assert [name for group in groups for name in group] == list(layers)
    n_weights = [sum(layer.weight.numel() for layer in group.values()) for group in groups]
    assert all(n <= at_once or len(group) == 1 for n, group in zip(n_weights, groups, strict=True))
    first_of_next = [next(iter(group.values())).weight.numel() for group in groups[1:]]
    assert all(n + more > at_once for n, more in zip(n_weights, first_of_next, strict=False))
