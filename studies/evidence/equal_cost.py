"""Distributions at equal cost: does another one beat uniform with as many weights, and with as many FLOPs?

At equal sparsity, erk has more FLOPs than uniform, so the two answers differ (Sundar & Dwaraknath 2021). Between the
sparsities that were trained, accuracies are interpolated; beyond them nothing is said.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rigl_core.methods import METHODS
from studies import names
from studies.analysis import difference
from studies.evidence.arms import Arm
from studies.evidence.costs import BY_COLUMN, Cost
from studies.reporting.findings import Difference

EQUAL = 0.02
"""Costs that differ by no more than this fraction count as the same."""
BASES = ("uniform", "uniform_all")
"""What others are compared with: the first of these that a method was trained with."""
COMPARED = (BY_COLUMN["n_active"], BY_COLUMN["train_flops"])


@dataclass(frozen=True)
class EqualCost:
    """A distribution against a uniform one where both cost the same.

    Attributes:
        method: trained with both.
        base: a key of BASES.
        other: the distribution compared with it.
        at: the cost.
        base_place: the sparsity of the base there, or those it was interpolated between.
        other_place: the same of the other.
        interpolated: one side was not trained at this very cost.
        difference: other minus base on test, paired by seed.
    """

    method: str
    base: str
    other: str
    cost: Cost
    at: float
    base_place: str
    other_place: str
    interpolated: bool
    difference: Difference


@dataclass(frozen=True)
class OutOfReach:
    """A setting whose cost is below or above everything that was trained of the distribution to compare with."""

    method: str
    base: str
    other: str
    cost: Cost
    sentence: str


@dataclass(frozen=True)
class _Point:
    """Accuracies by seed at a cost, trained or interpolated."""

    place: str
    test_by_seed: Mapping[int, float]
    exact: bool


def equal_costs(arms: Sequence[Arm]) -> tuple[tuple[EqualCost, ...], tuple[OutOfReach, ...]]:
    """Every arm of the base set against each other distribution of its method, and the other way round."""
    compared: list[EqualCost] = []
    out_of_reach: list[OutOfReach] = []
    known = [arm for arm in arms if arm.reached() and _has_distribution(arm.method)]
    for method in dict.fromkeys(arm.name for arm in known):
        own = [arm for arm in known if arm.name == method]
        trained = {arm.distribution: [a for a in own if a.distribution == arm.distribution] for arm in own}
        base = next((name for name in BASES if name in trained), "")
        for other in trained if base else ():
            for cost in COMPARED if other != base else ():
                found = _at_equal_cost(method, base, other, cost, trained[base], trained[other])
                compared += found[0]
                out_of_reach += found[1]
    return tuple(compared), tuple(out_of_reach)


def _has_distribution(method: str) -> bool:
    """Whether the method draws its masks by the distribution at all."""
    row = METHODS.get(method)
    return row is None or (row.sparse and not row.ramp)


def _at_equal_cost(
    method: str, base: str, other: str, cost: Cost, of_base: Sequence[Arm], others: Sequence[Arm]
) -> tuple[list[EqualCost], list[OutOfReach]]:
    compared: list[EqualCost] = []
    missing: list[OutOfReach] = []
    met: set[str] = set()
    for anchors, curve, anchor_is_base in ((of_base, others, True), (others, of_base, False)):
        for anchor in anchors:
            at = _cost(anchor, cost)
            if math.isnan(at) or (not anchor_is_base and anchor.place in met):
                continue
            point = _interpolated(curve, cost, at)
            if point is None:
                missing.append(OutOfReach(method, base, other, cost, _why(anchor, at, cost, curve)))
                continue
            if point.exact:
                met.add(point.place)  # seen from its side, the pair would be the same
            own = _Point(anchor.place, anchor.trained.test_by_seed, exact=True)
            low, high = (own, point) if anchor_is_base else (point, own)
            gap = difference(high.test_by_seed, low.test_by_seed)
            if gap is not None:
                compared.append(EqualCost(method, base, other, cost, at, low.place, high.place, not point.exact, gap))
    return compared, missing


def _interpolated(curve: Sequence[Arm], cost: Cost, at: float) -> _Point | None:
    """The accuracies of a distribution at a cost, linear in its logarithm; None outside what was trained."""
    priced = sorted((_cost(arm, cost), i) for i, arm in enumerate(curve) if _cost(arm, cost) > 0)
    if not priced or at <= 0:
        return None
    nearest, i = min(priced, key=lambda item: abs(math.log(item[0] / at)))
    if abs(math.log(nearest / at)) <= EQUAL:
        return _Point(curve[i].place, curve[i].trained.test_by_seed, exact=True)
    below = [item for item in priced if item[0] < at]
    above = [item for item in priced if item[0] > at]
    if not below or not above:
        return None
    (low_cost, low), (high_cost, high) = below[-1], above[0]
    share = math.log(at / low_cost) / math.log(high_cost / low_cost)
    first, last = curve[low].trained.test_by_seed, curve[high].trained.test_by_seed
    values = {seed: (1 - share) * first[seed] + share * last[seed] for seed in first if seed in last}
    sparsities = sorted((curve[low].sparsity, curve[high].sparsity))
    return _Point(f"between S = {sparsities[0]:g} and {sparsities[1]:g}", values, exact=False)


def _why(anchor: Arm, at: float, cost: Cost, curve: Sequence[Arm]) -> str:
    other = names.distribution(curve[0].distribution)
    costs = [value for arm in curve if not math.isnan(value := _cost(arm, cost))]
    what = f"{names.method(anchor.name)} at {anchor.place} has {cost.shown(at)} {cost.noun}"
    if not costs:
        return f"{what}, and those of {other} are not known"
    ends = sorted({cost.shown(min(costs)), cost.shown(max(costs))}, key=lambda shown: shown != cost.shown(min(costs)))
    return f"{what} and {other} {' to '.join(ends)}"


def _cost(arm: Arm, cost: Cost) -> float:
    return arm.n_active if cost.column == "n_active" else float(getattr(arm.trained, cost.column))
