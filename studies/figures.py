"""The figures of a report: pure functions from frame and analysis to a `Drawing`, or None with nothing to draw."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from studies import marks
from studies.findings import Analysis, PairResult
from studies.spec import StudySpec
from studies.svg import LIGHT, WIDTH, Drawing, Hover, house_style, panels, render
from studies.trial_figures import curves, parameters
from studies.wording import percent, setting, verdict


def draw_all(frame: pd.DataFrame, analysis: Analysis, spec: StudySpec) -> tuple[Drawing, ...]:
    """Every figure that the trials allow, in the order of the report."""
    drawings = (comparison(analysis), parameters(frame, analysis, spec), curves(frame, analysis))
    return tuple(drawing for drawing in drawings if drawing is not None)


def comparison(analysis: Analysis) -> Drawing | None:
    """Reference and best of every pair on test, and their difference with its interval."""
    shown = [pair for pair in analysis.pairs if pair.best and np.isfinite(pair.best.test_accuracy.mean)]
    if not shown:
        return None
    hover: Hover = {}
    title = "Reference and best on test images"
    description = " ".join(f"{pair.label}: {_reached(pair)} {verdict(pair)}" for pair in shown)
    with house_style():
        figure, (left, right) = panels(2, columns=2, width=WIDTH, height=1.2 + 0.42 * len(shown))
        reach = marks.reach_of(shown)
        for row, pair in enumerate(shown):
            hover |= _both_roles(left, row, pair)
            if pair.test_difference:
                marks.gap(right, row, pair.test_difference, reach, gid=f"difference-{row}")
                hover[f"difference-{row}"] = [f"{pair.label}: {verdict(pair)}"]
            else:
                why = "reference is best" if pair.reference else "no reference"
                right.text(0.02 * reach, row, why, va="center", color=LIGHT["muted"])
        for ax, heading in ((left, "Test accuracy"), (right, "Best − reference on test, in points")):
            ax.set_ylim(len(shown) - 0.5, -0.5)
            ax.set_yticks(range(len(shown)), [pair.label for pair in shown] if ax is left else [""] * len(shown))
            ax.tick_params(axis="y", length=0)
            ax.grid(False, axis="y")
            ax.set_title(heading)
            ax.xaxis.set_major_locator(MaxNLocator(5))
        left.xaxis.set_major_formatter(marks.PERCENT)
        left.margins(x=0.08)
        right.xaxis.set_major_formatter(marks.POINTS)
        right.axvline(0, color=LIGHT["muted"], linewidth=1, zorder=1)
        right.set_xlim(-reach, reach)
        keys = [marks.role_key(role) for role in ("reference", "best")]
        figure.legend(handles=keys, loc="outside lower left", ncols=2)
        svg = render(figure, title=title, description=description, hover=hover)
    caption = (
        "Left: mean and standard deviation over seeds. Right: mean difference (diamond), its 95 % interval (line, with "
        "an arrow where it leaves the panel) and each seed (dots)."
    )
    return Drawing("comparison", title, caption, description, svg)


def _reached(pair: PairResult) -> str:
    roles = (("reference", pair.reference), ("best", pair.best))
    return " ".join(f"{role} {percent(trained.test_accuracy)};" for role, trained in roles if trained)


def _both_roles(ax: Axes, row: int, pair: PairResult) -> Hover:
    hover: Hover = {}
    for role, trained, offset in (("reference", pair.reference, -0.13), ("best", pair.best, 0.13)):
        if trained and np.isfinite(trained.test_accuracy.mean):
            gid = f"accuracy-{role}-{row}"
            marks.estimate(ax, row + offset, trained.test_accuracy, role, gid)
            hover[gid] = [f"{pair.label}, {role}: {percent(trained.test_accuracy)} ({setting(trained.params)})"]
    return hover
