"""Several campaigns side by side: where two have the same pair, how far apart their references and bests are on test.

Pure functions. The first campaign is what the others are compared with. Pairs are the same where their labels are, that
is at the same sparsity and distribution; whatever else the campaigns differ in, is said beside.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy import stats

from studies.analysis import analyse, difference
from studies.frame import Provenance
from studies.reporting.findings import CONFIDENCE, MARGIN, Analysis, Setting
from studies.reporting.wording import NOT_KNOWN
from studies.spec import StudySpec

ROLES = ("reference", "best")


@dataclass(frozen=True)
class Member:
    """One of the campaigns, from `studies.frame`, and what its trials say."""

    frame: pd.DataFrame
    provenance: Provenance
    analysis: Analysis

    @property
    def name(self) -> str:
        """Name of the campaign."""
        return self.analysis.campaign


@dataclass(frozen=True)
class Gap:
    """How much better a setting of one campaign is on test than the same campaign's counterpart in the first.

    Attributes:
        label: the pair.
        role: which settings, one of `ROLES`.
        campaign: the one that is compared with the first.
        mean: its mean test accuracy minus the first's.
        low: lower end of the 95 % interval; None where there are too few seeds for one.
        high: upper end.
        by_seed: the differences of the seeds that both trained, by which it is paired; empty where too few are shared,
            and the seeds of each stand for themselves.
    """

    label: str
    role: str
    campaign: str
    mean: float
    low: float | None
    high: float | None
    by_seed: Mapping[int, float]

    @property
    def sign(self) -> int | None:
        """1 where the interval is above zero, -1 where below, 0 where it holds zero; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True)
class Comparison:
    """What several campaigns say about each other.

    Attributes:
        members: the campaigns, in the order they were named.
        gaps: of all after the first, in the order of its pairs.
        differing: what they were planned with differently: by its name in the specification, one value a campaign.
    """

    members: tuple[Member, ...]
    gaps: tuple[Gap, ...]
    differing: Mapping[str, tuple[str, ...]]


def compare(campaigns: Sequence[tuple[pd.DataFrame, Provenance]], margin: float = MARGIN) -> Comparison:
    """Compare campaigns, each a frame and its provenance; the first is what the others are compared with."""
    members = tuple(
        Member(
            frame,
            provenance,
            analyse(frame, provenance.campaign, margin, labels=provenance.labels, search=provenance.spec.search),
        )
        for frame, provenance in campaigns
    )
    gaps = tuple(gap for other in members[1:] for gap in _gaps(members[0], other))
    return Comparison(members, gaps, differing([member.provenance for member in members]))


def _gaps(first: Member, other: Member) -> Iterator[Gap]:
    counterparts = {pair.label: pair for pair in other.analysis.pairs}
    for pair in first.analysis.pairs:
        counterpart = counterparts.get(pair.label)
        if counterpart is None:
            continue
        for role in ROLES:
            found = gap_of(getattr(pair, role), getattr(counterpart, role))
            if found is not None:
                yield Gap(pair.label, role, other.name, *found)


Found = tuple[float, float | None, float | None, Mapping[int, float]]


def gap_of(first: Setting | None, other: Setting | None) -> Found | None:
    """Mean, ends of the interval and differences by seed of a `Gap`; None where there is nothing to compare.

    Paired by seed where two seeds or more are shared; else Welch's interval for two means, which supposes nothing about
    their spreads.
    """
    if first is None or other is None:
        return None
    paired = difference(other.test_by_seed, first.test_by_seed)
    if paired is not None and paired.n > 1:
        return paired.mean, paired.low, paired.high, paired.by_seed
    values = [list(setting.test_by_seed.values()) for setting in (other, first)]
    if not all(own and all(map(math.isfinite, own)) for own in values):
        return None
    mean = other.test_accuracy.mean - first.test_accuracy.mean
    if min(map(len, values)) < 2 or not any(setting.test_accuracy.std > 1e-12 for setting in (first, other)):
        return mean, None, None, {}
    ends = stats.ttest_ind(*values, equal_var=False).confidence_interval(CONFIDENCE)
    return mean, float(ends.low), float(ends.high), {}


def differing(provenances: Sequence[Provenance]) -> dict[str, tuple[str, ...]]:
    """What the specifications differ in, defaults filled in; what they are called and described as does not count."""
    plans = [_planned(provenance.spec) for provenance in provenances]
    names = dict.fromkeys(name for plan in plans for name in plan)
    told = {name: tuple(plan.get(name, NOT_KNOWN) for plan in plans) for name in names}
    return {name: values for name, values in told.items() if len(set(values)) > 1}


def _planned(spec: StudySpec) -> dict[str, str]:
    told = json.loads(spec.canonical_json())
    plan = spec.plans()[0]
    varied = {*plan.pair, *spec.search, "seeds"}
    config = plan.base_config.model_dump(mode="json")
    told["fixed"] = {name: value for name, value in config.items() if name not in varied}
    return _flat({name: told[name] for name in ("fixed", "pairs", "search", "strategy")})


def _flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {
            name: text
            for key, inner in value.items()
            for name, text in _flat(inner, f"{path}.{key}" if path else str(key)).items()
        }
    return {path: ", ".join(map(str, value)) if isinstance(value, list) else NOT_KNOWN if value is None else str(value)}
