"""The figure of accuracy against what it costs, one panel a cost, with the front of the efficient trials."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from studies import names
from studies.evidence.costs import COSTS, Cost
from studies.evidence.method_looks import look
from studies.reporting import contained, marks
from studies.reporting.findings import Analysis
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import count, time_unit
from studies.spec import pair_in_words

MAX_MARKS = 800
"""The figure shows at most so many trials besides those on a front, over all studies, and says so."""
WIDE = 8.0
"""A cost that spans so many times its smallest value gets a logarithmic axis."""


@contained.figure("cost")
def costs_figure(
    trials: pd.DataFrame, analysis: Analysis, fronts: Mapping[str, Sequence[int]], *, by_method: bool
) -> Drawing | None:
    """Validation accuracy against every cost that is known.

    Args:
        trials: complete trials with a validation accuracy.
        analysis: names the pairs.
        fronts: index labels of the trials on each front, by column, the cheapest first.
        by_method: whether a mark's colour and shape are its method's, not its pair's.
    """
    shown = [cost for cost in COSTS if fronts[cost.column]]
    if not shown:
        return None
    kept = {row for rows in fronts.values() for row in rows}
    drawn = _thinned(trials, kept)
    groups = _groups(trials, analysis, by_method=by_method)
    floor, top = marks.floor_of(trials["value"], trials["value"]), float(trials["value"].max())
    hover: Hover = {}
    with house_style():
        figure, axes = panels(len(shown), columns=2, width=WIDTH, height=3.0)
        for ax, cost in zip(axes, shown, strict=True):
            for i, (label, colour, marker, rows) in enumerate(groups):
                own = drawn[drawn.index.isin(rows) & drawn[cost.column].notna()]
                if len(own):
                    hover |= _group(ax, own, cost, label, colour, marker, floor, gid=f"cost-{cost.column}-{i}")
            _front(ax, trials.loc[list(fronts[cost.column])], cost, floor)
            _cost_axis(ax, cost, trials[cost.column].dropna().astype(float))
            marks.accuracy_axis(ax, floor, top)
        for ax in axes[::2]:
            ax.set_ylabel("validation accuracy")
        keys = [
            Line2D([], [], linestyle="none", marker=marker, markersize=6, color=colour, label=label)
            for label, colour, marker, _rows in groups
        ]
        keys.append(Line2D([], [], color=LIGHT["ink"], linewidth=1.1, marker="o", markersize=8, label="front"))
        keys[-1].set_markerfacecolor("none")
        figure.legend(handles=keys, loc="outside lower left", ncols=marks.legend_columns(keys))
        omitted = marks.left_out(int((trials["value"] < floor).sum()), len(trials) - len(drawn), floor)
        caption = (
            "One mark a complete trial. Trials on the front (ringed, joined by steps) are better than everything that "
            f"costs as little. {omitted}"
        ).strip()
        description = " ".join(_in_words(trials.loc[list(fronts[cost.column])], cost) for cost in shown)
        title = "Validation accuracy against cost"
        return finish(figure, name="cost", title=title, caption=caption, description=description, hover=hover)


def _thinned(trials: pd.DataFrame, kept: set[int]) -> pd.DataFrame:
    studies = list(trials.groupby("study", observed=True))
    share = max(1, MAX_MARKS // max(1, len(studies)))
    return pd.concat(
        marks.thin(own, share, keep=own.loc[own.index.isin(kept), "number"].tolist()) for _study, own in studies
    )


def _groups(
    trials: pd.DataFrame, analysis: Analysis, *, by_method: bool
) -> list[tuple[str, str, str, "pd.Index[int]"]]:
    """What is told apart by colour and shape: label, colour, marker and the rows."""
    if by_method:
        looks = {str(method): look(str(method)) for method in trials["method"].dropna().unique()}
        return [
            (names.method(m), drawn.colour, drawn.marker, trials.index[trials["method"] == m])
            for m, drawn in looks.items()
        ]
    return [
        (pair.label, marks.pair_colour(i), marks.pair_marker(i), trials.index[trials["study"] == pair.study])
        for i, pair in enumerate(analysis.pairs)
        if (trials["study"] == pair.study).any()
    ]


def _group(
    ax: Axes, trials: pd.DataFrame, cost: Cost, label: str, colour: str, marker: str, floor: float, gid: str
) -> Hover:
    x = trials[cost.column].astype(float)
    y = trials["value"].clip(lower=floor)
    ax.scatter(x, y, s=24, marker=marker, color=colour, linewidths=0, alpha=0.8, gid=gid, clip_on=False)
    places = zip(trials["sparsity"], trials["distribution"], trials["number"], trials["value"], x, strict=True)
    return {
        gid: [
            f"{label}, {pair_in_words(sparsity, distribution, None)}, trial {number}: "
            f"{100 * value:.2f} % for {cost.shown(price)}"
            for sparsity, distribution, number, value, price in places
        ]
    }


def _front(ax: Axes, front: pd.DataFrame, cost: Cost, floor: float) -> None:
    x, y = front[cost.column].astype(float), front["value"].clip(lower=floor)
    ax.step(x, y, where="post", color=LIGHT["ink"], linewidth=1.1, zorder=2.5)
    ax.scatter(x, y, s=80, facecolors="none", edgecolors=LIGHT["ink"], linewidths=1.1, zorder=4, clip_on=False)


def _cost_axis(ax: Axes, cost: Cost, values: "pd.Series[float]") -> None:
    positive = values[values > 0]
    if len(positive) and values.min() > 0 and values.max() / values.min() > WIDE:
        ax.set_xscale("log")
        decades = math.log10(values.max() / values.min())
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: cost.shown(value)))
    ax.margins(x=0.06)
    ax.set_xlabel(cost.axis)
    if cost.column == "seconds" and ax.get_xscale() == "linear":
        unit, size = time_unit(float(values.max()))
        ax.xaxis.set_major_locator(_WholeUnits(size))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value / size:g}"))
        ax.set_xlabel(f"{cost.axis}, {unit}")


class _WholeUnits(MaxNLocator):
    """Ticks at round numbers of a unit of so many seconds."""

    def __init__(self, size: float) -> None:
        super().__init__(5)
        self._size = size

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        return [at * self._size for at in super().tick_values(vmin / self._size, vmax / self._size)]


def _in_words(front: pd.DataFrame, cost: Cost) -> str:
    steps = list(zip(front[cost.column].astype(float), front["value"], strict=True))
    step = math.ceil(len(steps) / 6)
    said = ", ".join(f"{100 * value:.2f} % for {cost.shown(price)}" for price, value in steps[::-1][::step][::-1])
    return f"Front by {cost.noun} ({count(len(steps), 'trial')}): {said}."
