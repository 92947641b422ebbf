"""The section that says whether one pair's setting serves another."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from studies.evidence.arms import finite
from studies.evidence.likeness import Likeness
from studies.evidence.transfer import REFERENCE, Average, Cost, Transfer, transfer
from studies.reporting import contained
from studies.reporting.figure_style import current_style
from studies.reporting.findings import MARGIN
from studies.reporting.section import Block, Evidence, Section, Text
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import correlation, count, in_points
from studies.response import FEWEST

NAME = "transfer"
LABELS = 1.3
"""Inches beside a matrix for the names of its rows."""
NARROW = 0.85
"""In a cell of fewer inches an interval takes two lines."""
_ENDS = {
    "mean": "a fraction; negative where it would have been better",
    "low": "lower end of its 95 % interval",
    "high": "upper end; null where the setting may be among the hopeless ones, so that it costs at least `low`",
}
KEYS: Mapping[str, str] = {
    **{f"transfer.average.{k}": f"cost of another pair's best, over all: {m}" for k, m in _ENDS.items()},
    **{f"transfer.reference.{k}": f"cost of the reference, over all pairs: {m}" for k, m in _ENDS.items()},
    "transfer.costs[].source": 'whose best it is: label of a pair, or "reference"',
    "transfer.costs[].target": "label of the pair it is used at",
    "transfer.costs[].kind": '"same" setting, the first screen\'s "gain", "model", "shared" trials, or "unknown"',
    **{f"transfer.costs[].{k}": f"cost on test; null if unknown: {m}" for k, m in _ENDS.items()},
    "transfer.likeness[].pairs": "labels of the two",
    "transfer.likeness[].kind": '"shared" settings that both trained, "model", or "seen": shared, noise left in',
    "transfer.likeness[].n": "settings compared",
    "transfer.likeness[].kendall": (
        "rank correlation on validation, what noise takes put back, lower and upper end of its 95 % interval"
    ),
    "transfer.likeness[].spearman": "the same by Spearman's",
}


@contained.section("transfer", "Does it carry over")
def section(evidence: Evidence) -> Section | None:
    """Costs of foreign settings and likeness of pairs; None where nothing was tuned or there is one pair.

    Where only the method was searched, say, pairs have no best setting that could be taken elsewhere.
    """
    analysis = evidence.analysis
    if not analysis.tuned or len(analysis.pairs) < 2:
        return None
    found = transfer(evidence)
    if found is None or all(cost.kind == "unknown" for cost in found.costs):
        missing = "Fewer than two pairs have complete trials to compare, so what carries over cannot be told."
        return Section(NAME, "Does it carry over", "Transfer", (Text(missing, "missing"),))
    blocks: list[Block] = [Text(text, "finding") for text in _findings(found, analysis.margin)]
    if not _is_one_setting(found):
        blocks.append(Text(_worst(found)))
    if found.likeness:
        blocks.append(Text(_alike(found.likeness)))
    blocks.append(transfer_figure(found))
    blocks.append(Text(_note(found, len(analysis.pairs)), "note"))
    return Section(NAME, "Does it carry over", "Transfer", tuple(blocks), _json(found))


def _findings(found: Transfer, margin: float) -> list[str]:
    told = []
    least = f"{100 * margin:g} points"
    if _is_one_setting(found):  # which says little where trials are few, so nothing is said of a margin
        told.append("Every pair has the same best setting, so taking another pair’s costs nothing.")
    elif found.average is not None:
        average = found.average
        lead = f"Taking another pair’s best setting costs {_points(average)} points on average"
        if average.high < margin:
            told.append(f"{lead}, less than the margin of {least}: a setting can be chosen without regard to the pair.")
        elif average.low > margin:
            told.append(f"{lead}, more than the margin of {least}: each pair needs a setting of its own.")
        else:
            told.append(f"{lead}; whether that is below the margin of {least} stays undecided.")
    if found.reference is not None:
        told.append(f"Taking the reference everywhere costs {_points(found.reference)} points on average.")
    return told


def _is_one_setting(found: Transfer) -> bool:
    """Whether all pairs have the same best setting, so that nothing can be said of taking another's."""
    return all(cost.kind == "same" for cost in found.costs if cost.source != REFERENCE)


def _worst(found: Transfer) -> str:
    known = [cost for cost in found.costs if math.isfinite(cost.mean)]
    worst = max(known, key=lambda cost: (cost.mean, cost.low))
    sure = [cost for cost in known if cost.low > 0]
    where = "the reference" if worst.source == REFERENCE else f"the best of {worst.source}"
    text = f"The dearest is {where} at {worst.target}: {_points(worst)} points."
    if sure:
        shown = f"{len(sure)} of {len(known)} foreign settings are shown to cost something"
        return f"{text} {shown}, each with 95 % confidence."
    return f"{text} No foreign setting of {len(known)} is shown to cost anything."


def _alike(likeness: Sequence[Likeness]) -> str:
    values = sorted(one.kendall[0] for one in likeness)
    sure = sum(one.kendall[1] > 0 for one in likeness)
    span = f"{correlation(values[0])} to {correlation(values[-1])}" if len(values) > 1 else correlation(values[0])
    of_what = f"{count(len(values), 'couple')} of pairs"
    return f"Ranks of settings agree between pairs by Kendall’s τ of {span} ({of_what}, {sure} with a τ shown above 0)."


def _note(found: Transfer, n_pairs: int) -> str:
    parts = [
        "Settings were chosen on validation; costs are on test, from a model of each pair’s response, with 95 % "
        "intervals."
    ]
    if any(math.isinf(cost.high) for cost in found.costs):
        parts.append("“At least”: the setting may be as bad as the hopeless trials of that pair, or worse.")
    if any(cost.kind == "shared" for cost in found.costs):
        parts.append(
            f"At pairs with fewer than {FEWEST} trials that say something, they are from the two trials alone, and the "
            "luck of the pair’s best is in them."
        )
    kinds = {one.kind for one in found.likeness}
    if "shared" in kinds:
        parts.append("Ranks: of the settings that both pairs trained, and what noise takes is put back.")
    if "seen" in kinds:
        parts.append(
            "Ranks: of the settings that both pairs trained; noise, in them still, makes pairs look less alike."
        )
    if "model" in kinds:
        parts.append("Where few settings are shared, ranks are those of the pairs’ models, likewise.")
    if n_pairs > len(found.labels):
        parts.append(f"Left out: {count(n_pairs - len(found.labels), 'pair')}.")
    return " ".join(parts)


@contained.figure("transfer")
def transfer_figure(found: Transfer) -> Drawing:
    """Two matrices: costs, and rank correlations."""
    labels = found.labels
    sources = [*([REFERENCE] if any(c.source == REFERENCE for c in found.costs) else []), *labels]
    hover: Hover = {}
    description = " ".join(
        [
            *(
                f"{cost.source} at {cost.target}: {_points(cost)} points."
                for cost in found.costs
                if cost.mean == cost.mean
            ),
            *(f"{one.pairs[0]} and {one.pairs[1]}: τ {_interval(one.kendall)}." for one in found.likeness),
        ]
    )
    n_panels = 2 if found.likeness else 1
    wide = len(labels) > 4
    columns = 1 if wide else n_panels
    with house_style():
        across = current_style().size(columns, WIDTH, 1.0, full=wide)[0] / columns - LABELS
        joint = " to " if across / len(labels) >= NARROW else "\nto "
        height = 1.5 + (0.62 if "\n" in joint else 0.42 if wide else 0.55) * len(sources)
        figure, axes = panels(n_panels, columns=columns, width=WIDTH, height=height, full=wide)
        hover |= _cost_matrix(axes[0], found.costs, sources, labels, joint)
        if found.likeness:
            hover |= _likeness_matrix(axes[1], found.likeness, labels, joint)
        return finish(
            figure,
            name="transfer",
            title="What carries over between pairs",
            caption=_caption(n_panels, wide=wide),
            description=description,
            hover=hover,
        )


def _caption(n_panels: int, *, wide: bool) -> str:
    cost = (
        "oints lost on test by taking the best setting of the row at the pair of the column, with its 95 % interval; "
        "the darker, the dearer."
    )
    if n_panels == 1:
        return f"P{cost}"
    first, second = ("Above", "Below") if wide else ("Left", "Right")
    return f"{first}: p{cost} {second}: Kendall’s τ between the ranks of settings on validation."


def _cost_matrix(ax: Axes, costs: Sequence[Cost], sources: Sequence[str], labels: Sequence[str], joint: str) -> Hover:
    hover: Hover = {}
    by_cell = {(cost.source, cost.target): cost for cost in costs}
    dearest = max([cost.mean for cost in costs if math.isfinite(cost.mean)] + [MARGIN])
    for row, source in enumerate(sources):
        for column, target in enumerate(labels):
            cost = by_cell.get((source, target))
            if cost is None or not math.isfinite(cost.mean):
                shown, depth, text = ("own" if source == target else "–"), 0.0, ""
            else:
                depth = 0.55 * max(cost.mean, 0) / dearest
                shown = "same" if cost.kind == "same" else in_points(cost.mean)
                shown = f"≥ {in_points(cost.low)}" if math.isinf(cost.high) else shown
                text = f"{source} at {target}: {_points(cost)} points"
            gid = f"cost-{row}-{column}"
            small = (
                ""
                if not text or shown == "same" or cost is None or math.isinf(cost.high)
                else f"{in_points(cost.low)}{joint}{in_points(cost.high)}"
            )
            _cell(ax, row, column, "vermilion", depth, shown, small, gid)
            if text:
                hover[gid] = [text]
    _frame(ax, sources, labels, "Cost in points on test")
    ax.set_xlabel("used at")
    ax.set_ylabel("best setting of")
    return hover


def _likeness_matrix(ax: Axes, likeness: Sequence[Likeness], labels: Sequence[str], joint: str) -> Hover:
    hover: Hover = {}
    for one in likeness:
        column, row = sorted(labels.index(label) for label in one.pairs)
        tau, low, high = one.kendall
        gid = f"alike-{row}-{column}"
        _cell(
            ax,
            row,
            column,
            "blue",
            0.5 * max(tau, 0),
            correlation(tau),
            f"{correlation(low)}{joint}{correlation(high)}",
            gid,
        )
        words = f"τ {_interval(one.kendall)}, Spearman’s ρ {_interval(one.spearman)}"
        hover[gid] = [f"{one.pairs[0]} and {one.pairs[1]}: {words}, {count(one.n, 'setting')} ({one.kind})"]
    _frame(ax, labels, labels, "Agreement of ranks, Kendall’s τ")
    return hover


def _cell(ax: Axes, row: int, column: int, colour: str, depth: float, text: str, small: str, gid: str) -> None:
    look: dict[str, Any] = {"facecolor": LIGHT[colour], "alpha": depth, "linewidth": 0, "gid": gid}
    ax.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, **look))
    middle: dict[str, Any] = {"ha": "center", "va": "center"}
    colour_of_text = LIGHT["ink"] if small else LIGHT["muted"]
    up = 0.24 if "\n" in small else 0.16 if small else 0.0
    ax.text(column, row - up, text, fontsize=9, color=colour_of_text, **middle)
    if small:
        ax.text(column, row + 0.2, small, fontsize=6.5, color=LIGHT["ink"], **middle)


def _frame(ax: Axes, rows: Sequence[str], columns: Sequence[str], title: str) -> None:
    ax.set_title(title)
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xticks(range(len(columns)), [_wrapped(label) for label in columns], fontsize=8)
    ax.set_yticks(range(len(rows)), rows, fontsize=8)
    ax.grid(False)
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)


def _wrapped(label: str) -> str:
    head, _, tail = label.rpartition(" ")
    return f"{head}\n{tail}" if head else label


def _points(value: Cost | Average) -> str:
    if math.isinf(value.high):
        return f"at least {in_points(value.low)}"
    return f"{in_points(value.mean)} ({in_points(value.low)} to {in_points(value.high)})"


def _interval(value: tuple[float, float, float]) -> str:
    return f"{correlation(value[0])} ({correlation(value[1])} to {correlation(value[2])})"


def _json(found: Transfer) -> dict[str, Any]:
    averages = {"average": found.average, "reference": found.reference}
    return {
        **{
            key: {end: finite(getattr(value, end)) for end in _ENDS}
            for key, value in averages.items()
            if value is not None
        },
        "costs": [
            {
                **{key: getattr(cost, key) for key in ("source", "target", "kind")},
                **{key: finite(getattr(cost, key)) for key in _ENDS},
            }
            for cost in found.costs
        ],
        **(
            {
                "likeness": [
                    {key: list(v) if isinstance(v, tuple) else v for key, v in vars(one).items()}
                    for one in found.likeness
                ]
            }
            if found.likeness
            else {}
        ),
    }
