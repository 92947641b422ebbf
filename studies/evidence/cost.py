"""What accuracy costs: FLOPs of training and of use, active weights, seconds; and distributions at equal cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from studies.analysis import params_of
from studies.evidence.arms import arms_of, finite
from studies.evidence.cost_figure import costs_figure
from studies.evidence.costs import COSTS, Cost
from studies.evidence.equal_cost import EqualCost, OutOfReach, equal_costs
from studies.evidence.equal_cost_tables import at_equal_cost
from studies.evidence.finished import finished
from studies.frame import param_columns
from studies.reporting import contained
from studies.reporting.findings import Analysis
from studies.reporting.section import Block, Evidence, Section, Text
from studies.reporting.wording import NOT_KNOWN, duration, multiple, percent, setting
from studies.search_space import Params
from studies.tables import Table, roles

MAX_ROWS = 12
"""So many trials of a front are listed."""


@dataclass(frozen=True)
class Efficient:
    """A trial on the front: none that costs as little or less is better on validation.

    Attributes:
        row: its index label in the frame.
        cost: what it costs, in the unit of the front.
        value: its mean validation accuracy.
    """

    study: str
    label: str
    number: int
    row: int
    params: Params
    cost: float
    value: float


def pareto(frame: pd.DataFrame, analysis: Analysis, cost: Cost) -> tuple[Efficient, ...]:
    """The front of the complete trials of all pairs by one cost, the cheapest first.

    On validation accuracy: which trials are on the front is a selection, and test accuracy must not select.
    """
    trials = finished(frame)
    trials = trials[trials[cost.column].notna()]
    labels = {pair.study: pair.label for pair in analysis.pairs}
    columns = param_columns(frame)
    ranked = trials.sort_values([cost.column, "value", "number"], ascending=[True, False, True], kind="stable")
    best_before = ranked["value"].cummax().shift(fill_value=-math.inf)
    front = ranked[ranked["value"] > best_before]
    return tuple(
        Efficient(
            study=str(trial["study"]),
            label=labels[str(trial["study"])],
            number=int(trial["number"]),
            row=row,
            params=params_of(trial, columns),
            cost=float(trial[cost.column]),
            value=float(trial["value"]),
        )
        for row, (_, trial) in zip(front.index.tolist(), front.iterrows(), strict=True)
    )


@contained.section("cost", "Cost")
def section(evidence: Evidence) -> Section:
    """What reference and best cost, what is efficient, and whether a distribution wins at equal cost."""
    frame, analysis, spec = evidence.frame, evidence.analysis, evidence.provenance.spec
    fronts = {cost.column: pareto(frame, analysis, cost) for cost in COSTS}
    table = _cost_table(analysis, frame)
    if not table.rows:
        missing = Text("No trial is complete, so there is no cost to tell.", "missing")
        return Section("cost", "Cost", "Cost", (missing,))
    blocks: list[Block] = []
    front = fronts["train_flops"]
    if front:
        blocks.append(Text(_finding(front, analysis.margin), "finding"))
    rows = {cost: [efficient.row for efficient in own] for cost, own in fronts.items()}
    drawing = costs_figure(finished(frame), analysis, rows, by_method="method" in spec.search)
    if drawing is not None:
        blocks.append(drawing)
    blocks.append(table)
    if len(front) > 1:
        blocks.append(_front_table(front))
    blocks.append(
        Text(
            "FLOPs of products and convolutions, one multiply-accumulate as two: of use from the final masks, of "
            "training for a sample and step, averaged over topology updates; both as multiples of the dense network's. "
            "Active weights are those of the maskable layers. Seconds are of the device that trained, all seeds of a "
            "trial together. The front is drawn on validation accuracy, because it selects.",
            "note",
        )
    )
    compared, out_of_reach = equal_costs(arms_of(frame, spec))
    blocks += at_equal_cost(compared, out_of_reach)
    return Section("cost", "Cost", "Cost", tuple(blocks), _summary(fronts, compared, out_of_reach))


def _finding(front: Sequence[Efficient], margin: float) -> str:
    best = front[-1]
    enough = next(efficient for efficient in front if efficient.value >= best.value - margin)
    lead = (
        f"The best trial on validation ({_named(best)}) reaches {100 * best.value:.1f} % for {multiple(best.cost)} the "
        "training FLOPs of the dense network"
    )
    if enough is best:
        return f"{lead}; no cheaper one comes within {100 * margin:g} points of it."
    return f"{lead}; for {multiple(enough.cost)} {_named(enough)} comes within {100 * (best.value - enough.value):.2f}."


def _named(efficient: Efficient) -> str:
    params = setting(efficient.params)
    return f"{efficient.label}, {params}" if params else efficient.label


def _cost_table(analysis: Analysis, frame: pd.DataFrame) -> Table:
    """What reference and best of each pair cost to train and to use."""
    active = dict(zip(zip(frame["study"].astype(str), frame["number"], strict=True), frame["n_active"], strict=True))
    rows = []
    for pair in analysis.pairs:
        for role, trained in roles(pair, analysis):
            realised, n_active = trained.realised_sparsity, active.get((pair.study, trained.number))
            rows.append(
                (
                    f"{pair.label}, {role}",
                    percent(trained.test_accuracy),
                    multiple(trained.train_flops),
                    multiple(trained.inference_flops),
                    NOT_KNOWN if n_active is None or pd.isna(n_active) else f"{n_active:,}",
                    NOT_KNOWN if math.isnan(realised) else f"{100 * realised:.2f} %",
                    duration(trained.seconds),
                )
            )
    header = (
        *("setting", "test accuracy", "training FLOPs", "inference FLOPs", "active weights", "realised sparsity"),
        "training time",
    )
    return Table("cost", "What reference and best cost", header, tuple(rows), frozenset(range(1, len(header))))


def _front_table(front: Sequence[Efficient]) -> Table:
    step = math.ceil(len(front) / MAX_ROWS)
    shown = front[::-1][::step][::-1]  # the best, whatever is left out
    rows = [
        (
            efficient.label,
            str(efficient.number),
            setting(efficient.params) or "the only setting",
            multiple(efficient.cost),
            f"{100 * efficient.value:.2f} %",
        )
        for efficient in shown
    ]
    title = "The front by training FLOPs" + (f" (every {step}th trial of it)" if step > 1 else "")
    header = ("pair", "trial", "setting", "training FLOPs", "validation accuracy")
    return Table("front", title, header, tuple(rows), frozenset({1, 3, 4}))


def _summary(
    fronts: Mapping[str, Sequence[Efficient]], compared: Sequence[EqualCost], out_of_reach: Sequence[OutOfReach]
) -> Mapping[str, Any]:
    return {
        "fronts": [
            {
                "cost": cost,
                "trials": [
                    {"study": e.study, "number": e.number, "cost": e.cost, "val_accuracy": e.value} for e in front
                ],
            }
            for cost, front in fronts.items()
        ],
        "equal_cost": [
            {
                "method": one.method,
                "base": one.base,
                "distribution": one.other,
                "cost": one.cost.column,
                "at": one.at,
                "interpolated": one.interpolated,
                "difference": one.difference.mean,
                "low": one.difference.low,
                "high": one.difference.high,
                "standard_error": finite(one.difference.standard_error),
                "n": one.difference.n,
            }
            for one in compared
        ],
        "cannot_be_said": [one.sentence for one in out_of_reach],
    }


KEYS: Mapping[str, str] = {
    "cost.fronts[].cost": "column of trials.csv: " + ", ".join(cost.column for cost in COSTS),
    "cost.fronts[].trials[].study": "of a trial that no cheaper one beats on validation, the cheapest first",
    "cost.fronts[].trials[].number": "of that trial in its study",
    "cost.fronts[].trials[].cost": "what it costs",
    "cost.fronts[].trials[].val_accuracy": "what it reaches on validation, mean over the seeds",
    "cost.equal_cost[].method": "method whose distributions are compared",
    "cost.equal_cost[].base": "uniform, or uniform_all where that was not trained",
    "cost.equal_cost[].distribution": "the distribution compared with it",
    "cost.equal_cost[].cost": "column of trials.csv in which both are equal",
    "cost.equal_cost[].at": "value of that column",
    "cost.equal_cost[].interpolated": "whether one side lies between two trained sparsities",
    "cost.equal_cost[].difference": "mean test accuracy of that distribution minus the base's, over common seeds",
    "cost.equal_cost[].low": "lower end of its 95 % t-interval; null where there is none",
    "cost.equal_cost[].high": "upper end",
    "cost.equal_cost[].standard_error": "of the mean; null for one seed",
    "cost.equal_cost[].n": "number of common seeds",
    "cost.cannot_be_said": "comparisons at equal cost for which nothing was trained on both sides of the cost",
}
