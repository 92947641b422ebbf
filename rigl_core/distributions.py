"""How a network's sparsity is spread over its layers: uniformly, Erdős-Rényi, Erdős-Rényi-Kernel.

Every distribution has the same signature: shapes of the maskable weights in model order, and the sparsity asked for,
to the sparsity of each layer, in [0, 1].
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from rigl_core.errors import BadInput, UnknownName

Shape = tuple[int, ...]
Distribution = Callable[[Mapping[str, Shape], float], dict[str, float]]


def _check(shapes: Mapping[str, Shape], sparsity: float) -> None:
    if not 0.0 <= sparsity < 1.0:
        raise BadInput(f"sparsity is {sparsity}; it is the masked-out fraction and must be in [0, 1).")
    if not shapes:
        raise BadInput("the model has no maskable weights (no Conv or Linear layer).")
    for name, shape in shapes.items():
        if not shape or min(shape) < 1:
            raise BadInput(f"layer {name} has shape {shape}; every dimension must be at least 1.")


def uniform(shapes: Mapping[str, Shape], sparsity: float) -> dict[str, float]:
    """The same sparsity in every layer but the first, which stays dense (Evci et al. 2020, §3 (1)).

    The other layers do not make up for it, so the network as a whole is a little denser than asked, as the record of a
    run says (`realised_sparsity`). Users also call this distribution "random".

    Args:
        shapes: shapes of the maskable weights, in model order.
        sparsity: fraction to mask out, in [0, 1).

    Returns:
        The sparsity of each layer, by name.

    Raises:
        BadInput: no shapes, an empty shape or a sparsity outside [0, 1).
    """
    _check(shapes, sparsity)
    return {name: 0.0 if position == 0 else sparsity for position, name in enumerate(shapes)}


def uniform_all(shapes: Mapping[str, Shape], sparsity: float) -> dict[str, float]:
    """The same sparsity in every layer, the first included.

    For networks whose first layer has most of the weights, as that of a perceptron has: `uniform`, which leaves it
    dense, gives those hardly any sparsity. Arguments, result and errors as `uniform`.
    """
    _check(shapes, sparsity)
    return dict.fromkeys(shapes, sparsity)


def _erdos_renyi_scale_er(shape: Shape) -> float:
    n_out, n_in = shape[0], shape[1] if len(shape) > 1 else 1
    return (n_in + n_out) / (n_in * n_out)


def _erdos_renyi_scale_erk(shape: Shape) -> float:
    return sum(shape) / math.prod(shape)


def _scaled(shapes: Mapping[str, Shape], sparsity: float, scale_of: Callable[[Shape], float]) -> dict[str, float]:
    """Densities ε·scale(layer), capped at 1, with ε such that the whole network has the density asked for.

    With D the layers capped at dense and F the others, the budget (1 − S)·N splits as
    Σ_{l∈D} n_l + ε·Σ_{l∈F} scale_l·n_l; solving for ε may push a further layer over 1, which then joins D. Every turn
    moves at least one layer, so it ends after at most as many turns as there are layers.
    """
    _check(shapes, sparsity)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    scales = {name: scale_of(shape) for name, shape in shapes.items()}
    budget = (1.0 - sparsity) * sum(sizes.values())
    dense: set[str] = set()
    epsilon = 0.0
    while len(dense) < len(sizes):
        left = budget - sum(sizes[name] for name in dense)
        epsilon = left / sum(scales[name] * sizes[name] for name in sizes if name not in dense)
        over = {name for name in sizes if name not in dense and epsilon * scales[name] > 1.0}
        if not over:
            break
        dense |= over
    return {name: 0.0 if name in dense else 1.0 - epsilon * scales[name] for name in sizes}


def er(shapes: Mapping[str, Shape], sparsity: float) -> dict[str, float]:
    """Erdős-Rényi: density proportional to (n_in + n_out)/(n_in·n_out), kernels ignored (Mocanu et al. 2018).

    Capped at dense; the network as a whole has exactly the sparsity asked for, up to rounding. Arguments, result and
    errors as `uniform`.
    """
    return _scaled(shapes, sparsity, _erdos_renyi_scale_er)


def erk(shapes: Mapping[str, Shape], sparsity: float) -> dict[str, float]:
    """Erdős-Rényi-Kernel: density proportional to (sum of dimensions)/(product of dimensions) (Evci et al. 2020, §3).

    Capped at dense; the network as a whole has exactly the sparsity asked for, up to rounding. Arguments, result and
    errors as `uniform`.
    """
    return _scaled(shapes, sparsity, _erdos_renyi_scale_erk)


DISTRIBUTIONS: Mapping[str, Distribution] = MappingProxyType(
    {"uniform": uniform, "uniform_all": uniform_all, "er": er, "erk": erk}
)
ALIASES: Mapping[str, str] = MappingProxyType({"random": "uniform"})
"""Other words users have for a distribution."""
TITLES: Mapping[str, str] = MappingProxyType(
    {"uniform": "uniform", "uniform_all": "uniform (all layers)", "er": "ER", "erk": "ERK"}
)
"""Their names as people write them."""


def distribution_name(name: str) -> str:
    """The key of DISTRIBUTIONS that `name` stands for ("random" is "uniform").

    Raises:
        UnknownName: neither a key nor an alias.
    """
    canonical = ALIASES.get(name, name)
    if canonical not in DISTRIBUTIONS:
        raise UnknownName("distribution", name, DISTRIBUTIONS)
    return canonical


def layer_budgets(shapes: Mapping[str, Shape], sparsities: Mapping[str, float]) -> dict[str, int]:
    """Number of active weights of each layer. The only place where a sparsity is rounded to a count.

    A layer keeps at least one weight, so that no layer cuts the network in two.

    Raises:
        BadInput: a layer's sparsity is missing or outside [0, 1].
    """
    budgets = {}
    for name, shape in shapes.items():
        if name not in sparsities:
            raise BadInput(f"no sparsity is given for layer {name}; given: {', '.join(sparsities) or 'none'}.")
        if not 0.0 <= sparsities[name] <= 1.0:
            raise BadInput(f"layer {name} has sparsity {sparsities[name]}; it must be in [0, 1].")
        size = math.prod(shape)
        budgets[name] = max(1, round((1.0 - sparsities[name]) * size))
    return budgets
