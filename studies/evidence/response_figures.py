"""Curves of each parameter, and lines over the learning rate."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from studies import names
from studies.evidence.method_looks import LINES
from studies.evidence.response import Curve, Line, spans
from studies.reporting import contained, marks
from studies.reporting.findings import PairResult
from studies.reporting.measure import Measure
from studies.reporting.parameter_axis import ParameterAxis
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import listed, number, setting, shortened
from studies.search_space import Axis

MOST_COLUMNS, MOST_ALONE = 5, 12
"""Parameters that have a panel in a figure of several pairs, and of a single one."""
MOST_LINES = 6


@contained.figure("response")
def curves_figure(
    curves: Mapping[str, Sequence[Curve]],
    pairs: Sequence[PairResult],
    search: Mapping[str, Axis | None],
    measure: Measure,
    description: str,
) -> Drawing:
    """A row a pair and a column a parameter; with one pair the parameters in rows of three."""
    shown = [pair for pair in pairs if curves.get(pair.study)]
    params, hidden = _drawn(curves, MOST_COLUMNS if len(shown) > 1 else MOST_ALONE)
    columns = len(params) if len(shown) > 1 else min(3, len(params))
    hover: Hover = {}
    with house_style():
        height = 2.6 if len(shown) == 1 else 1.75
        figure, axes = panels(len(params) * len(shown), columns=columns, width=WIDTH, height=height)
        reach = max(abs(end) for own in curves.values() for c in own for end in (*c.effect, *_settled(c)))
        reach = max(reach, 0.1 * measure.grain)  # where all reached the same
        for row, pair in enumerate(shown):
            by_name = {curve.param: curve for curve in curves[pair.study]}
            for column, name in enumerate(params):
                ax = axes[row * len(params) + column]
                ax.set_ylim(-1.15 * reach, 1.15 * reach)
                ax.yaxis.set_major_formatter(measure.difference_ticks())
                ax.yaxis.set_major_locator(MaxNLocator(4, symmetric=True))
                if column % columns == 0:
                    ax.set_ylabel(measure.label if len(shown) == 1 else f"{pair.label}\n{measure.label}")
                if row == 0:
                    ax.set_title(shortened(name))
                if name in by_name:
                    hover |= _curve(ax, by_name[name], pair, search.get(name), measure, gid=f"response-{row}-{column}")
                else:
                    ax.set_axis_off()
        figure.legend(handles=_curve_keys(curves, shown), loc="outside lower left", ncols=4)
        return finish(
            figure,
            name="response",
            title=f"What each parameter does to {measure.name}",
            caption=(
                f"{measure.title} against its average along the curve{', in points' * measure.is_fraction}; the other "
                "parameters averaged over as they were tried. Band: 95 % interval. Ticks at the bottom: trials."
                f"{hidden}"
            ),
            description=description,
            hover=hover,
        )


def _drawn(curves: Mapping[str, Sequence[Curve]], at_most: int) -> tuple[list[str], str]:
    """The parameters that have a panel, those that change most, and a sentence on the others."""
    changes = spans(itertools.chain(*curves.values()))
    kept = sorted(changes, key=lambda name: -changes[name])[:at_most]
    others = [name for name in changes if name not in kept]
    told = f" Not drawn, as they change less: {listed(list(map(names.words, others)))}." if others else ""
    return [name for name in changes if name in kept], told


def _settled(curve: Curve) -> list[float]:
    """The ends of the narrower half of its intervals: a single wild one must not flatten all curves."""
    ends = sorted(
        ((high - low), low, high) for low, high in zip(curve.low, curve.high, strict=True) if math.isfinite(low)
    )
    return [end for _, low, high in ends[: max(1, len(ends) // 2)] for end in (low, high)] if ends else []


def _curve(ax: Axes, curve: Curve, pair: PairResult, axis: Axis | None, measure: Measure, gid: str) -> Hover:
    seen: pd.Series[Any] = pd.Series(list(curve.choices) if curve.choices is not None else list(curve.at))
    layout = ParameterAxis.of(curve.param, None if curve.choices is not None else axis, seen)
    layout.prepare(ax)
    x = np.array(curve.values)
    at = np.clip(curve.at, *layout.limits)
    blue = LIGHT["blue"]
    for role, trained in (("reference", pair.reference), ("best", pair.best)):
        if trained and curve.param in trained.params:
            place = _place(trained.params[curve.param], curve)
            if place is not None:
                ax.axvline(
                    place, color=marks.ROLE_COLOUR[role], linestyle=marks.ROLE_LINE[role], linewidth=1.1, zorder=1
                )
    ax.axhline(0, color=LIGHT["muted"], linewidth=0.8, zorder=1)
    if curve.kind == "model" and curve.choices is None:
        ax.fill_between(x, curve.low, curve.high, color=blue, alpha=0.2, linewidth=0)
        ax.plot(x, curve.effect, color=LIGHT["ink"], linewidth=1.8, gid=gid, zorder=3)
        texts = [_curve_text(curve, pair, measure)]
    else:
        x = np.clip(x, *layout.limits)
        for place, low, high in zip(x, curve.low, curve.high, strict=True):
            if math.isfinite(low):
                ax.plot([place, place], [low, high], color=blue, linewidth=1.6, zorder=2)
        ax.scatter(x, curve.effect, s=36, color=LIGHT["ink"], zorder=3, gid=gid)
        texts = [_point_text(curve, i, measure) for i in range(len(x))]
    ax.plot(
        at,
        np.full(len(at), 0.03),
        "|",
        color=LIGHT["muted"],
        transform=ax.get_xaxis_transform(),
        markersize=5,
    )
    return {gid: texts}


def _place(value: Any, curve: Curve) -> float | None:
    if curve.choices is None:
        return float(value) if math.isfinite(value) else None
    return float(curve.choices.index(str(value))) if str(value) in curve.choices else None


def _curve_text(curve: Curve, pair: PairResult, measure: Measure) -> str:
    best = number(names.title(curve.param, curve.best_value))
    return f"{pair.label}, {names.words(curve.param)}: best at {best}, {_effect(curve, curve.top, measure)}"


def _point_text(curve: Curve, i: int, measure: Measure) -> str:
    where = number(curve.values[i]) if curve.choices is None else curve.choices[i]
    return f"{names.words(curve.param)} {names.title(curve.param, where)}: {_effect(curve, i, measure)}"


def _effect(curve: Curve, i: int, measure: Measure) -> str:
    """The effect at a place of the curve with its interval, "+0.52 points (+0.20 to +0.84)"."""
    low, high = curve.low[i], curve.high[i]
    ends = f" ({measure.difference(low)} to {measure.difference(high)})" if math.isfinite(low) else ""
    return f"{measure.difference(curve.effect[i])}{' points' * measure.is_fraction}{ends}"


def _curve_keys(curves: Mapping[str, Sequence[Curve]], pairs: Sequence[PairResult]) -> list[Line2D]:
    is_line = any(curve.kind == "model" for own in curves.values() for curve in own)
    keys = [Line2D([], [], color=LIGHT["ink"], linewidth=1.8, label="response")] if is_line else []
    roles = {"reference": any(p.reference for p in pairs), "best": any(p.best for p in pairs)}
    for role, is_there in roles.items():
        if is_there:
            look: dict[str, Any] = {"color": marks.ROLE_COLOUR[role], "linestyle": marks.ROLE_LINE[role]}
            keys.append(Line2D([], [], linewidth=1.1, label=f"{role}’s value", **look))
    return keys


def _best_first(lines: Mapping[str, Sequence[Line]], pairs: Sequence[PairResult]) -> list[str]:
    """The settings of the other parameters: those of most pairs first, then those that come nearest to their best."""
    behind: dict[str, list[float]] = {}
    for pair in pairs:
        top = max(max(line.mean) for line in lines[pair.study])
        for line in lines[pair.study]:
            behind.setdefault(setting(line.others), []).append(top - max(line.mean))
    return sorted(behind, key=lambda name: (-len(behind[name]), math.fsum(behind[name]) / len(behind[name])))


def _of_how_many(settings: Sequence[str]) -> str:
    return f", the best {MOST_LINES} of {len(settings)}" if len(settings) > MOST_LINES else ""


@contained.figure("lr")
def lr_figure(
    lines: Mapping[str, Sequence[Line]], pairs: Sequence[PairResult], measure: Measure, description: str
) -> Drawing:
    """The value over the learning rate, a panel a pair and a line a setting of the other parameters."""
    shown = [pair for pair in pairs if lines.get(pair.study)]
    every = _best_first(lines, shown)
    settings = every[:MOST_LINES]
    hover: Hover = {}
    with house_style():
        across = min(3, len(shown))
        figure, axes = panels(len(shown), columns=across, width=WIDTH, height=2.6)
        for row, (ax, pair) in enumerate(zip(axes, shown, strict=True)):
            drawn = [line for line in lines[pair.study] if setting(line.others) in settings]
            own = [value for line in drawn or lines[pair.study] for value in line.mean]
            floor = marks.floor_of(pd.Series(own), pd.Series(own), measure)
            for line in drawn:
                i = settings.index(setting(line.others))
                y = np.maximum(line.mean, floor)
                colour, marker = marks.pair_colour(i), marks.pair_marker(i)
                gid = f"lr-{row}-{i}"
                ax.plot(line.lr, y, color=colour, linestyle=LINES[i % len(LINES)], linewidth=1.4)
                ax.errorbar(line.lr, y, yerr=np.nan_to_num(line.std), color=colour, fmt="none", elinewidth=1)
                ax.scatter(line.lr, y, s=26, marker=marker, color=colour, zorder=3, gid=gid)
                hover[gid] = [
                    f"{pair.label}, {names.symbol('lr')} {number(lr)}, {setting(line.others)}: {measure.text(mean)}"
                    for lr, mean in zip(line.lr, line.mean, strict=True)
                ]
            marks.accuracy_axis(ax, floor, max(own), measure)
            rates = sorted({lr for line in lines[pair.study] for lr in line.lr})
            layout = ParameterAxis.of("lr", None, pd.Series(rates))
            layout.prepare(ax)
            ax.set_title(pair.label)
            ax.set_xlabel(names.words("lr"))
        for ax in axes[::across]:
            ax.set_ylabel(measure.name)
        keys = [
            Line2D(
                [],
                [],
                color=marks.pair_colour(i),
                marker=marks.pair_marker(i),
                markersize=5,
                label=text,
                linestyle=LINES[i % len(LINES)],
            )
            for i, text in enumerate(settings)
        ]
        figure.legend(handles=keys, loc="outside lower left", ncols=min(3, len(keys)))
        return finish(
            figure,
            name="lr",
            title=f"{measure.title} over the learning rate",
            caption=f"A line for each setting of the other parameters{_of_how_many(every)}"
            + ("; bars: standard deviation over seeds." if measure.is_fraction else "."),
            description=description,
            hover=hover,
        )
