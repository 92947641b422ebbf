"""The response over two parameters as colours and contours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from studies import names
from studies.evidence.surfaces import Surface
from studies.frame import param_columns
from studies.reporting import contained
from studies.reporting.findings import PairResult
from studies.reporting.measure import Measure
from studies.reporting.parameter_axis import ParameterAxis
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import number
from studies.search_space import Axis

ON_COLOURS = ("#101010", "#fefefe")
"""Dark and light marks over colours that are the same in every theme."""


@contained.figure("surface")
def surface_figure(
    surfaces: Mapping[str, Sequence[Surface]],
    pairs: Sequence[PairResult],
    frame: pd.DataFrame,
    params: tuple[str, str],
    search: Mapping[str, Axis | None],
    measure: Measure,
    description: str,
) -> Drawing:
    """The value over two parameters as colours and contours, a row a pair and a column a learning rate."""
    shown = [pair for pair in pairs if surfaces.get(pair.study)]
    n_columns = max(len(surfaces[pair.study]) for pair in shown)
    alone = n_columns == 1
    hover: Hover = {}
    columns = [param_columns(frame)[name] for name in params]
    layouts = [
        ParameterAxis.of(name, search.get(name), frame[column]) for name, column in zip(params, columns, strict=True)
    ]
    behind = {pair.study: _behind(surfaces[pair.study]) for pair in shown}
    worst = max(float(np.quantile(np.concatenate([b.ravel() for b in own]), 0.9)) for own in behind.values())
    scale = 100 if measure.is_fraction else 1
    levels = MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]).tick_values(0, scale * max(worst, 0.1 * measure.grain))
    with house_style():
        across = min(3, len(shown)) if alone else n_columns
        total = len(shown) if alone else len(shown) * n_columns
        figure, axes = panels(total, columns=across, width=WIDTH, height=2.7)
        drawn = None
        for row, pair in enumerate(shown):
            for column in range(n_columns):
                ax = axes[row if alone else row * n_columns + column]
                if column >= len(surfaces[pair.study]):
                    ax.set_axis_off()
                    continue
                one = surfaces[pair.study][column]
                drawn = _surface(ax, one, behind[pair.study][column], levels, scale)
                rows = frame.loc[list(one.trials)]
                hover |= _trials(ax, rows, pair, layouts, columns, measure, gid=f"surface-{row}-{column}")
                title = pair.label if alone else f"{pair.label}\n{names.symbol('lr')} {_lr(one)}"
                ax.set_title(title, fontsize=9)
                for layout, vertical in zip(layouts, (False, True), strict=True):
                    layout.prepare(ax, vertical=vertical)
                if (row % across if alone else column) == 0:
                    ax.set_ylabel(names.words(params[1]))
                ax.set_xlabel(names.words(params[0]))
        if drawn is not None:
            bar = figure.colorbar(drawn, ax=axes, shrink=0.7, aspect=30, pad=0.01)
            bar.set_label("points below the best" if measure.is_fraction else "worse than the best by")
            bar.formatter = FuncFormatter(lambda value, _position: measure.plain(value))
            bar.outline.set_visible(False)
        figure.legend(handles=_surface_keys(shown), loc="outside lower left", ncols=4)
        return finish(
            figure,
            name="surface",
            title=f"{measure.title} over {names.words(params[0])} and {names.words(params[1])}",
            caption=(
                f"{_behind_what(measure, len(shown))}: the lighter, the better. Dotted: known to no better than half "
                "of what the surface spans. Parameters not shown are at the best’s values."
            ),
            description=description,
            hover=hover,
        )


def _behind_what(measure: Measure, n_pairs: int) -> str:
    whose = "of the pair’s surfaces" if n_pairs > 1 or measure.is_fraction else "of all"
    return (
        f"Points below the highest place {whose}"
        if measure.is_fraction
        else f"How much worse than the best place {whose}"
    )


def _behind(own: Sequence[Surface]) -> list[np.ndarray[Any, Any]]:
    top = max(float(surface.mean.max()) for surface in own)
    return [top - surface.mean for surface in own]


def _surface(ax: Axes, one: Surface, behind: np.ndarray[Any, Any], levels: Sequence[float], scale: int) -> Any:
    behind = scale * behind
    drawn = ax.contourf(one.x, one.y, behind, levels=levels, cmap="cividis_r", extend="max")
    lines = ax.contour(one.x, one.y, behind, levels=levels, colors=ON_COLOURS[0], linewidths=0.5)
    ax.clabel(lines, levels[1 : len(levels) // 2], fontsize=7, fmt="%g")  # dark on dark further down
    span = float(levels[-1]) / scale
    unsure = (one.std > span / 2).astype(float)
    if unsure.any():
        ax.contourf(one.x, one.y, unsure, levels=[0.5, 1.5], colors="none", hatches=["..."])
    ax.grid(False)
    return drawn


def _trials(
    ax: Axes,
    rows: pd.DataFrame,
    pair: PairResult,
    layouts: Sequence[ParameterAxis],
    columns: Sequence[str],
    measure: Measure,
    gid: str,
) -> Hover:
    if rows.empty:
        return {}
    dark, light = ON_COLOURS
    values = [rows[column].to_numpy(float) for column in columns]
    x, y = (np.clip(own, *layout.limits) for own, layout in zip(values, layouts, strict=True))
    ax.scatter(x, y, s=16, color=light, edgecolors=dark, linewidths=0.8, zorder=3, gid=gid, clip_on=False)
    one, other = (names.symbol(layout.name) for layout in layouts)
    texts = [
        f"{pair.label}, trial {n}: {measure.text(value)}, {one} {number(float(a))}, {other} {number(float(b))}"
        for n, value, a, b in zip(rows["number"], rows["value"], *values, strict=True)
    ]
    for trained, marker, size in ((pair.reference, "s", 90), (pair.best, "o", 190)):
        at = np.flatnonzero(rows["number"].to_numpy() == trained.number) if trained else np.empty(0, int)
        if len(at):
            for width, colour in ((3.2, light), (1.4, dark)):
                look: dict[str, Any] = {"facecolors": "none", "edgecolors": colour, "linewidths": width}
                ax.scatter(x[at], y[at], s=size, marker=marker, zorder=4, clip_on=False, **look)
    return {gid: texts}


def _lr(one: Surface) -> str:
    if one.lr is None:
        return ""
    if one.lr_range is None:
        return number(one.lr)
    return f"{one.lr_range[0]:.2g} to {one.lr_range[1]:.2g}"


def _surface_keys(pairs: Sequence[PairResult]) -> list[Line2D]:
    look: dict[str, Any] = {"linestyle": "none", "color": LIGHT["ink"], "markerfacecolor": "none"}
    keys = [Line2D([], [], marker="o", markersize=4, label="trial", **look)]
    if any(pair.reference for pair in pairs):
        keys.append(Line2D([], [], marker="s", markersize=9, label="reference", **look))
    if any(pair.best for pair in pairs):
        keys.append(Line2D([], [], marker="o", markersize=11, label="best", **look))
    return keys
