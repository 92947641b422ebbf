"""The figures that show trials one by one: searched parameters against accuracy, and learning curves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import LineStyleType

from studies.analysis import params_of
from studies.frame import param_columns
from studies.reporting import contained, marks
from studies.reporting.findings import Analysis, PairResult, Setting
from studies.reporting.measure import Measure
from studies.reporting.parameter_axis import ParameterAxis, is_placed
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import count, percent, setting, shortened
from studies.search_space import Axis

MAX_CURVES, MAX_CURVES_IN_ALL = 60, 240
MAX_MARKS, MAX_MARKS_IN_ALL = 600, 1_200
"""A figure shows at most so many trials a study, and in all, besides reference and best, and says so: a mark with its
words takes 250 bytes of the page in each panel, a curve of 250 epochs 5,000."""

EARLY: LineStyleType = (0, (1, 1.5))
"""The dotted line of a trial that was stopped early."""


_INK = LIGHT["ink"]
_ROLE_LOOKS: dict[str, dict[str, Any]] = {
    "best": {"marker": "o", "s": 110, "facecolors": "none", "edgecolors": _INK},
    "reference": {"marker": "+", "s": 120, "color": _INK},
}


@contained.figure("parameters")
def parameters(frame: pd.DataFrame, analysis: Analysis, search: Mapping[str, Axis | None]) -> Drawing | None:
    """Each searched parameter against validation accuracy, one panel a parameter; `search` has their axes."""
    trials = frame[frame["state"].isin(["complete", "pruned", "infeasible"]) & np.isfinite(frame["value"])]
    columns = param_columns(frame)
    if trials.empty or not columns:
        return None
    ranked = trials[trials["state"] != "infeasible"] if (trials["state"] != "infeasible").any() else trials
    hover: Hover = {}
    measure = analysis.measure
    title = f"Searched parameters against {measure.name}"
    best = [
        f"{p.label}: best {_reached(p.best, measure)} at {setting(p.best.params)}." for p in analysis.pairs if p.best
    ]
    description = " ".join([f"{count(len(trials), 'trial')} against {', '.join(columns)}.", *best])
    floor = marks.floor_of(ranked.loc[ranked["state"] == "complete", "value"], ranked["value"], measure)
    top = float(ranked["value"].max())
    at_most = min(MAX_MARKS, MAX_MARKS_IN_ALL // len(analysis.pairs))
    drawn = {
        pair.study: marks.thin(trials[trials["study"] == pair.study], at_most, keep=marks.marked(pair))
        for pair in analysis.pairs
    }
    with house_style():
        across = min(3, len(columns))
        figure, axes = panels(len(columns), columns=across, width=WIDTH, height=3.4)
        for panel, (ax, (name, column)) in enumerate(zip(axes, columns.items(), strict=True)):
            axis = ParameterAxis.of(name, search.get(name), trials[column])
            axis.prepare(ax)
            marks.accuracy_axis(ax, floor, top, measure)
            ax.set_title(shortened(name))
            for i, pair in enumerate(analysis.pairs):
                placed = drawn[pair.study][drawn[pair.study][column].map(is_placed).astype(bool)]
                x = [axis.position(value) + axis.dodge(i, len(analysis.pairs)) for value in placed[column].tolist()]
                hover |= _trial_marks(ax, x, placed, pair, i, (floor, top), measure, gid=f"parameter-{panel}-{i}")
        for ax in axes[::across]:
            ax.set_ylabel(measure.name)
        keys = _parameter_keys(trials, analysis)
        figure.legend(handles=keys, loc="outside lower left", ncols=min(5, len(keys)))
        n_hidden = len(trials) - sum(map(len, drawn.values()))
        omitted = marks.left_out(int((ranked["value"] < floor).sum()), n_hidden, floor, measure)
        caption = f"One mark a trial; the other parameters vary along with the one shown. {omitted}".strip()
        return finish(figure, name="parameters", title=title, caption=caption, description=description, hover=hover)


@contained.figure("curves")
def curves(frame: pd.DataFrame, analysis: Analysis) -> Drawing | None:
    """Validation accuracy by epoch, one panel a study."""
    has_curve = frame["curve"].map(lambda curve: any(map(math.isfinite, curve.values()))).astype(bool)
    trials = frame[has_curve]
    shown = [pair for pair in analysis.pairs if (trials["study"] == pair.study).any()]
    if max(map(len, trials["curve"]), default=0) < 2:
        return None  # a point is no curve
    hover: Hover = {}
    at_most, n_hidden = min(MAX_CURVES, MAX_CURVES_IN_ALL // len(shown)), 0
    measure = analysis.measure
    title = "Learning curves"
    with house_style():
        figure, axes = panels(len(shown), columns=min(2, len(shown)), width=WIDTH, height=2.9)
        for i, (ax, pair) in enumerate(zip(axes, shown, strict=True)):
            own = trials[trials["study"] == pair.study]
            placed = marks.thin(own, at_most, keep=marks.marked(pair))
            n_hidden += len(own) - len(placed)
            hover |= _curves(ax, placed, pair, measure, prefix=f"curve-{i}")
            ax.set_title(pair.label)
            ax.set_xlabel(measure.step)
        for ax in axes[:: min(2, len(shown))]:
            ax.set_ylabel(measure.name)
        figure.legend(handles=_curve_keys(trials, shown), loc="outside lower left", ncols=4)
        description = f"{measure.title} of {count(len(trials), 'trial')} by {measure.step}. " + " ".join(
            f"{pair.label}: {', '.join(f'{n} {state}' for state, n in pair.counts.items() if n)}." for pair in shown
        )
        caption = f"{measure.course} {marks.left_out(0, n_hidden, 0)}".strip()
        return finish(figure, name="curves", title=title, caption=caption, description=description, hover=hover)


def _reached(trained: Setting, measure: Measure) -> str:
    spread = trained.val_accuracy
    return percent(spread) if measure.is_fraction else measure.text(spread.mean)


def _trial_marks(
    ax: Axes,
    x: Sequence[float],
    trials: pd.DataFrame,
    pair: PairResult,
    i: int,
    ends: tuple[float, float],
    measure: Measure,
    gid: str,
) -> Hover:
    hover: Hover = {}
    colour = marks.pair_colour(i)
    roles = marks.marked(pair)
    columns = param_columns(trials)
    y = np.clip(trials["value"].to_numpy(), *ends)
    texts = []
    for (_, trial), number in zip(trials.iterrows(), trials["number"], strict=True):
        words = [pair.label, f"trial {number}", *filter(None, [roles.get(number)]), str(trial["state"])]
        texts.append(f"{', '.join(words)}: {measure.text(trial['value'])} at {setting(params_of(trial, columns))}")
    marker = {"marker": marks.pair_marker(i), "edgecolors": colour}
    state_looks: dict[str, dict[str, Any]] = {
        "infeasible": {"marker": "x", "color": LIGHT["muted"]},
        "pruned": marker | {"facecolors": "none"},
        "complete": marker | {"facecolors": colour},
    }
    for state, look in state_looks.items():
        at = np.flatnonzero(trials["state"].to_numpy() == state)
        if len(at):
            look |= {"s": 26, "linewidths": 1.1, "alpha": 0.85, "clip_on": False}
            ax.scatter(np.asarray(x)[at], y[at], gid=f"{gid}-{state}", **look)
            hover[f"{gid}-{state}"] = [texts[j] for j in at]
    for number, role in roles.items():
        at = np.flatnonzero(trials["number"].to_numpy() == number)
        for word, look in _ROLE_LOOKS.items():
            if len(at) and word in role:
                ax.scatter(np.asarray(x)[at], y[at], linewidths=1.4, zorder=4, clip_on=False, **look)
    return hover


def _parameter_keys(trials: pd.DataFrame, analysis: Analysis) -> list[Line2D]:
    def key(label: str, marker: str, size: float, colour: str, *, hollow: bool = False) -> Line2D:
        look: dict[str, Any] = {"marker": marker, "markersize": size, "color": colour, "label": label}
        return Line2D([], [], linestyle="none", markerfacecolor="none" if hollow else colour, **look)

    # The only pair of another program's study is the study, after which nobody would call a dot.
    labels = ["trial" if pair.label == analysis.campaign else pair.label for pair in analysis.pairs]
    keys = [key(label, marks.pair_marker(i), 6, marks.pair_colour(i)) for i, label in enumerate(labels)]
    if any(pair.reference for pair in analysis.pairs):
        keys.append(key("reference", "+", 9, _INK))
    if any(pair.best for pair in analysis.pairs):
        keys.append(key("best of its pair" if len(analysis.pairs) > 1 else "best", "o", 10, _INK, hollow=True))
    if (trials["state"] == "pruned").any():
        keys.append(key("stopped early (hollow)", "o", 6, LIGHT["muted"], hollow=True))
    if (trials["state"] == "infeasible").any():
        keys.append(key("violates a constraint", "x", 6, LIGHT["muted"]))
    return keys


def _curves(ax: Axes, trials: pd.DataFrame, pair: PairResult, measure: Measure, prefix: str) -> Hover:
    hover: Hover = {}
    roles = marks.marked(pair)
    for number, state, curve in zip(trials["number"], trials["state"], trials["curve"], strict=True):
        epochs = [epoch + measure.first for epoch in curve]
        values = list(curve.values())
        drawn = [value if math.isfinite(value) else math.nan for value in values]  # of an infinite one there is a gap
        role, gid = roles.get(number, ""), f"{prefix}-{number}"
        words = [f"trial {number}", *filter(None, [role]), str(state)]
        reached = "not a number" if math.isnan(values[-1]) else measure.text(values[-1])
        text = f"{', '.join(words)}: {reached} after {count(epochs[-1], measure.step)}"
        ends_early = state in ("pruned", "failed", "retried")
        line: LineStyleType = EARLY if ends_early else "solid"
        colour, width = LIGHT["faint"], 0.9
        for name in ("best", "reference"):  # both, dashed over solid, where the reference is the best
            if name in role:
                colour, line, width = marks.ROLE_COLOUR[name], marks.ROLE_LINE[name], 2.0
                ax.plot(epochs, drawn, color=colour, linestyle=line, linewidth=width, zorder=3, gid=f"{gid}-{name}")
                hover[f"{gid}-{name}"] = [text]
        if not role:
            ax.plot(epochs, drawn, color=colour, linestyle=line, linewidth=width, gid=gid)
            hover[gid] = [text]
        if ends_early or len(epochs) == 1:
            ax.plot(epochs[-1:], drawn[-1:], marker="x" if ends_early else "o", markersize=4.5, color=colour)
    reports = [(epoch, value) for curve in trials["curve"] for epoch, value in curve.items() if math.isfinite(value)]
    every = pd.Series([value for _, value in reports], dtype=float)
    # The steep rise at the start would leave no room for what comes after it.
    last = max(max(curve) for curve in trials["curve"])
    start = max(int(0.04 * last), 1 if last > 2 else 0)
    settled = pd.Series([value for epoch, value in reports if epoch >= start], dtype=float)
    floor = marks.floor_of(settled, every, measure)
    marks.accuracy_axis(ax, floor, float(every.max()), measure)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return hover


def _curve_keys(trials: pd.DataFrame, pairs: Sequence[PairResult]) -> list[Line2D]:
    roles = {"reference": any(pair.reference for pair in pairs), "best": any(pair.best for pair in pairs)}
    keys = [marks.curve_key(role) for role, is_there in roles.items() if is_there]
    keys.append(Line2D([], [], color=LIGHT["faint"], linewidth=1, label="other trial"))
    if trials["state"].isin(["pruned", "failed", "retried"]).any():
        keys.append(Line2D([], [], color=LIGHT["faint"], linestyle=EARLY, marker="x", label="stopped early or failed"))
    return keys
