"""The timeline: which worker trained when, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from studies.reporting import contained
from studies.reporting.findings import Analysis
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import count, duration, time_unit

MAX_BARS = 1500
"""Bars of a worker that nearly touch and ended alike are drawn as one until there are no more than this."""
MAX_WORKERS = 40
"""The figure shows at most so many workers, those with the most trials, and says so."""

_LOOKS: dict[str, dict[str, Any]] = {
    "complete": {"height": 0.62, "colour": LIGHT["blue"], "hollow": False},
    "pruned": {"height": 0.34, "colour": LIGHT["ochre"], "hollow": False},
    "failed": {"height": 0.34, "colour": LIGHT["vermilion"], "hollow": True},
    "retried": {"height": 0.34, "colour": LIGHT["purple"], "hollow": True},
    "running": {"height": 0.62, "colour": LIGHT["slate"], "hollow": True},
}
_PARTED = 0.005
"""Filled bars longer than this fraction of the figure have light edges."""
_ENDS = {"failed": "X", "retried": "P"}
"""Markers at the end of trials that did not end well."""


@dataclass(frozen=True)
class Bar:
    """Trials of one worker that ended alike, one after another.

    Attributes:
        begin: seconds since the first trial was claimed; `end` likewise.
        first: the first of the trials, in words.
        n_trials: how many they are.
    """

    worker: str
    state: str
    begin: float
    end: float
    first: str
    n_trials: int = 1

    @property
    def text(self) -> str:
        """What it stands for."""
        which = self.first if self.n_trials == 1 else f"{self.n_trials} trials from {self.first}"
        when = f"{duration(self.begin)} to {duration(self.end)} after the start"
        return f"{self.worker}: {which}, {self.state}, {when}"


def bars_of(frame: pd.DataFrame, labels: dict[str, str]) -> list[Bar]:
    """A bar a trial that was claimed; one that still runs reaches to the last moment known."""
    claimed = frame[frame["started"].notna() & frame["state"].isin(list(_LOOKS))]
    if claimed.empty:
        return []
    first = claimed["started"].min()
    last = max(claimed["started"].max(), claimed["finished"].max() if claimed["finished"].notna().any() else first)
    begins = (claimed["started"] - first).dt.total_seconds()
    ends = (claimed["finished"].fillna(last) - first).dt.total_seconds()
    workers = claimed["worker"].fillna("worker not told yet")
    columns = (workers, claimed["state"], begins, ends, claimed["study"].astype(str), claimed["number"])
    bars = [
        Bar(str(worker), str(state), float(begin), float(max(begin, end)), f"{labels[study]} trial {number}")
        for worker, state, begin, end, study, number in zip(*columns, strict=True)
    ]
    return sorted(bars, key=lambda bar: (bar.worker, bar.begin, bar.end, bar.first))


def merged(bars: Sequence[Bar], at_most: int = MAX_BARS) -> list[Bar]:
    """The bars; of too many, those that follow one another ever less closely and ended alike become one."""
    found = list(bars)
    span = max((bar.end for bar in bars), default=0.0)
    gap = span / 2000
    while len(found) > at_most and gap <= span:
        found = _merged_within(bars, gap)
        gap *= 2
    return found


def _merged_within(bars: Sequence[Bar], gap: float) -> list[Bar]:
    found: list[Bar] = []
    for bar in bars:
        before = found[-1] if found else None
        if before and (before.worker, before.state) == (bar.worker, bar.state) and bar.begin - before.end <= gap:
            end = max(before.end, bar.end)
            found[-1] = replace(before, end=end, n_trials=before.n_trials + bar.n_trials)
        else:
            found.append(bar)
    return found


@contained.figure("timeline")
def timeline(frame: pd.DataFrame, analysis: Analysis) -> Drawing | None:
    """Trials by worker over time; None where no trial was claimed."""
    every = bars_of(frame, {pair.study: pair.label for pair in analysis.pairs})
    if not every:
        return None
    busiest = pd.Series([bar.worker for bar in every]).value_counts(sort=True)
    ranked = sorted(busiest.index, key=lambda worker: (-int(busiest[worker]), worker))
    workers = sorted(ranked[:MAX_WORKERS])
    rows = {worker: row for row, worker in enumerate(workers)}
    bars = merged([bar for bar in every if bar.worker in rows])
    hover: Hover = {}
    with house_style():
        figure, (ax,) = panels(1, columns=1, width=WIDTH, height=1.1 + 0.3 * len(workers))
        end = max(max(bar.end for bar in bars), 1.0)
        unit, size = time_unit(end)
        for state in _LOOKS:
            own = [bar for bar in bars if bar.state == state]
            if own:
                hover |= _bars(ax, own, rows, state, size)
        ax.set_yticks(range(len(workers)), [_short(worker) for worker in workers])
        ax.set_ylim(len(workers) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.grid(False, axis="y")
        ax.set_xlim(-0.01 * end / size, 1.02 * end / size)
        ax.xaxis.set_major_locator(MaxNLocator(8))
        ax.set_xlabel(f"{unit} since the first trial was claimed")
        states = [state for state in _LOOKS if any(bar.state == state for bar in bars)]
        figure.legend(handles=[_key(state) for state in states], loc="outside lower left", ncols=5)
        return finish(
            figure,
            name="timeline",
            title="Trials by worker over time",
            caption=_caption(bars, len(ranked) - len(workers)),
            description=_description(every, ranked),
            hover=hover,
        )


def _bars(ax: Axes, bars: Sequence[Bar], rows: dict[str, int], state: str, size: float) -> Hover:
    """The bars of one state, on an axis whose unit has `size` seconds."""
    drawn = _LOOKS[state]
    gid, half = f"timeline-{state}", drawn["height"] / 2
    span = max(max(bar.end for bar in bars), 1.0)
    least = 0.001 * span  # or the shortest would be invisible
    corners = []
    for bar in bars:
        begin, end, row = bar.begin / size, max(bar.end, bar.begin + least) / size, rows[bar.worker]
        corners.append([(begin, row - half), (begin, row + half), (end, row + half), (end, row - half)])
    face = "none" if drawn["hollow"] else drawn["colour"]
    # Light edges part bars that touch; short ones would be nothing but edge.
    parted = [not drawn["hollow"] and bar.end - bar.begin > _PARTED * span for bar in bars]
    edges = [LIGHT["paper"] if light else drawn["colour"] for light in parted]
    ax.add_collection(PolyCollection(corners, facecolors=face, edgecolors=edges, linewidths=0.8, gid=gid))
    if state in _ENDS:
        at = [bar.end / size for bar in bars], [rows[bar.worker] for bar in bars]
        ax.scatter(*at, s=26, marker=_ENDS[state], color=drawn["colour"], linewidths=0, zorder=4, clip_on=False)
    return {gid: [bar.text for bar in bars]}


def _key(state: str) -> Line2D:
    drawn = _LOOKS[state]
    face = "none" if drawn["hollow"] else drawn["colour"]
    marker, size = (_ENDS[state], 7) if state in _ENDS else ("s", 9 if drawn["height"] > 0.5 else 6)
    if state in _ENDS:
        face = drawn["colour"]
    look: dict[str, Any] = {"markersize": size, "markerfacecolor": face, "markeredgecolor": drawn["colour"]}
    return Line2D([], [], linestyle="none", marker=marker, label=state, **look)


def _caption(bars: Sequence[Bar], n_hidden: int) -> str:
    parts = [
        "A bar a trial, from its claim to its end, by the database's clock; pruned, failed and retried are thinner."
    ]
    if sum(bar.n_trials for bar in bars) > len(bars):
        parts.append("Trials of a worker that nearly touch and ended alike are one bar.")
    if n_hidden:
        parts.append(f"Not drawn: {count(n_hidden, 'worker')} with fewer trials.")
    return " ".join(parts)


def _description(every: Sequence[Bar], ranked: Sequence[str]) -> str:
    end = max(bar.end for bar in every)
    lead = f"{count(len(every), 'trial')} of {count(len(ranked), 'worker')} in {duration(end)}."
    each = []
    for worker in ranked[:8]:
        own = [bar for bar in every if bar.worker == worker]
        states = {state: sum(bar.state == state for bar in own) for state in _LOOKS}
        busy = sum(bar.end - bar.begin for bar in own)
        told = ", ".join(f"{n} {state}" for state, n in states.items() if n)
        each.append(f"{worker}: {told}, busy for {duration(busy)}.")
    return " ".join([lead, *each])


def _short(worker: str) -> str:
    return worker if len(worker) <= 28 else f"{worker[:13]}…{worker[-14:]}"
