"""How the weights to grow are shared out between layers. By default they are not: a layer grows what it dropped."""

import math
from collections.abc import Mapping

from rigl_core.errors import BadInput


def redistribute(
    *, n_keep: Mapping[str, int], sizes: Mapping[str, int], n_grow: int, statistic: Mapping[str, float]
) -> dict[str, int]:
    """Share `n_grow` weights between layers in proportion to a statistic, none beyond its size.

    What does not fit into a layer is shared between the others by the same rule, so every turn fills at least one layer
    and there are at most as many turns as layers. Fractions go to the largest remainders, ties to the earlier layer, so
    that the total is exact. A layer that keeps nothing gets one weight first, as far as there are any, the one with the
    largest statistic before the others: none need cut the network in two.

    Args:
        n_keep: active weights each layer keeps.
        sizes: weights each layer has.
        n_grow: weights to grow in all; at most what fits.
        statistic: the mean of |momentum| (SNFS, RigL-SM) or |gradient| (RigL-SG) over a layer's active weights
            (Dettmers & Zettlemoyer 2019, §3; the report, §5.4). Negative, NaN and infinite ones count as 0; where all
            are 0, room decides.

    Returns:
        How many weights each layer grows; they sum to `n_grow`.

    Raises:
        BadInput: `n_grow` does not fit.
    """
    room = {name: sizes[name] - n_keep[name] for name in n_keep}
    if not 0 <= n_grow <= sum(room.values()):
        raise BadInput(f"cannot grow {n_grow} weights in layers with room for {sum(room.values())}.")
    share = {name: value if math.isfinite(value) and value > 0 else 0.0 for name, value in statistic.items()}
    empty = sorted((name for name in n_keep if n_keep[name] == 0 and room[name] > 0), key=lambda name: -share[name])
    grown = {name: int(name in empty[:n_grow]) for name in n_keep}
    left = n_grow - sum(grown.values())
    unfilled = {name: room[name] - grown[name] for name in room if room[name] > grown[name]}
    while left > 0:
        total = math.fsum(share[name] for name in unfilled)
        weight = {
            name: share[name] / total if total > 0 else unfilled[name] / sum(unfilled.values()) for name in unfilled
        }
        full = [name for name in unfilled if left * weight[name] >= unfilled[name]]
        if not full:
            for name, n in _apportion(left, weight).items():
                grown[name] += n
            break
        for name in full:
            grown[name] += unfilled[name]
            left -= unfilled.pop(name)
    return grown


def _apportion(n: int, weight: Mapping[str, float]) -> dict[str, int]:
    """`n` shared in proportion to weights that sum to 1, by largest remainders."""
    shares = {name: math.floor(n * value) for name, value in weight.items()}
    by_remainder = sorted(weight, key=lambda name: shares[name] - n * weight[name])
    for name in by_remainder[: n - sum(shares.values())]:
        shares[name] += 1
    return shares
