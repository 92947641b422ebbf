"""Sharing out what is grown: by hand, and exact on anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigl_core.errors import BadInput
from rigl_core.redistribute import redistribute


def share(n_grow: int, **layers: tuple[int, int, float]) -> dict[str, int]:
    """Layers as (kept, size, statistic)."""
    return redistribute(
        n_keep={name: layer[0] for name, layer in layers.items()},
        sizes={name: layer[1] for name, layer in layers.items()},
        n_grow=n_grow,
        statistic={name: layer[2] for name, layer in layers.items()},
    )


def test_in_proportion_by_hand() -> None:
    assert share(12, a=(5, 100, 1.0), b=(5, 100, 2.0), c=(5, 100, 3.0)) == {"a": 2, "b": 4, "c": 6}


def test_largest_remainders_by_hand() -> None:
    # 10 · (1, 2, 4)/7 = 1.43, 2.86, 5.71: floors 1, 2, 5; the two left go to b (0.86) and c (0.71)
    assert share(10, a=(1, 99, 1.0), b=(1, 99, 2.0), c=(1, 99, 4.0)) == {"a": 1, "b": 3, "c": 6}
    # equal remainders: the earlier layer
    assert share(1, a=(1, 9, 1.0), b=(1, 9, 1.0)) == {"a": 1, "b": 0}


def test_what_does_not_fit_is_shared_again_by_hand() -> None:
    # c wants 6 of 12 but has room for 2; the other 10 go 1 : 2
    assert share(12, a=(5, 100, 1.0), b=(5, 100, 2.0), c=(5, 7, 3.0)) == {"a": 3, "b": 7, "c": 2}
    # everything full
    assert share(6, a=(5, 8, 1.0), b=(5, 8, 0.0)) == {"a": 3, "b": 3}


def test_a_layer_that_keeps_nothing_gets_one_weight() -> None:
    assert share(4, a=(0, 10, 0.0), b=(3, 10, 1.0)) == {"a": 1, "b": 3}


def test_statistics_that_say_nothing_leave_it_to_the_room() -> None:
    assert share(6, a=(1, 3, 0.0), b=(1, 5, 0.0)) == {"a": 2, "b": 4}
    assert share(6, a=(1, 3, float("nan")), b=(1, 5, float("inf"))) == {"a": 2, "b": 4}


@pytest.mark.parametrize("nothing", [0.0, -0.5, -1.0, float("nan"), float("inf")])
def test_a_statistic_that_says_nothing_counts_as_0_beside_one_that_does(nothing: float) -> None:
    assert share(60, a=(1, 9, nothing), b=(1, 99, 2.0)) == {"a": 0, "b": 60}
    assert share(6, a=(1, 9, nothing), b=(1, 5, 2.0)) == {"a": 2, "b": 4}  # what does not fit


def test_more_than_fits_is_refused_and_less_than_nothing() -> None:
    with pytest.raises(BadInput, match="cannot grow 8 weights in layers with room for 7"):
        share(8, a=(1, 3, 1.0), b=(0, 5, 1.0))
    assert share(7, a=(1, 3, 1.0), b=(0, 5, 1.0)) == {"a": 2, "b": 5}
    with pytest.raises(BadInput, match="cannot grow -1 weights"):
        share(-1, a=(1, 3, 1.0))


@given(st.data())
def test_exact_and_never_overfull(data: st.DataObject) -> None:
    n_layers = data.draw(st.integers(1, 8))
    sizes = data.draw(st.lists(st.integers(1, 500), min_size=n_layers, max_size=n_layers))
    kept = [data.draw(st.integers(0, size)) for size in sizes]
    statistics = data.draw(st.lists(st.floats(0, 1e30) | st.just(float("nan")), min_size=n_layers, max_size=n_layers))
    room = sum(sizes) - sum(kept)
    n_grow = data.draw(st.integers(sum(k == 0 for k in kept), room))
    layers = {f"l{i}": (kept[i], sizes[i], statistics[i]) for i in range(n_layers)}
    grown = share(n_grow, **layers)
    assert sum(grown.values()) == n_grow
    for name, (keep, size, _) in layers.items():
        assert 0 <= grown[name] <= size - keep
        assert keep + grown[name] >= 1


def test_where_there_are_fewer_weights_than_empty_layers_the_largest_statistic_comes_first() -> None:
    grown = redistribute(
        n_keep={"a": 0, "b": 3, "c": 0, "d": 0},
        sizes={"a": 5, "b": 9, "c": 5, "d": 5},
        n_grow=2,
        statistic={"a": 0.1, "b": 9.0, "c": 0.5, "d": 0.3},
    )
    assert grown == {"a": 0, "b": 0, "c": 1, "d": 1}
    assert redistribute(n_keep={"a": 0}, sizes={"a": 5}, n_grow=0, statistic={"a": 1.0}) == {"a": 0}
