"""The figure of early stopping: how soon accuracy ranks trials, and what stopped trials would have reached."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import LineStyleType

from studies.evidence.forecast import Forecast
from studies.evidence.method_looks import LINES
from studies.evidence.stopping import SETTLED, PairStopping, Stopped
from studies.reporting import contained, marks
from studies.reporting.measure import ACCURACY, Measure
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import correlation, count

MAX_EPOCHS = 120
"""A curve is drawn through at most so many of its epochs."""
MAX_STOPPED = 16
"""The figure shows at most so many stopped trials, those most likely to have won."""
MAX_TOLD = 24
"""The description tells at most so many pairs; summary.json has all."""


@dataclass(frozen=True)
class _Look:
    """How a pair is told apart from others: by colour, line and shape."""

    colour: str
    line: LineStyleType
    marker: str

    @classmethod
    def of(cls, i: int) -> "_Look":
        return cls(marks.pair_colour(i), LINES[i % len(LINES)], marks.pair_marker(i))

    def key(self, label: str) -> Line2D:
        return Line2D(
            [], [], color=self.colour, linestyle=self.line, marker=self.marker, markersize=5, linewidth=1.8, label=label
        )


def likeliest(pairs: Sequence[PairStopping], at_most: int) -> list[tuple[PairStopping, Stopped, Forecast]]:
    """The stopped trials with the best chances to have won, the likeliest first."""
    told = [(pair, one, one.forecast) for pair in pairs for one in pair.stopped if one.forecast is not None]
    return sorted(told, key=lambda known: -known[2].chance)[:at_most]


@contained.figure("stopping")
def stopping_figure(pairs: Sequence[PairStopping], measure: Measure = ACCURACY) -> Drawing | None:
    """Rank correlation by epoch, and beside it the stopped trials' expected end; None where neither is known."""
    ranked = [pair for pair in pairs if len(pair.correlation) > 1 and np.isfinite(pair.correlation).any()]
    shown = likeliest(pairs, MAX_STOPPED)
    if not ranked and not shown:
        return None
    looks = {pair.study: _Look.of(i) for i, pair in enumerate(pairs)}
    hover: Hover = {}
    with house_style():
        n_panels = bool(ranked) + bool(shown)
        height = max(3.4, 1.4 + 0.24 * len(shown))
        figure, axes = panels(n_panels, columns=n_panels, width=WIDTH, height=height)
        said = []
        if ranked:
            for pair in ranked:
                hover |= _correlation(axes[0], pair, looks[pair.study], measure, gid=f"stopping-{pairs.index(pair)}")
            _correlation_axis(axes[0], ranked, measure)
            said += [_in_words(pair, measure) for pair in ranked[:MAX_TOLD]]
        if shown:
            hover |= _forecasts(axes[-1], shown, looks, measure)
            said += [forecast_text(*one, measure) + "." for one in shown]
        drawn = {pair.study for pair in ranked} | {pair.study for pair, _, _ in shown}
        keys = [looks[pair.study].key(pair.label) for pair in pairs if pair.study in drawn]
        figure.legend(handles=keys, loc="outside lower left", ncols=marks.legend_columns(keys), handlelength=3)
        return finish(
            figure,
            name="stopping",
            title=f"What early {measure.step}s tell",
            caption=_caption(
                ranked, shown, sum(one.forecast is not None for pair in pairs for one in pair.stopped), measure
            ),
            description=" ".join(said),
            hover=hover,
        )


def _correlation(ax: Axes, pair: PairStopping, look: _Look, measure: Measure, *, gid: str) -> Hover:
    values = np.array(pair.correlation)
    at = np.unique(np.linspace(0, len(values) - 1, min(len(values), MAX_EPOCHS)).astype(int))
    ax.plot(
        [pair.step(epoch) for epoch in at + 1],
        values[at],
        color=look.colour,
        linestyle=look.line,
        linewidth=1.6,
        gid=gid,
    )
    hover: Hover = {gid: [_in_words(pair, measure)]}
    stops = Counter(one.epoch for one in pair.stopped if 0 < one.epoch <= len(values))
    known = [epoch for epoch in sorted(stops) if math.isfinite(values[epoch - 1])]
    if known:
        ax.scatter(
            list(map(pair.step, known)), values[np.array(known) - 1], s=30, marker=look.marker, color=look.colour,
            edgecolors=LIGHT["paper"], linewidths=0.8, zorder=3, gid=f"{gid}-stops",
        )  # fmt: skip
        hover[f"{gid}-stops"] = [
            f"{pair.label}: {count(stops[epoch], 'trial')} stopped after {measure.step} {pair.step(epoch)}, where the "
            f"rank correlation is {correlation(values[epoch - 1])}"
            for epoch in known
        ]
    return hover


def _correlation_axis(ax: Axes, ranked: Sequence[PairStopping], measure: Measure) -> None:
    least = min(np.nanmin(pair.correlation) for pair in ranked)
    ax.axhline(SETTLED, color=LIGHT["muted"], linewidth=0.9, linestyle=(0, (1, 2)))
    ax.set_ylim(min(-0.05, float(least) - 0.05), 1.05)
    ax.set_title("Rank correlation with the end")
    ax.set_xlabel(measure.step)
    ax.set_ylabel("Spearman's correlation")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _forecasts(
    ax: Axes,
    shown: Sequence[tuple[PairStopping, Stopped, Forecast]],
    looks: Mapping[str, _Look],
    measure: Measure,
) -> Hover:
    hover: Hover = {}
    for row, (pair, one, told) in enumerate(shown):
        look, gid = looks[pair.study], f"stopped-{row}"
        ax.plot([told.low - pair.best, told.high - pair.best], [row, row], color=look.colour, linewidth=1.4)
        face = LIGHT["paper"] if told.at_most else look.colour
        ax.scatter(
            [told.mean - pair.best],
            [row],
            s=34,
            marker=look.marker,
            color=face,
            edgecolors=look.colour,
            zorder=3,
            gid=gid,
        )
        hover[gid] = [forecast_text(pair, one, told, measure)]
    ax.axvline(0, color=LIGHT["ink"], linewidth=1.1)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    names = [f"trial {one.number}, {chance(told.chance, at_most=told.at_most)}" for _, one, told in shown]
    ax.set_yticks(range(len(shown)), names)
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(measure.difference_ticks())
    ax.set_title("Where stopped trials would have ended")
    ax.set_xlabel("points above the best of the pair" if measure.is_fraction else f"{measure.label} than the best")
    return hover


def chance(probability: float, *, at_most: bool = False) -> str:
    """A chance in percent, never rounded to none or to certainty; "≤ 7 %" for an upper bound."""
    if probability < 0.01:
        return "< 1 %"
    shown = "> 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"
    return f"≤ {shown.removeprefix('> ')}" if at_most else shown


def _in_words(pair: PairStopping, measure: Measure) -> str:
    last = len(pair.correlation)
    places = sorted({1, max(1, last // 4), max(1, last // 2), last - 1})
    told = [f"{correlation(pair.correlation[at - 1])} after {measure.step} {pair.step(at)}" for at in places if at > 0]
    told = [text for text in told if not text.startswith("nan")]
    over = f"of {pair.step(last)} ({count(pair.n, 'trial')})"
    final = measure.name.removeprefix("validation ")
    return f"{pair.label}: rank correlation with the final {final} {', '.join(told)} {over}."


def forecast_text(pair: PairStopping, one: Stopped, told: Forecast, measure: Measure) -> str:
    """Where a stopped trial would have ended, in words."""
    at_most = "at most " if told.at_most else ""
    after = f"{measure.step} {pair.step(one.epoch)}" if pair.steps else count(one.epoch, "epoch")
    distance = f"{measure.difference(told.mean - pair.best)}{' points' * measure.is_fraction}"
    return (
        f"{pair.label}, trial {one.number}, stopped after {after} at {measure.text(one.accuracy)}: "
        f"expected to end {at_most}{distance} from the best; chance to have won "
        f"{chance(told.chance, at_most=told.at_most)}, from {count(told.n, 'trial')}"
    )


def _caption(
    ranked: Sequence[PairStopping],
    shown: Sequence[tuple[PairStopping, Stopped, Forecast]],
    n_told: int,
    measure: Measure,
) -> str:
    parts = []
    if ranked:
        parts.append(
            f"Over the trials trained to the end; the dotted line is at {SETTLED:g}, marks are where trials stopped."
        )
    if shown:
        parts.append(
            f"Expected final {measure.name} of stopped trials with its 95 % prediction interval, and the chance to "
            "have beaten the best; hollow: an upper bound, because they were worse than every trial trained to the end."
        )
    if n_told > len(shown):
        parts.append(f"Not drawn: {count(n_told - len(shown), 'stopped trial')} with less of a chance.")
    return " ".join(parts)
