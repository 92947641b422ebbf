"""Topology steps over a network: redistribution and global pruning, by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rigl_core import layerwise, topology
from rigl_core.masks import MaskState, init_masks
from rigl_core.methods import METHODS
from rigl_core.scores import Layer, momentum_of
from rigl_core.topology import drop_and_grow, mean_of_active, prune


def layer(weight: list[float], gradient: list[float], momentum: list[float] | None = None) -> Layer:
    return Layer(
        torch.tensor(weight).float(),
        torch.tensor(gradient).float(),
        None if momentum is None else torch.tensor(momentum).float(),
        torch.Generator().manual_seed(0),
    )


def state(**masks: list[int]) -> MaskState:
    tensors = {name: torch.tensor(mask, dtype=torch.bool) for name, mask in masks.items()}
    return MaskState(tensors, {name: sum(mask) for name, mask in masks.items()})


LAYERS = {
    # active 0–3; mean |gradient| of the active 1, mean |momentum| 4
    "a": layer([4, 3, 2, 1, 0, 0, 0, 0], [1, -1, 1, 1, 9, 8, 7, 6], [4, 4, -4, 4, 0, 1, 2, 3]),
    # active 0–3; mean |gradient| of the active 3, mean |momentum| 0
    "b": layer([1, 2, 3, 4, 0, 0, 0, 0], [3, -3, 3, 3, 1, 2, 3, 4], [0, 0, 0, 0, 5, 6, 7, 8]),
}
MASKS = state(a=[1, 1, 1, 1, 0, 0, 0, 0], b=[1, 1, 1, 1, 0, 0, 0, 0])


@pytest.fixture(params=["cpu", "device"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU's, and a device's: plain torch, so that it can be tried without one."""
    if request.param == "device":
        monkeypatch.setattr(topology, "_on_cpu", lambda _: False)


@pytest.mark.usefixtures("way")
def test_statistics_are_means_over_active_weights() -> None:
    assert mean_of_active(LAYERS, MASKS, "gradient") == {"a": 1.0, "b": 3.0}
    assert mean_of_active(LAYERS, MASKS, "momentum") == {"a": 4.0, "b": 0.0}
    few = {"one": layer([0, 2], [5, -7]), "none": layer([0, 0], [5, -7])}
    assert mean_of_active(few, state(one=[0, 1], none=[0, 0]), "gradient") == {"one": 7.0, "none": 0.0}


@pytest.mark.parametrize(
    ("method", "a", "b"),
    [
        # each drops 2; a keeps 0, 1 and b keeps 2, 3
        ("rigl", [1, 1, 0, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0, 0, 1]),  # each grows 2 by |gradient|, ties by index
        ("rigl_sg", [1, 1, 0, 0, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 1]),  # 4 to grow, 1 : 3
        ("rigl_sm", [1, 1, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0, 0]),  # 4 to grow, 4 : 0, by |gradient|
        ("snfs", [1, 1, 1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0, 0, 0]),  # 4 to grow, 4 : 0, by |momentum|
    ],
)
@pytest.mark.usefixtures("way")
def test_drop_and_grow_by_hand(method: str, a: list[int], b: list[int]) -> None:
    new, n_drop = drop_and_grow(LAYERS, MASKS, METHODS[method], drop_fraction=0.5)
    assert n_drop == {"a": 2, "b": 2}
    assert new.masks["a"].int().tolist() == a
    assert new.masks["b"].int().tolist() == b
    assert new.n_active == {"a": sum(a), "b": sum(b)}
    assert MASKS.n_active == {"a": 4, "b": 4}  # pure: nothing given is changed
    assert MASKS.masks["a"].int().tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.usefixtures("way")
def test_a_layer_too_small_to_drop_a_weight_grows_what_others_dropped() -> None:
    layers = {"a": layer([4, 0, 0, 0], [9, 1, 3, 2]), "b": LAYERS["b"]}  # means 9 and 3: of two weights 1.5 and 0.5
    masks = state(a=[1, 0, 0, 0], b=[1, 1, 1, 1, 0, 0, 0, 0])
    new, n_drop = drop_and_grow(layers, masks, METHODS["rigl_sg"], drop_fraction=0.5)
    assert n_drop == {"a": 0, "b": 2}
    assert new.masks["a"].int().tolist() == [1, 0, 1, 1]  # a tie: the earlier layer's
    assert new.masks["b"].int().tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert new.n_active == {"a": 3, "b": 2}


@pytest.mark.usefixtures("way")
def test_where_nothing_moves_the_masks_stay() -> None:
    new, n_drop = drop_and_grow(LAYERS, MASKS, METHODS["snfs"], drop_fraction=0.2)  # of four weights none
    assert n_drop == {"a": 0, "b": 0}
    assert new == MASKS
    assert drop_and_grow({}, MASKS, METHODS["snfs"], drop_fraction=0.5) == (MASKS, {})


def test_numbers_are_drawn_in_the_order_of_the_layers_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layerwise, "WORTH_IT", 0)
    n_threads = torch.get_num_threads()
    masks = init_masks({"a": (40,), "b": (400,), "c": (50,)}, {"a": 9, "b": 90, "c": 9}, torch.Generator())
    new = []
    for n in (1, 2):
        torch.set_num_threads(n)  # with two the largest layer comes first
        random = torch.Generator().manual_seed(0)
        layers = {name: Layer(mask.float(), mask.float(), None, random) for name, mask in masks.masks.items()}
        new.append(drop_and_grow(layers, masks, METHODS["set"], drop_fraction=0.5)[0].masks)
    torch.set_num_threads(n_threads)
    assert all(torch.equal(new[0][name], new[1][name]) for name in masks.masks)


@pytest.mark.usefixtures("way")
def test_layers_that_are_not_given_stay() -> None:
    new, n_drop = drop_and_grow({"b": LAYERS["b"]}, MASKS, METHODS["rigl_sg"], drop_fraction=0.5)
    assert new.masks["a"] is MASKS.masks["a"]
    assert n_drop == {"b": 2}
    assert sum(new.n_active.values()) == 8


def test_pruning_by_hand() -> None:
    weights = {"a": torch.tensor([[4.0, -1.0], [0.5, 3.0]]), "b": torch.tensor([2.0, -1.0, 1.0, 0.1])}
    full = state(a=[1, 1, 1, 1], b=[1, 1, 1, 1])
    full.masks["a"] = full.masks["a"].view(2, 2)
    new, n_drop = prune(weights, full, sparsity=0.5)
    # the four largest of 4, 3, 2, and the first of three ties at 1
    assert new.masks["a"].int().tolist() == [[1, 1], [0, 1]]
    assert new.masks["b"].int().tolist() == [1, 0, 0, 0]
    assert (n_drop, new.n_active) == ({"a": 1, "b": 3}, {"a": 3, "b": 1})
    again, n_drop = prune(weights, new, sparsity=0.25)  # a ramp never gives weights back
    assert (again.n_active, n_drop) == (new.n_active, {"a": 0, "b": 0})


@given(
    st.integers(1, 40), st.integers(1, 40), st.lists(st.floats(0, 0.999), min_size=1, max_size=6), st.integers(0, 99)
)
def test_pruning_has_exact_counts_on_every_step_and_only_drops(
    one: int, two: int, sparsities: list[float], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = {"a": torch.randn(one, generator=generator), "b": torch.randn(two, 2, generator=generator)}
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    masks = init_masks(shapes, {"a": one, "b": 2 * two}, generator)
    for sparsity in sorted(sparsities):
        new, _ = prune(weights, masks, sparsity)
        assert sum(new.n_active.values()) == round((1 - sparsity) * (one + 2 * two))
        for name in weights:
            assert int(new.masks[name].sum()) == new.n_active[name]
            assert not (new.masks[name] & ~masks.masks[name]).any()
        masks = new


def test_momentum_of_each_optimizer() -> None:
    assert momentum_of({}) is None
    buffer = torch.tensor([1.0, -2.0])
    assert momentum_of({"momentum_buffer": buffer}) is buffer
    adam = momentum_of({"exp_avg": torch.tensor([1.0, 0.0]), "exp_avg_sq": torch.tensor([4.0, 0.0]), "step": 3})
    assert adam is not None
    assert adam.tolist() == pytest.approx([0.5, 0.0])
