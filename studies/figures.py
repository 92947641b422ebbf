"""The figure of the first screen: reference and best of every pair, and what lies between them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from studies.reporting import contained, marks
from studies.reporting.findings import Analysis, PairResult, Verdict
from studies.reporting.result_words import verdict
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import percent, setting

WHY_NO_GAIN = {
    Verdict.REFERENCE_IS_BEST: "reference is best",
    Verdict.DOES_NOT_PAY: "reference is best",
    Verdict.ONLY_REFERENCE: "only the reference",
}
"""What stands where a gain would."""


@contained.figure("comparison")
def comparison(analysis: Analysis) -> Drawing | None:
    """Reference and best of every pair on test, and their difference with its interval where there is a reference."""
    shown = [pair for pair in analysis.pairs if pair.best and np.isfinite(pair.best.test_accuracy.mean)]
    if not shown:
        return None
    hover: Hover = {}
    roles = ("reference", "best") if any(pair.reference for pair in shown) else ("best",)
    title = f"{' and '.join(roles)} on test".capitalize()
    caption = "Mean and standard deviation over seeds."
    description = " ".join(f"{pair.label}: {_reached(pair)} {verdict(pair)}" for pair in shown)
    with house_style():
        figure, axes = panels(len(roles), columns=len(roles), width=WIDTH, height=1.2 + 0.42 * len(shown))
        for row, pair in enumerate(shown):
            hover |= _both_roles(axes[0], row, pair)
        axes[0].set_yticks(range(len(shown)), [pair.label for pair in shown])
        axes[0].set_title("Test accuracy")
        axes[0].margins(x=0.08)
        axes[0].xaxis.set_major_formatter(marks.PERCENT)
        if len(roles) == 2:
            hover |= _differences(axes[1], shown)
            caption = f"Left: mean and standard deviation over seeds. Right: {what_is_drawn(shown)}."
        for ax in axes:
            ax.set_ylim(len(shown) - 0.5, -0.5)
            ax.tick_params(axis="y", length=0)
            ax.grid(False, axis="y")
            ax.xaxis.set_major_locator(MaxNLocator(5))
        figure.legend(handles=[marks.role_key(role) for role in roles], loc="outside lower left", ncols=2)
        return finish(figure, name="comparison", title=title, caption=caption, description=description, hover=hover)


def what_is_drawn(pairs: Sequence[PairResult]) -> str:
    """The panel of differences in words: of what these pairs have, and nothing else."""
    told = [pair for pair in pairs if pair.test_difference]
    if not told:
        return "why there is no gain to show"
    seeds = "the difference of each seed (dots)"
    if not any(pair.gain for pair in told):
        return f"the mean difference (diamond), of which nothing tells the luck, and {seeds}"
    mere = "" if all(pair.gain for pair in told) else "; a diamond without a line is a mean difference, luck and all"
    interval = "its 95 % interval (line, with an arrow where it leaves the panel)"
    return f"the gain without luck (diamond), {interval} and {seeds}{mere}"


def _differences(ax: Axes, pairs: Sequence[PairResult]) -> Hover:
    hover: Hover = {}
    reach = marks.reach_of(pairs)
    for row, pair in enumerate(pairs):
        if pair.test_difference:
            marks.gap(ax, row, pair.test_difference, pair.gain, reach, gid=f"difference-{row}")
            hover[f"difference-{row}"] = [f"{pair.label}: {verdict(pair)}"]
        else:
            why = WHY_NO_GAIN.get(pair.verdict, "no comparison")
            ax.text(0.02 * reach, row, why, va="center", color=LIGHT["muted"])
    ax.set_yticks(range(len(pairs)), [""] * len(pairs))
    ax.set_title("Gain on test, in points")
    ax.xaxis.set_major_formatter(marks.POINTS)
    ax.axvline(0, color=LIGHT["muted"], linewidth=1, zorder=1)
    ax.set_xlim(-reach, reach)
    return hover


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
