"""The visual language of the figures: what stands for the reference, the best, a pair, a trial that was stopped early.

Every distinction by colour is made by shape, filling or line style as well, for people who do not see the colours.
"""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import LineStyleType

from studies.gain import Gain
from studies.reporting.findings import Difference, Estimate, PairResult
from studies.reporting.measure import ACCURACY, Measure
from studies.reporting.svg import LIGHT
from studies.reporting.wording import count

ROLE_COLOUR = {"reference": LIGHT["vermilion"], "best": LIGHT["blue"]}
ROLE_LINE: dict[str, LineStyleType] = {"reference": (0, (5, 2)), "best": "solid"}
_ROLE_MARKER = {"reference": "s", "best": "o"}

PAIR_COLOURS = tuple(LIGHT[name] for name in ("blue", "vermilion", "green", "purple", "ochre", "slate"))
PAIR_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Another number than colours, so that the first 42 pairs all differ in one of the two."""

PENALTY = 1e150
"""What is larger has no square, and says of a trial no more than that it went wrong."""

PERCENT = ACCURACY.ticks()
POINTS = ACCURACY.difference_ticks()


def pair_colour(i: int) -> str:
    """The colour of the i-th pair."""
    return PAIR_COLOURS[i % len(PAIR_COLOURS)]


def pair_marker(i: int) -> str:
    """The marker of the i-th pair."""
    return PAIR_MARKERS[i % len(PAIR_MARKERS)]


def estimate(ax: Axes, y: float, value: Estimate, role: str, gid: str) -> None:
    """A mean and its standard deviation over seeds, lying on the row `y`."""
    if value.n > 1 and np.isfinite(value.std):
        ax.plot([value.mean - value.std, value.mean + value.std], [y, y], color=ROLE_COLOUR[role], linewidth=1.6)
    role_mark(ax, value.mean, y, role, gid)


def role_mark(ax: Axes, x: float, y: float, role: str, gid: str) -> None:
    """What stands for the reference or the best."""
    filled = ROLE_COLOUR[role] if role == "best" else LIGHT["paper"]
    ax.scatter(
        [x], [y], s=46, marker=_ROLE_MARKER[role], color=filled, edgecolors=ROLE_COLOUR[role], linewidths=1.6,
        zorder=3, gid=gid,
    )  # fmt: skip


def gap(ax: Axes, y: float, value: Difference, gain: Gain | None, reach: float, gid: str) -> None:
    """A gain, its interval (cut by an arrow where it leaves the panel) and the seeds' differences, on the row `y`."""
    ink = LIGHT["ink"]
    if gain is not None:
        span(ax, y, gain.low, gain.high, reach, ink)
    seeds = list(value.by_seed.values())
    ax.scatter(seeds, [y + 0.2] * len(seeds), s=9, color=LIGHT["muted"], linewidths=0)
    ax.scatter([gain.mean if gain else value.mean], [y], s=42, marker="D", color=ink, linewidths=0, zorder=3, gid=gid)


def span(ax: Axes, y: float, low: float, high: float, reach: float, colour: str) -> None:
    """An interval on the row `y`, cut by an arrow where it leaves the panel, which ends at `reach` to either side."""
    ends = [max(low, -reach), min(high, reach)]
    ax.plot(ends, [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
    for end, is_cut, arrow in ((-reach, low < -reach, "<"), (reach, high > reach, ">")):
        if is_cut:
            ax.plot([end], [y], marker=arrow, color=colour, markersize=6, clip_on=False)


def reach_of(pairs: Collection[PairResult]) -> float:
    """How far the axis of the pairs' differences goes to either side."""
    shown = [pair.test_difference for pair in pairs if pair.test_difference]
    ends = [end for pair in pairs if pair.gain for end in (pair.gain.low, pair.gain.high)]
    return reach([value for difference in shown for value in difference.by_seed.values()], ends)


def reach(seeds: Sequence[float], ends: Sequence[float]) -> float:
    """How far an axis of differences goes to either side, given those of seeds and the ends of intervals.

    Far enough for every seed and most intervals, but not for all of an interval over two seeds, beside which every
    difference would look like none.
    """
    widest = max(map(abs, seeds), default=0.0)
    return max(1.15 * min(max(map(abs, ends), default=0.0), 4 * widest), 1.3 * widest, 0.002)


def floor_of(complete: "pd.Series[float]", every: "pd.Series[float]", measure: Measure = ACCURACY) -> float:
    """Where the axis of accuracies ends below, so that a few hopeless trials do not flatten all others."""
    typical = complete if len(complete) else every
    # The largest number of all is a usual penalty, and a quarter of the trials may have it.
    typical = typical[typical.abs() < PENALTY] if (typical.abs() < PENALTY).any() else typical
    low, middle = map(float, np.quantile(typical, [0.25, 0.5]))
    fence = low - 3 * max(middle - low, measure.grain)
    return max(min(fence, float(typical.max()) - measure.grain), float(every.min()))


def accuracy_axis(ax: Axes, floor: float, top: float, measure: Measure = ACCURACY) -> None:
    """A vertical axis of accuracies in percent, or of another measure, from `floor` to a little above `top`."""
    room = max(0.06 * (top - floor), measure.grain)
    ax.set_ylim(floor - room, top + room)
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.yaxis.set_major_formatter(measure.ticks())


def thin(rows: pd.DataFrame, at_most: int, *, keep: Collection[int]) -> pd.DataFrame:
    """At most so many trials, evenly picked over their ranks by value, and always those numbered `keep`."""
    if len(rows) <= at_most:
        return rows
    ranked = rows.sort_values(["value", "number"], kind="stable")
    picked = ranked.iloc[np.unique(np.linspace(0, len(ranked) - 1, at_most).astype(int))]
    kept = rows["number"].isin(picked["number"]) | rows["number"].isin(list(keep))
    return rows[kept]


def marked(pair: PairResult) -> dict[int, str]:
    """The trials of a pair that stand out, by number, with their role."""
    roles: dict[int, str] = {}
    if pair.reference:
        roles |= dict.fromkeys(pair.reference.runs or (pair.reference.number,), "reference")
    if pair.best:
        both = pair.best.number in roles
        roles |= dict.fromkeys(pair.best.runs or (pair.best.number,), "reference, also best" if both else "best")
    return roles


def role_key(role: str) -> Line2D:
    """The legend's entry for reference or best in a figure of estimates."""
    colour = ROLE_COLOUR[role]
    face = colour if role == "best" else LIGHT["paper"]
    return Line2D([], [], color=colour, marker=_ROLE_MARKER[role], markerfacecolor=face, markersize=7, label=role)


def curve_key(role: str) -> Line2D:
    """The legend's entry for reference or best in a figure of curves."""
    return Line2D([], [], color=ROLE_COLOUR[role], linestyle=ROLE_LINE[role], linewidth=2, label=role)


def legend_columns(keys: Sequence[Line2D]) -> int:
    """How many keys of a legend fit side by side below a figure, at most five."""
    longest = max((len(str(key.get_label())) for key in keys), default=0)
    return max(1, min(5, len(keys), 135 // (longest + 9)))


def left_out(n_below: int, n_hidden: int, floor: float, measure: Measure = ACCURACY) -> str:
    """What a figure does not show in its place or at all, as a sentence; empty if nothing."""
    parts = []
    if n_below:
        worse = "below" if measure.sign > 0 else "above"
        parts.append(f"On the lower edge: {count(n_below, 'trial')} {worse} {measure.text(floor, digits=1)}.")
    if n_hidden:
        parts.append(f"Not drawn: {count(n_hidden, 'trial')} of middling rank (all are in trials.csv).")
    return " ".join(parts)
