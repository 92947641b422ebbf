"""The figure of methods side by side: test accuracy by sparsity, or by method where there is one sparsity."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from studies import names
from studies.evidence.arms import Arm, rank
from studies.evidence.method_looks import Look, looks_of
from studies.reporting import contained, marks
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import count, percent

HOPELESS = 0.05
"""A method so much below where the others lie is drawn on the lower edge, so that it does not flatten them."""
DENSE = "dense"
"""Is no sparse method but what they are held against: a line through all of them."""
NAME, TITLE = "methods", "Test accuracy of the methods"


@contained.figure("methods")
def accuracies(arms: Sequence[Arm]) -> Drawing | None:
    """A panel a distribution; None where no test accuracy is known."""
    shown = [arm for arm in arms if arm.reached()]
    if not shown:
        return None
    distributions = list(dict.fromkeys(arm.distribution for arm in shown))
    looks = looks_of({arm.name: arm.method for arm in sorted(shown, key=rank)})
    description = " ".join(f"{place}: {_listed(shown, place)}." for place in dict.fromkeys(a.place for a in shown))
    draw = _by_sparsity if len({arm.sparsity for arm in shown}) > 1 else _by_method
    with house_style():
        return draw(shown, distributions, looks, description)


def _by_sparsity(
    arms: Sequence[Arm], distributions: Sequence[str], looks: Mapping[str, Look], description: str
) -> Drawing:
    hover: Hover = {}
    sparsities = sorted({arm.sparsity for arm in arms})
    means = pd.Series([arm.trained.test_accuracy.mean for arm in arms])
    lowest, fence, top = float(means.min()), marks.floor_of(means, means), float(means.max())
    floor = lowest if lowest > fence - HOPELESS else fence
    columns = min(2, len(distributions))
    figure, axes = panels(len(distributions), columns=columns, width=WIDTH, height=3.8)
    for i, (ax, distribution) in enumerate(zip(axes, distributions, strict=True)):
        for j, (name, drawn) in enumerate(looks.items()):
            own = [arm for arm in arms if arm.distribution == distribution and arm.name == name]
            if own:
                shift = 0.5 * ((j + 0.5) / len(looks) - 0.5)
                x = [sparsities.index(arm.sparsity) + shift for arm in own]
                hover |= _line(ax, x, own, drawn, floor, gid=f"method-{i}-{j}")
                if name == DENSE:
                    places = np.array([sparsities.index(arm.sparsity) for arm in own])
                    y = np.maximum([arm.trained.test_accuracy.mean for arm in own], floor)
                    ax.hlines(y, places - 0.5, places + 0.5, color=drawn.colour, linewidth=1.4)
        marks.accuracy_axis(ax, floor, top)
        ax.set_xticks(range(len(sparsities)), [f"{sparsity:g}" for sparsity in sparsities])
        ax.set_xlim(-0.5, len(sparsities) - 0.5)
        ax.grid(False, axis="x")
        ax.set_title(names.distribution(distribution))
        ax.set_xlabel("sparsity")
    for ax in axes[::columns]:
        ax.set_ylabel("test accuracy")
    keys = [
        Line2D(
            [],
            [],
            color=drawn.colour,
            marker=drawn.marker,
            linestyle=drawn.line,
            markersize=6,
            label=names.method(name),
        )
        for name, drawn in looks.items()
    ]
    figure.legend(handles=keys, loc="outside lower left", ncols=min(6, len(keys)), handlelength=5)
    n_below = int((means < floor).sum())
    omitted = f" On the lower edge: {count(n_below, 'setting')} below {100 * floor:.3g} %." if n_below else ""
    line = " The dense network is the line across." if DENSE in looks else ""
    caption = f"Mean and standard deviation over seeds; methods stand side by side at each sparsity.{line}{omitted}"
    return finish(figure, name=NAME, title=TITLE, caption=caption, description=description, hover=hover)


def _line(ax: Axes, x: Sequence[float], arms: Sequence[Arm], drawn: Look, floor: float, gid: str) -> Hover:
    means = np.array([arm.trained.test_accuracy.mean for arm in arms])
    spread = np.nan_to_num([arm.trained.test_accuracy.std for arm in arms])
    y = np.maximum(means, floor)
    if arms[0].name != DENSE:
        ax.plot(x, y, color=drawn.colour, linestyle=drawn.line, linewidth=1.4)
    ax.vlines(x, np.maximum(means - spread, floor), np.maximum(means + spread, floor), color=drawn.colour, lw=1.4)
    ax.scatter(x, y, s=30, marker=drawn.marker, color=drawn.colour, linewidths=0, zorder=3, gid=gid, clip_on=False)
    return {gid: [f"{names.method(arm.name)} at {arm.place}: {percent(arm.trained.test_accuracy)}" for arm in arms]}


def _by_method(
    arms: Sequence[Arm], distributions: Sequence[str], looks: Mapping[str, Look], description: str
) -> Drawing:
    hover: Hover = {}
    rows = list(looks)
    columns = min(2, len(distributions))
    figure, axes = panels(len(distributions), columns=columns, width=WIDTH, height=1.0 + 0.34 * len(rows))
    for i, (ax, distribution) in enumerate(zip(axes, distributions, strict=True)):
        for arm in (arm for arm in arms if arm.distribution == distribution):
            row, reached, drawn = rows.index(arm.name), arm.trained.test_accuracy, looks[arm.name]
            gid = f"method-{i}-{row}"
            if np.isfinite(reached.std):
                ends = [reached.mean - reached.std, reached.mean + reached.std]
                ax.plot(ends, [row, row], color=drawn.colour, linewidth=1.6)
            seeds = list(arm.trained.test_by_seed.values())
            ax.scatter(seeds, [row + 0.22] * len(seeds), s=9, color=LIGHT["muted"], linewidths=0)
            ax.scatter([reached.mean], [row], s=46, marker=drawn.marker, color=drawn.colour, zorder=3, gid=gid)
            hover[gid] = [f"{names.method(arm.name)} at {arm.place}: {percent(reached)}"]
            if arm.name == DENSE:
                ax.axvline(reached.mean, color=drawn.colour, linewidth=1, linestyle=(0, (5, 2)), zorder=1)
        ax.set_yticks(range(len(rows)), list(map(names.method, rows)))
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.grid(False, axis="y")
        ax.margins(x=0.08)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_formatter(marks.PERCENT)
        ax.set_title(next(arm.place for arm in arms if arm.distribution == distribution))
        ax.set_xlabel("test accuracy")
    line = " The dense network is the broken line." if DENSE in looks else ""
    caption = f"Mean and standard deviation over seeds, and each seed as a dot below.{line}"
    return finish(figure, name=NAME, title=TITLE, caption=caption, description=description, hover=hover)


def _listed(arms: Sequence[Arm], place: str) -> str:
    return ", ".join(f"{arm.name} {percent(arm.trained.test_accuracy)}" for arm in arms if arm.place == place)
