"""Methods side by side: what each reached at each sparsity and distribution, and which differences are no chance."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from studies import names
from studies.evidence.arms import Arm, finite, luck_words
from studies.evidence.methods_compared import Comparison, MethodsAt, methods_of
from studies.evidence.methods_figure import accuracies
from studies.reporting import contained
from studies.reporting.section import Block, Evidence, Section, Text
from studies.reporting.wording import NOT_KNOWN, count, in_points, listed, multiple, percent, points
from studies.spec import StudySpec
from studies.tables import Table

NAMED = 3
"""Of so many pairs of methods the differences are named in the finding; all are in the tables."""


def is_question(spec: StudySpec) -> bool:
    """Whether methods, or how long they train, were varied to compare them: then the first screen does."""
    return bool({"method", "train_multiplier"} & spec.search.keys())


@contained.section("methods", "Methods side by side")
def section(evidence: Evidence) -> Section | None:
    """Which method is better where; None for campaigns with one method."""
    spec = evidence.provenance.spec
    found = methods_of(evidence)
    methods = {arm.name for at in found for arm in at.arms}
    if "method" not in spec.search and len(methods) < 2:
        return None
    if len(methods) < 2:
        only = f"only {names.method(next(iter(methods)))} has" if methods else "no method has"
        missing = Text(f"There is nothing to compare: {only} a complete trial.", "missing")
        return Section("methods", "Methods side by side", "Methods", (missing,), {"places": []})
    blocks: list[Block] = []
    if not is_question(spec):  # else they stand on the first screen
        blocks.append(Text(finding(found, spec.fixed.get("method")), "finding"))
        drawing = accuracies([arm for at in found for arm in at.arms])
        blocks += [drawing] if drawing is not None else []
    blocks.append(_reached_table(found))
    tables = [_differences_table(at) for at in found if at.comparisons]
    if tables:
        blocks += tables
        blocks.append(
            Text(
                "Row minus column, in points on test, paired by seed; a star marks a difference whose p-value, from a "
                "paired t-test with Holm's correction over all comparisons of these tables, is below 5 %. Methods are "
                "ordered by validation accuracy. Differences without a star may still be there: few seeds show only "
                f"large ones.{luck_words([at.arms for at in found])}",
                "note",
            )
        )
    return Section("methods", "Methods side by side", "Methods", tuple(blocks), summary(found))


def finding(found: Sequence[MethodsAt], reference: object) -> str:
    """What is sure; differences of sparse methods from the reference come first, as they are what was asked.

    What did not train at all is surely worse than everything else, which nobody asked: it is named behind.
    """
    return " ".join(filter(None, (_differences(found, reference), _broken(found))))


def _broken(found: Sequence[MethodsAt]) -> str:
    """Which methods learned nothing, and where; "" if all did."""
    told = []
    for name in dict.fromkeys(arm.name for at in found for arm in at.arms if arm.learned_nothing):
        own = [(at.place, arm) for at in found for arm in at.arms if arm.name == name]
        places = [place for place, arm in own if arm.learned_nothing]
        called = names.method(name)
        told.append(called if len(places) == len(own) else f"{called} at {listed(places)}")
    return f"No better than guessing, so trained in vain: {'; '.join(told)}." if told else ""


def _differences(found: Sequence[MethodsAt], reference: object) -> str:
    broken = {(at.place, arm.name) for at in found for arm in at.arms if arm.learned_nothing}
    every = [(at.place, comparison) for at in found for comparison in at.comparisons]
    tested = [(place, c) for place, c in every if c.p is not None]
    if not tested:
        why = "with one seed there is no test" if every else "no two methods have test accuracies on a common seed"
        if every and max(c.difference.n for _place, c in every) > 1:
            why = "every seed gives the same difference, so there is no test"
        return f"Which method is better cannot be told: {why}."
    sure = sorted(
        ((place, c) for place, c in tested if c.counts), key=lambda item: _rank(item[0], item[1], reference, broken)
    )
    family = count(len(tested), "difference")
    if not sure:
        n = max(c.difference.n for _place, c in tested)
        test = f"Holm-corrected paired {'t-test' if len(tested) == 1 else 't-tests'} over {count(n, 'seed')}, 5 %"
        return f"Of {family} between methods, none is more than chance explains ({test})."
    alike: dict[tuple[str, str], list[tuple[str, Comparison]]] = {}
    for place, comparison in sure:
        alike.setdefault(_ordered(comparison), []).append((place, comparison))
    named = list(alike.values())[:NAMED]
    n_more = len(sure) - sum(map(len, named))
    said = f"Of {family} between methods, {len(sure)} {'is' if len(sure) == 1 else 'are'} more than chance explains"
    more = f"; and {n_more} more" if n_more else ""
    return f"{said}: {'; '.join(_in_words(one, tested) for one in named)}{more}."


def _rank(
    place: str, comparison: Comparison, reference: object, broken: Collection[tuple[str, str]]
) -> tuple[bool, bool, bool, float]:
    both = (comparison.method, comparison.other)
    is_broken = any((place, name) in broken for name in both)
    return is_broken, "dense" in both, reference not in both, comparison.corrected or 0.0


def _ordered(comparison: Comparison) -> tuple[str, str]:
    """The two methods, the better one first."""
    ahead = comparison.difference.mean >= 0
    return (comparison.method, comparison.other) if ahead else (comparison.other, comparison.method)


def _in_words(sure: Sequence[tuple[str, Comparison]], tested: Sequence[tuple[str, Comparison]]) -> str:
    """One method above another, at the place or the places where that is sure."""
    place, surest = sure[0]
    first, last = _ordered(surest)
    order, gap = f"{names.method(first)} above {names.method(last)}", surest.difference
    if len(sure) == 1:
        turned = gap if gap.mean >= 0 else replace(gap, mean=-gap.mean)
        return f"{order} at {place} by {points(turned)} (p = {surest.corrected:.2g})"
    n = sum({first, last} == {c.method, c.other} for _place, c in tested)
    where = ("both" if n == 2 else f"all {n}") if len(sure) == n else f"{len(sure)} of {n}"
    gaps = sorted(abs(c.difference.mean) for _place, c in sure)
    by = " to ".join(dict.fromkeys(map(in_points, (gaps[0], gaps[-1]))))
    p = max(c.corrected or 0.0 for _place, c in sure)
    return f"{order} at {where} sparsities and distributions by {by} points (p ≤ {p:.2g})"


def _reached_table(found: Sequence[MethodsAt]) -> Table:
    selected = any(arm.n_compared > 1 for at in found for arm in at.arms)
    rows: list[tuple[str, ...]] = []
    for at in found:
        for arm in at.arms:
            trained = arm.trained
            rows.append(
                (
                    at.place,
                    names.method(arm.name),
                    percent(trained.val_accuracy),
                    percent(trained.test_accuracy),
                    str(trained.test_accuracy.n),
                    multiple(trained.train_flops),
                    multiple(trained.inference_flops),
                    NOT_KNOWN if math.isnan(arm.n_active) else f"{arm.n_active:,.0f}",
                    *([str(arm.n_compared)] if selected else []),
                )
            )
    header: tuple[str, ...] = (
        *("where", "method", "validation", "test", "seeds", "training FLOPs", "inference FLOPs", "active weights"),
        *(["best of"] if selected else []),
    )
    title = "What each method reached" + (", with its best setting on validation" if selected else "")
    return Table("methods", title, header, tuple(rows), frozenset(range(2, len(header))))


def _differences_table(at: MethodsAt) -> Table:
    by_pair = {(c.method, c.other): c for c in at.comparisons}
    methods = [arm.name for arm in at.arms]
    rows = []
    for name in methods[:-1]:
        cells = [by_pair.get((name, other)) for other in methods[1:]]
        rows.append((names.method(name), *(_cell(c) if c else "" for c in cells)))
    title = f"Differences at {at.place}, in points"
    return Table(
        "method-differences",
        title,
        ("", *map(names.method, methods[1:])),
        tuple(rows),
        frozenset(range(1, len(methods))),
    )


def _cell(comparison: Comparison) -> str:
    said = points(comparison.difference).removesuffix(" points").partition(" ± ")[0]
    return f"{said}*" if comparison.counts else said


def summary(found: Sequence[MethodsAt]) -> Mapping[str, Any]:
    """The numbers for summary.json; see `KEYS`."""
    return {
        "places": [
            {
                "place": at.place,
                "methods": [_arm_summary(arm) for arm in at.arms],
                "comparisons": [_comparison_summary(comparison) for comparison in at.comparisons],
            }
            for at in found
        ]
    }


def _arm_summary(arm: Arm) -> dict[str, Any]:
    trained = arm.trained
    return {
        "method": arm.method,
        "train_multiplier": arm.train_multiplier,
        "number": trained.number,
        "n_compared": arm.n_compared,
        "val_accuracy": finite(trained.val_accuracy.mean),
        "test_accuracy": finite(trained.test_accuracy.mean),
        "test_std": finite(trained.test_accuracy.std),
        "train_flops": finite(trained.train_flops),
        "inference_flops": finite(trained.inference_flops),
        "n_active": finite(arm.n_active),
    }


def _comparison_summary(comparison: Comparison) -> dict[str, Any]:
    return {
        "method": comparison.method,
        "other": comparison.other,
        "difference": comparison.difference.mean,
        "standard_error": finite(comparison.difference.standard_error),
        "n": comparison.difference.n,
        "p": comparison.p,
        "p_holm": comparison.corrected,
    }


KEYS: Mapping[str, str] = {
    "methods.places[].place": "a sparsity and a distribution, in words",
    "methods.places[].methods[].method": "highest validation accuracy first",
    "methods.places[].methods[].train_multiplier": "how many times longer it was trained",
    "methods.places[].methods[].number": "of its best trial on validation",
    "methods.places[].methods[].n_compared": "complete trials that one was chosen from",
    "methods.places[].methods[].val_accuracy": "its mean over the seeds, a fraction",
    "methods.places[].methods[].test_accuracy": "the same on test",
    "methods.places[].methods[].test_std": "standard deviation over the seeds; null for one",
    "methods.places[].methods[].train_flops": "multiple of dense training's",
    "methods.places[].methods[].inference_flops": "multiple of the dense network's",
    "methods.places[].methods[].n_active": "active maskable weights at the end",
    "methods.places[].comparisons[].method": "one method",
    "methods.places[].comparisons[].other": "and another",
    "methods.places[].comparisons[].difference": "mean test accuracy of the one minus the other over common seeds",
    "methods.places[].comparisons[].standard_error": "of that mean; null for one seed",
    "methods.places[].comparisons[].n": "number of common seeds",
    "methods.places[].comparisons[].p": (
        "of a paired t-test, multiplied where one is the best of many more settings; null where there is no spread"
    ),
    "methods.places[].comparisons[].p_holm": "the same after Holm's correction over all comparisons",
}
