"""The figures of where the weights went: sparsity layer by layer, and exploration and cost over training."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.typing import LineStyleType

from studies.coordinates import Array
from studies.evidence.method_looks import Look, look
from studies.evidence.trajectories import Trajectory
from studies.reporting import marks
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import count, multiple

MAX_PANELS = 12
"""The figure by layers shows at most so many pairs, and says so."""
MAX_EPOCHS = 120
"""A curve is drawn through at most so many of its epochs."""
_BEGAN: LineStyleType = (0, (2, 2))
_NAMED_LAYERS = 14
"""Up to so many layers have their names on the axis; beyond, every n-th has."""


def layer_sparsities(shown: Sequence[Trajectory]) -> Drawing:
    """Sparsity of each layer at the end, and dotted at the start where that was another; a panel a pair."""
    places = list(dict.fromkeys(one.place for one in shown))
    drawn = places[:MAX_PANELS]
    looks = _looks(shown)
    columns = min(2, len(drawn))
    hover: Hover = {}
    with house_style():
        figure, axes = panels(len(drawn), columns=columns, width=WIDTH, height=3.3)
        for i, (ax, place) in enumerate(zip(axes, drawn, strict=True)):
            own = [one for one in shown if one.place == place]
            names = list(dict.fromkeys(name for one in own for name in one.final))
            for one in own:
                hover |= _layers(ax, one, names, looks[one.method], gid=f"layers-{i}-{one.method}")
            step = -(-len(names) // _NAMED_LAYERS)
            short = [name.removesuffix(".weight") for name in names]
            ax.set_xticks(range(0, len(names), step), short[::step], rotation=40, ha="right", rotation_mode="anchor")
            ax.tick_params(axis="x", labelsize=7.5)
            ax.set_ylim(-0.04, 1.04)
            ax.set_title(place)
        for ax in axes[::columns]:
            ax.set_ylabel("sparsity of the layer")
        keys = [_key(method, drawn_as) for method, drawn_as in looks.items()]
        keys.append(Line2D([], [], color=LIGHT["muted"], linestyle=_BEGAN, label="at the start, where it differs"))
        figure.legend(handles=keys, loc="outside lower left", ncols=min(5, len(keys)), handlelength=3)
        hidden = f" Not drawn: {count(len(places) - len(drawn), 'more pair')}." if len(places) > len(drawn) else ""
        caption = f"Masked-out fraction of each layer's weights, in the order of the network.{hidden}"
        description = " ".join(f"{one.label}: {_extremes(one)}." for one in shown[:24])
        title = "Sparsity by layer"
        return finish(figure, name="layers", title=title, caption=caption, description=description, hover=hover)


def _layers(ax: Axes, one: Trajectory, names: Sequence[str], drawn: Look, gid: str) -> Hover:
    x = [names.index(name) for name in one.final]
    final = list(one.final.values())
    if any(abs(one.initial.get(name, value) - value) > 1e-3 for name, value in one.final.items()):
        began = [one.initial.get(name, np.nan) for name in one.final]
        ax.plot(x, began, color=drawn.colour, linestyle=_BEGAN, linewidth=1.1)
    ax.plot(x, final, color=drawn.colour, linestyle=drawn.line, linewidth=1.3)
    ax.scatter(x, final, s=22, marker=drawn.marker, color=drawn.colour, linewidths=0, zorder=3, gid=gid, clip_on=False)
    texts = []
    for name, value in one.final.items():
        before = f", began with {one.initial[name]:.3f}" if name in one.initial else ""
        texts.append(f"{one.label}, {name}: {value:.3f}{before}")
    return {gid: texts}


def over_training(shown: Sequence[Trajectory]) -> Drawing | None:
    """Explored fraction by epoch, and inference FLOPs by epoch where they move; None where nobody told."""
    explored = [one for one in shown if one.explored.shape[1] > 1]
    moving = [one for one in shown if one.flops.shape[1] > 1 and np.ptp(one.flops[1]) > 1e-3 * one.flops[1].max()]
    if not explored:
        return None
    several_methods = len({one.method for one in shown}) > 1
    places = list(dict.fromkeys(one.place for one in shown))
    hover: Hover = {}
    with house_style():
        n = 1 + bool(moving)
        figure, axes = panels(n, columns=n, width=WIDTH, height=3.6)
        for ax, what, own in zip(axes, ("explored", "flops"), (explored, moving), strict=False):
            for one in own:
                colour, line = _curve_look(one, places, several_methods=several_methods)
                gid = f"training-{what}-{places.index(one.place)}-{one.method}"
                band = getattr(one, what)
                hover |= _curve(ax, band, colour, line, gid, f"{one.label}: {_course(band, what)}")
            ax.set_xlabel("epoch")
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes[0].set_title("Explored weights, R_s")
        axes[0].yaxis.set_major_formatter(marks.PERCENT)
        if moving:
            axes[1].set_title("Inference FLOPs, multiple of dense")
            axes[1].yaxis.set_major_formatter(FuncFormatter(lambda value, _position: multiple(value)))
        figure.legend(handles=_curve_keys(explored, places), loc="outside lower left", ncols=5, handlelength=3)
        flops = "" if moving else " Inference FLOPs did not move: every layer kept its share of the weights."
        band = "; the band is from the least to the most of a pair's trials" if not several_methods else ""
        caption = f"After each epoch, the mean over the trials{band}.{flops}"
        description = " ".join(
            [f"{one.label}: explored {_course(one.explored, 'explored')}." for one in explored[:24]]
            + [f"{one.label}: inference FLOPs {_course(one.flops, 'flops')}." for one in moving[:24]]
        )
        title = "Exploration and cost over training"
        return finish(figure, name="exploration", title=title, caption=caption, description=description, hover=hover)


def _curve(ax: Axes, band: Array, colour: str, line: LineStyleType, gid: str, text: str) -> Hover:
    n_epochs = band.shape[1]
    at = np.unique(np.linspace(0, n_epochs - 1, min(n_epochs, MAX_EPOCHS)).astype(int))
    if np.any(band[2] - band[0] > 1e-4):
        ax.fill_between(at + 1, band[0, at], band[2, at], color=colour, alpha=0.12, linewidth=0)
    ax.plot(at + 1, band[1, at], color=colour, linestyle=line, linewidth=1.6, gid=gid)
    return {gid: [text]}


def _curve_look(one: Trajectory, places: Sequence[str], *, several_methods: bool) -> tuple[str, LineStyleType]:
    """By pair; with several methods by method in colour and by pair in line."""
    i = places.index(one.place)
    line = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))[i % 4]
    return (look(one.method).colour if several_methods else marks.pair_colour(i)), line


def _curve_keys(shown: Sequence[Trajectory], places: Sequence[str]) -> list[Line2D]:
    methods = list(dict.fromkeys(one.method for one in shown))
    pairs = {one.place: one for one in shown}
    if len(methods) == 1:
        looks = {place: _curve_look(one, places, several_methods=False) for place, one in pairs.items()}
        return [Line2D([], [], color=c, linestyle=line, linewidth=1.6, label=p) for p, (c, line) in looks.items()]
    keys = [Line2D([], [], color=look(method).colour, linewidth=1.6, label=method) for method in methods]
    for place, one in pairs.items():
        line = _curve_look(one, places, several_methods=True)[1]
        keys.append(Line2D([], [], color=LIGHT["muted"], linestyle=line, linewidth=1.6, label=place))
    return keys


def _looks(shown: Sequence[Trajectory]) -> dict[str, Look]:
    return {method: look(method) for method in dict.fromkeys(one.method for one in shown)}


def _key(method: str, drawn: Look) -> Line2D:
    return Line2D(
        [],
        [],
        color=drawn.colour,
        linestyle=drawn.line,
        marker=drawn.marker,
        markersize=5,
        label=f"{method}, at the end",
    )


def _extremes(one: Trajectory) -> str:
    densest = min(one.final, key=one.final.__getitem__)
    sparsest = max(one.final, key=one.final.__getitem__)
    return f"least sparse {densest} ({one.final[densest]:.3f}), most sparse {sparsest} ({one.final[sparsest]:.3f})"


def _course(band: Array, what: str) -> str:
    first, last = float(band[1, 0]), float(band[1, -1])
    shown = multiple if what == "flops" else (lambda value: f"{100 * value:.1f} %")
    return f"from {shown(first)} after the first epoch to {shown(last)} after {count(band.shape[1], 'epoch')}"
