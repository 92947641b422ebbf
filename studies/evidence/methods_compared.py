"""Every two methods at each sparsity and distribution on test, paired by seed, and tests corrected for their number."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
from scipy import stats

from studies.analysis import difference
from studies.evidence.arms import Arm, arms_of, unequal_luck
from studies.evidence.holm import holm
from studies.reporting.findings import Difference
from studies.reporting.section import Evidence
from studies.spec import StudySpec

LEVEL = 0.05
"""A difference counts if its corrected p-value is below."""


@dataclass(frozen=True)
class Comparison:
    """Two methods at the same sparsity and distribution, on test, paired by seed.

    Attributes:
        method: the one whose accuracy the difference is counted from.
        other: the one it is counted to.
        difference: `method` minus `other`.
        p: of a paired t-test, times `unequal_luck`; None for one seed, or where every seed gives the same difference.
        corrected: `p` after Holm's correction over all comparisons of the campaign that have one.
    """

    method: str
    other: str
    difference: Difference
    p: float | None
    corrected: float | None = None

    @property
    def counts(self) -> bool:
        """Whether the difference is more than chance explains."""
        return self.corrected is not None and self.corrected < LEVEL


@dataclass(frozen=True)
class MethodsAt:
    """All methods at one sparsity and distribution.

    Attributes:
        place: the two in words.
        arms: the methods, by validation accuracy, the highest first.
        comparisons: of each with every later one that has test accuracies on a common seed.
    """

    place: str
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]


def compare_methods(frame: pd.DataFrame, spec: StudySpec) -> tuple[MethodsAt, ...]:
    """Every sparsity and distribution with a complete trial, in the order of the studies."""
    arms = arms_of(frame, spec)
    places = {(arm.study, arm.sparsity, arm.distribution): arm.place for arm in arms}
    found = []
    for key, place in places.items():
        own = [arm for arm in arms if (arm.study, arm.sparsity, arm.distribution) == key]
        own.sort(key=lambda arm: -arm.trained.val_accuracy.mean)
        pairs = itertools.combinations(own, 2)
        compared = [comparison for pair in pairs if (comparison := _compare(*pair)) is not None]
        found.append(MethodsAt(place, tuple(own), tuple(compared)))
    return _corrected(found)


def _compare(one: Arm, other: Arm) -> Comparison | None:
    gap = difference(one.trained.test_by_seed, other.trained.test_by_seed)
    if gap is None:
        return None
    p = None
    if gap.low is not None:  # there is an interval, so there is a spread to test against
        common = list(gap.by_seed)
        ours, theirs = ([arm.trained.test_by_seed[seed] for seed in common] for arm in (one, other))
        p = min(1.0, float(stats.ttest_rel(ours, theirs).pvalue) * unequal_luck(one, other))
    return Comparison(one.name, other.name, gap, p)


def _corrected(found: Sequence[MethodsAt]) -> tuple[MethodsAt, ...]:
    corrected = iter(holm([c.p for at in found for c in at.comparisons if c.p is not None]))
    return tuple(
        replace(
            at,
            comparisons=tuple(c if c.p is None else replace(c, corrected=next(corrected)) for c in at.comparisons),
        )
        for at in found
    )


def methods_of(evidence: Evidence) -> tuple[MethodsAt, ...]:
    """The same of a campaign, compared once a report: answer, first screen and section all tell of it."""
    found: tuple[MethodsAt, ...] | None = evidence.memo.get("methods")
    if found is None:
        found = evidence.memo["methods"] = compare_methods(evidence.frame, evidence.provenance.spec)
    return found
