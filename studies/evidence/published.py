"""Beside the published: our numbers, theirs, and the difference in units of its standard error."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy import stats

from studies import names
from studies.evidence.arms import Arm, arms_of, finite, longer
from studies.evidence.published_numbers import ANY, Place, PublishedTable, Row, published_tables
from studies.reporting import contained
from studies.reporting.findings import Estimate, Setting
from studies.reporting.section import Block, Evidence, Section, Text
from studies.reporting.wording import count, listed, multiple, percent, setting, signed
from studies.search_space import Value
from studies.spec import StudySpec, pair_in_words
from studies.tables import Table

FAR = 2.0
"""A difference of more standard errors than this is worth a word."""


@dataclass(frozen=True)
class Beside:
    """One published number and ours.

    Attributes:
        ours: the trial beside it; None while there is none.
        is_reference: whether that is the campaign's reference, with the settings of the publication; else it is the
            best on validation, which is what belongs beside a setting that a search chose.
        n_compared: complete trials that one was chosen from; 0 while there is none.
    """

    table: PublishedTable
    row: Row
    place: str
    ours: Setting | None
    is_reference: bool
    n_compared: int

    @property
    def estimate(self) -> Estimate:
        """Our test accuracy."""
        return self.ours.test_accuracy if self.ours else Estimate.of(())

    @property
    def difference(self) -> float:
        """Ours minus theirs, a fraction; NaN where ours is not known."""
        return self.estimate.mean - self.row.test / 100

    @property
    def standard_error(self) -> float:
        """Of the difference, a fraction: of two independent means; NaN for one seed of ours."""
        own = self.estimate
        if own.n < 2:
            return math.nan
        return math.hypot(own.std / math.sqrt(own.n), self.table.standard_error(self.row) / 100)

    @property
    def chance_within(self) -> float:
        """How likely the difference is within `FAR` standard errors where the two are the same.

        By Student's t with the degrees of freedom of Welch and Satterthwaite; few seeds leave far fewer than 95 %.
        """
        own, theirs = self.estimate.std**2 / self.estimate.n, (self.table.standard_error(self.row) / 100) ** 2
        spread = own**2 / (self.estimate.n - 1) + theirs**2 / (self.table.seeds - 1)
        return float(1 - 2 * stats.t.sf(FAR, (own + theirs) ** 2 / spread))

    @property
    def in_standard_errors(self) -> float:
        """The difference in units of its standard error; NaN where that is not known or 0."""
        error = self.standard_error
        return self.difference / error if error > 0 else math.nan


def beside_published(
    frame: pd.DataFrame, spec: StudySpec, tables: Sequence[PublishedTable] | None = None
) -> tuple[Beside, ...]:
    """Every published number with the settings of one of the campaign's studies.

    Args:
        frame: the trials.
        spec: what was asked for; its studies decide what can be compared, trained or not.
        tables: published numbers; those that come with the service if None.
    """
    arms = arms_of(frame, spec)
    configs = [plan.base_config.model_dump() for plan in spec.plans()]
    found = []
    for table in published_tables() if tables is None else tables:
        if not _is_about(table, spec):
            continue
        for row in table.rows:
            if any(_planned(row, config, spec) for config in configs):
                arm = next((arm for arm in arms if _matches(row, arm)), None)
                found.append(_beside(table, row, arm))
    return tuple(found)


def not_at_hand(spec: StudySpec, tables: Sequence[PublishedTable] | None = None) -> tuple[Place, ...]:
    """What was published of the campaign's studies, too, but could not be had; arguments as of `beside_published`."""
    about = [table for table in (published_tables() if tables is None else tables) if _is_about(table, spec)]
    configs = [plan.base_config.model_dump() for plan in spec.plans()]
    return tuple(
        place for table in about for place in table.lacks if any(_planned(place, config, spec) for config in configs)
    )


def _is_about(table: PublishedTable, spec: StudySpec) -> bool:
    """Whether the campaign repeats the table: by its name, or as it trains the same network on the same data."""
    if spec.name in table.campaigns:
        return True
    config = spec.plans()[0].base_config
    searched = {"model", "dataset"} & set(spec.search)
    return not searched and (config.model, config.dataset) == (table.settings["model"], table.settings["dataset"])


def _planned(row: Place, config: Mapping[str, Any], spec: StudySpec) -> bool:
    """Whether one of the campaign's trials can have the settings of a row, or one of its searches can choose them."""
    if not set(row.tuned) <= set(spec.search):
        return False
    asked: dict[str, Value] = {
        "method": row.method,
        "sparsity": row.sparsity,
        "distribution": row.distribution,
        "train_multiplier": row.train_multiplier,
    }
    return all(
        spec.search[key].contains(value) if key in spec.search and value != ANY else value in (config[key], ANY)
        for key, value in asked.items()
    )


def _matches(row: Row, arm: Arm) -> bool:
    return (
        (row.method, row.train_multiplier) == (arm.method, arm.train_multiplier)
        and math.isclose(row.sparsity, arm.sparsity, abs_tol=1e-9)
        and row.distribution in (arm.distribution, ANY)
    )


def _in_words(row: Place) -> str:
    name = names.method(longer(row.method, row.train_multiplier))
    place = pair_in_words(row.sparsity, None if row.distribution == ANY else row.distribution, None)
    tuned = f", tuned ({setting(row.tuned)})" if row.tuned else ""
    return f"{name}, {place}{tuned}"


def _beside(table: PublishedTable, row: Row, arm: Arm | None) -> Beside:
    place = _in_words(row)
    if arm is None:
        return Beside(table, row, place, None, is_reference=False, n_compared=0)
    # Most published numbers are of the reference settings, so ours should be too: the best of many is luckier.
    if arm.reference is not None and not row.tuned:
        return Beside(table, row, place, arm.reference, is_reference=True, n_compared=1)
    return Beside(table, row, place, arm.trained, is_reference=False, n_compared=arm.n_compared)


@contained.section("published", "Beside the published")
def section(evidence: Evidence) -> Section | None:
    """Ours beside theirs; None for campaigns of which nothing was published."""
    spec = evidence.provenance.spec
    found = beside_published(evidence.frame, spec)
    if not found:
        return None
    blocks: list[Block] = [Text(_finding(found), "finding"), _table(found)]
    blocks += [Text(text, "text") for text in _unlike(found, spec)]
    if lacking := [_in_words(place) for place in not_at_hand(spec)]:
        blocks.append(
            Text(f"Published, too, but not in the copy the numbers were taken from: {listed(lacking)}.", "text")
        )
    sources = dict.fromkeys(f"{one.table.name}: {one.table.source}" for one in found)
    blocks.append(
        Text(
            "Published by Sundar and Dwaraknath, “[Re] Rigging the Lottery: Making All Tickets Winners”, ML "
            "Reproducibility Challenge 2020 (arXiv 2103.15767), taken from the article and their repository "
            "rigl-reproducibility. "
            f"{'; '.join(sources)}. The standard error is that of the difference of two independent means over seeds.",
            "note",
        )
    )
    return Section("published", "Beside the published", "Published", tuple(blocks), _summary(found))


def _finding(found: Sequence[Beside]) -> str:
    known = [one for one in found if math.isfinite(one.difference)]
    if not known:
        return f"None of the {count(len(found), 'published number')} has a trial of ours beside it yet."
    judged = [one for one in known if math.isfinite(one.in_standard_errors)]
    mean = 100 * math.fsum(one.difference for one in known) / len(known)
    lead = f"Ours minus the published is {signed(mean, 2)} points on average of {count(len(known), 'setting')}"
    if not judged:
        return f"{lead}; with one seed there is no standard error to measure it by."
    near = sum(abs(one.in_standard_errors) <= FAR for one in judged)
    said = f"{lead}; {near} of {len(judged)} lie within {FAR:g} standard errors of the published"
    if len(judged) > 1:
        expected = math.fsum(one.chance_within for one in judged)
        said += f" (of as many that differ by chance alone {expected:.1f} would)"
    far = max(judged, key=lambda one: abs(one.in_standard_errors))
    if near == len(judged):
        return f"{said}."
    return f"{said}, and {far.place} is furthest off ({signed(far.in_standard_errors, 1)})."


def _table(found: Sequence[Beside]) -> Table:
    rows = []
    for one in found:
        theirs = f"{one.row.test:.1f} ± {one.row.std:.2g} %"
        which = "not trained yet"
        if one.ours:
            which = "the reference" if one.is_reference else setting(one.ours.params) or "the only setting"
        rows.append(
            (
                one.place,
                which,
                percent(one.estimate),
                theirs,
                signed(100 * one.difference, 2),
                signed(one.in_standard_errors, 1),
                _flops(one.ours.train_flops if one.ours else math.nan, one.row.train_flops),
                _flops(one.ours.inference_flops if one.ours else math.nan, one.row.inference_flops),
            )
        )
    header = (
        *("setting", "ours", "ours, test", "published, test", "difference in points", "in standard errors"),
        *("training FLOPs, ours (published)", "inference FLOPs, ours (published)"),
    )
    title = "Test accuracy beside the published"
    return Table("published", title, header, tuple(rows), frozenset(range(2, len(header))))


def _flops(ours: float, theirs: float | None) -> str:
    return multiple(ours) if theirs is None else f"{multiple(ours)} ({multiple(theirs)})"


def _unlike(found: Sequence[Beside], spec: StudySpec) -> list[str]:
    """What makes the comparison one of unlike things."""
    config = spec.plans()[0].base_config.model_dump()
    settings = {key: value for one in found for key, value in one.table.settings.items()}
    # Without a reference to train them with, searched settings are what the best had.
    fixed = {key for key in settings if key not in spec.search or spec.strategy.reference}
    changed = [
        f"{key} {config[key]} (published {settings[key]})"
        for key in settings
        if key in fixed and config[key] != settings[key]
    ]
    if config["train_size"] is not None:
        changed.append(f"train_size {config['train_size']:,} (published: all)")
    unlike = [f"Not like with like: ours had {', '.join(changed)}."] if changed else []
    if any(one.n_compared > 1 and not one.row.tuned for one in found):
        unlike.append(
            "Where ours is not the reference, it is the best of several on validation, and the published is of one "
            "setting: some of the difference is the luck of the best."
        )
    return unlike


def _summary(found: Sequence[Beside]) -> Mapping[str, Any]:
    return {
        "settings": [
            {
                "method": one.row.method,
                "sparsity": one.row.sparsity,
                "distribution": one.row.distribution,
                "train_multiplier": one.row.train_multiplier,
                "tuned": dict(one.row.tuned) or None,
                "source": one.table.source,
                "published": one.row.test / 100,
                "published_std": one.row.std / 100,
                "number": one.ours.number if one.ours else None,
                "test_accuracy": finite(one.estimate.mean),
                "test_std": finite(one.estimate.std),
                "difference": finite(one.difference),
                "standard_error": finite(one.standard_error),
            }
            for one in found
        ]
    }


KEYS: Mapping[str, str] = {
    "published.settings[].method": "method of a published number",
    "published.settings[].sparsity": "its sparsity",
    "published.settings[].distribution": 'its distribution, or "any"',
    "published.settings[].train_multiplier": "how many times longer it was trained",
    "published.settings[].tuned": "what a search chose, by parameter, where the number is that setting's; else null",
    "published.settings[].source": "where the number stands",
    "published.settings[].published": "mean test accuracy, a fraction",
    "published.settings[].published_std": "standard deviation over its seeds",
    "published.settings[].number": "of our trial in its study; null while there is none",
    "published.settings[].test_accuracy": "our mean over the seeds",
    "published.settings[].test_std": "our standard deviation over them",
    "published.settings[].difference": "ours minus the published",
    "published.settings[].standard_error": "of that difference; null for one seed",
}
