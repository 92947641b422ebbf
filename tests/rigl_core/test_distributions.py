"""Distributions against hand-worked networks, and their laws on any network."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigl_core.distributions import (
    DISTRIBUTIONS,
    distribution_name,
    er,
    erk,
    layer_budgets,
    uniform,
    uniform_all,
)
from rigl_core.errors import BadInput, UnknownName

LENET = {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}


def test_erk_of_lenet_by_hand() -> None:
    # Raw densities (n_in + n_out)/(n_in·n_out) times sizes are 1084, 400, 110: they sum to 1594. At S = 0.98 the budget
    # is 0.02 · 266200 = 5324, so epsilon = 5324/1594 = 3.34003 and no density exceeds 1.
    epsilon = 5324 / 1594
    expected = {
        "fc1.weight": 1 - epsilon * 1084 / 235200,
        "fc2.weight": 1 - epsilon * 400 / 30000,
        "fc3.weight": 1 - epsilon * 110 / 1000,
    }
    assert erk(LENET, 0.98) == pytest.approx(expected)
    assert er(LENET, 0.98) == pytest.approx(expected)
    assert layer_budgets(LENET, erk(LENET, 0.98)) == {"fc1.weight": 3621, "fc2.weight": 1336, "fc3.weight": 367}


def test_erk_caps_layers_at_dense_by_hand() -> None:
    # Sizes 27, 288, 1000; sums of dimensions 3+1+3+3 = 10, 8+4+3+3 = 18, 10+100 = 110. S = 0.8: budget 263, and
    # epsilon = 263/138 = 1.906; densities 10/27·ε = 0.706, 18/288·ε = 0.119, 110/1000·ε = 0.21. None over 1.
    shapes = {"conv1": (3, 1, 3, 3), "conv2": (8, 4, 3, 3), "fc": (10, 100)}
    epsilon = 263 / 138
    assert erk(shapes, 0.8) == pytest.approx(
        {"conv1": 1 - epsilon * 10 / 27, "conv2": 1 - epsilon * 18 / 288, "fc": 1 - epsilon * 0.11}
    )
    # S = 0.5: budget 657.5, epsilon 4.764 puts conv1 at 1.76: it becomes dense. Second turn: (657.5 − 27)/128 = 4.926.
    epsilon = 630.5 / 128
    assert erk(shapes, 0.5) == pytest.approx({"conv1": 0.0, "conv2": 1 - epsilon * 18 / 288, "fc": 1 - epsilon * 0.11})


def test_er_ignores_kernels() -> None:
    shapes = {"conv": (8, 4, 3, 3), "fc": (10, 100)}
    epsilon = 0.1 * 1288 / (288 * 12 / 32 + 1000 * 110 / 1000)
    assert er(shapes, 0.9) == pytest.approx({"conv": 1 - epsilon * 12 / 32, "fc": 1 - epsilon * 110 / 1000})


def test_uniform_leaves_the_first_layer_dense_and_does_not_compensate() -> None:
    assert uniform(LENET, 0.9) == {"fc1.weight": 0.0, "fc2.weight": 0.9, "fc3.weight": 0.9}
    budgets = layer_budgets(LENET, uniform(LENET, 0.9))
    assert budgets == {"fc1.weight": 235200, "fc2.weight": 3000, "fc3.weight": 100}
    assert sum(budgets.values()) == 238300  # of 266200: S = 0.105, not 0.9


shapes = st.dictionaries(
    st.text("abc", min_size=1, max_size=4),
    st.one_of(
        st.tuples(st.integers(1, 64), st.integers(1, 64)),
        st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 5), st.integers(1, 5)),
    ),
    min_size=1,
    max_size=8,
)
sparsities = st.floats(0, 0.999)


@given(shapes, sparsities)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_sparsities_are_fractions_for_every_layer(name: str, network: dict, sparsity: float) -> None:
    result = DISTRIBUTIONS[name](network, sparsity)
    assert list(result) == list(network)
    assert all(0.0 <= value <= 1.0 for value in result.values())


@given(shapes, sparsities)
@pytest.mark.parametrize("name", ["er", "erk"])
def test_global_budget_is_met_within_one_weight_a_layer(name: str, network: dict, sparsity: float) -> None:
    budgets = layer_budgets(network, DISTRIBUTIONS[name](network, sparsity))
    wanted = (1 - sparsity) * sum(math.prod(shape) for shape in network.values())
    assert abs(sum(budgets.values()) - wanted) <= len(network) + 1e-6
    assert all(1 <= budgets[layer] <= math.prod(shape) for layer, shape in network.items())


@given(shapes, sparsities, sparsities)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_more_sparsity_never_makes_a_layer_denser(name: str, network: dict, one: float, two: float) -> None:
    low, high = (DISTRIBUTIONS[name](network, s) for s in sorted((one, two)))
    assert all(low[layer] <= high[layer] + 1e-9 for layer in network)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_impossible_sparsities_are_refused(name: str, sparsity: float) -> None:
    with pytest.raises(BadInput, match=r"must be in \[0, 1\)"):
        DISTRIBUTIONS[name](LENET, sparsity)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(BadInput, match="no maskable weights"):
        erk({}, 0.5)
    with pytest.raises(BadInput, match="every dimension must be at least 1"):
        erk({"w": (0, 3)}, 0.5)
    with pytest.raises(BadInput, match="no sparsity is given for layer fc2"):
        layer_budgets(LENET, {"fc1.weight": 0.5})
    with pytest.raises(BadInput, match=r"layer fc1.weight has sparsity 1.5"):
        layer_budgets(LENET, dict.fromkeys(LENET, 1.5))


def test_names() -> None:
    assert distribution_name("random") == "uniform"
    with pytest.raises(UnknownName) as caught:
        distribution_name("ekr")
    assert str(caught.value) == 'unknown distribution "ekr". Did you mean "erk"? Known: uniform, uniform_all, er, erk.'


def test_uniform_all_masks_the_first_layer_too():
    assert uniform_all(LENET, 0.9) == dict.fromkeys(LENET, 0.9)
    budgets = layer_budgets(LENET, uniform_all(LENET, 0.9))
    assert budgets == {"fc1.weight": 23_520, "fc2.weight": 3_000, "fc3.weight": 100}
