"""The figures of where the weights went: sparsity layer by layer, and exploration and cost over training."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.typing import LineStyleType

from studies import names
from studies.coordinates import Array
from studies.evidence.method_looks import LINES, Look, looks_of
from studies.evidence.trajectories import Trajectory
from studies.reporting import contained, marks
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import count, multiple

MAX_PANELS = 12
"""A figure shows at most so many pairs, and says so."""
MAX_EPOCHS = 120
"""A curve is drawn through at most so many of its epochs."""
MAX_TOLD = 24
"""A description tells at most so many methods at pairs; summary.json has all."""
_NAMED_LAYERS = 14
"""Up to so many layers have their names on the axis; beyond, every n-th has."""
_BEGAN: LineStyleType = (0, (2, 2))


@contained.figure("layers")
def layer_sparsities(shown: Sequence[Trajectory]) -> Drawing:
    """Sparsity of each layer: at the start, and at the end for methods that moved weights between layers."""
    places = list(dict.fromkeys(one.place for one in shown))
    columns = min(2, len(places))
    looks = _looks(shown)
    movers = list(dict.fromkeys(one.name for one in shown if one.moved or one.begins_dense or not one.initial))
    keepers = [name for name in looks if name not in movers]
    every = [value for one in shown for value in (*one.final.values(), *_start(one).values())]
    low, room = min(every), 0.05 * max(max(every) - min(every), 0.02)
    hover: Hover = {}
    with house_style():
        figure, axes = panels(min(len(places), MAX_PANELS), columns=columns, width=WIDTH, height=3.0)
        for i, (ax, place) in enumerate(zip(axes, places, strict=False)):
            own = [one for one in shown if one.place == place]
            layers = list(dict.fromkeys(name for one in own for name in one.final))
            hover |= _starts(ax, own, layers, gid=f"layers-{i}-start")
            for one in (one for one in own if one.name in movers):
                hover |= _ends(ax, one, layers, looks[one.name], gid=f"layers-{i}-{_id(one)}")
            _layer_axis(ax, layers)
            ax.set_ylim(low - room, max(every) + room)
            ax.set_title(place)
        for ax in axes[::columns]:
            ax.set_ylabel("sparsity of the layer")
        kept = (
            f"at the start; kept to the end by {', '.join(map(names.method, keepers))}" if keepers else "at the start"
        )
        keys = [Line2D([], [], color=LIGHT["ink"], linestyle=_BEGAN, marker=".", markersize=5, label=kept)]
        keys += [_key(looks[name], f"{names.method(name)}, at the end") for name in movers]
        figure.legend(handles=keys, loc="outside lower left", ncols=3, handlelength=3)
        dense = " Methods that begin dense have no start here." if any(one.begins_dense for one in shown) else ""
        caption = f"Masked-out fraction of each layer's weights, in the order of the network.{dense}{_hidden(places)}"
        description = " ".join(f"{one.label}: {_extremes(one)}." for one in shown[:MAX_TOLD])
        title = "Sparsity by layer"
        return finish(figure, name="layers", title=title, caption=caption, description=description, hover=hover)


def _looks(shown: Sequence[Trajectory]) -> dict[str, Look]:
    return looks_of({one.name: one.method for one in shown})


def _id(one: Trajectory) -> str:
    return one.name.replace(" ", "-").replace("×", "x")


def _start(one: Trajectory) -> Mapping[str, float]:
    """The sparsities to draw for its start: none where it was dense or is not known."""
    return {} if one.begins_dense else one.initial


def _starts(ax: Axes, own: Sequence[Trajectory], layers: Sequence[str], gid: str) -> Hover:
    """A line for each way to begin; methods with the same seeds begin with the same masks."""
    distinct: dict[tuple[tuple[str, float], ...], Mapping[str, float]] = {}
    for one in own:
        if start := _start(one):
            distinct.setdefault(tuple((name, round(value, 3)) for name, value in start.items()), start)
    hover: Hover = {}
    for i, start in enumerate(distinct.values()):
        x, y = (
            [layers.index(name) for name in start if name in layers],
            [start[name] for name in start if name in layers],
        )
        ax.plot(x, y, color=LIGHT["ink"], linestyle=_BEGAN, linewidth=1.1, zorder=2.5)
        ax.scatter(x, y, s=9, color=LIGHT["ink"], linewidths=0, zorder=4, gid=f"{gid}-{i}", clip_on=False)
        hover[f"{gid}-{i}"] = [f"{layers[at]}: {value:.3f} at the start" for at, value in zip(x, y, strict=True)]
    return hover


def _ends(ax: Axes, one: Trajectory, layers: Sequence[str], drawn: Look, gid: str) -> Hover:
    x, final = [layers.index(name) for name in one.final], list(one.final.values())
    ax.plot(x, final, color=drawn.colour, linestyle=drawn.line, linewidth=1.3)
    ax.scatter(x, final, s=24, marker=drawn.marker, color=drawn.colour, linewidths=0, zorder=3, gid=gid, clip_on=False)
    return {
        gid: [f"{one.label}, {name}: {value:.3f} at the end{_before(one, name)}" for name, value in one.final.items()]
    }


def _before(one: Trajectory, name: str) -> str:
    return f", {one.initial[name]:.3f} at the start" if name in one.initial else ""


def _layer_axis(ax: Axes, layers: Sequence[str]) -> None:
    step = -(-len(layers) // _NAMED_LAYERS)
    short = [name.removesuffix(".weight") for name in layers]
    ax.set_xticks(range(0, len(layers), step), short[::step], rotation=40, ha="right", rotation_mode="anchor")
    ax.tick_params(axis="x", labelsize=7.5)


@contained.figure("explored")
def explored(shown: Sequence[Trajectory]) -> Drawing | None:
    """R_s by epoch; None where nobody told, or after one epoch only."""
    told = [one for one in shown if one.explored.shape[1] > 1]
    title, what = "Explored weights, R_s, over training", "explored weights, R_s"
    return _over_training(told, lambda one: one.explored, "explored", title, what, _percent)


@contained.figure("flops")
def moving_flops(shown: Sequence[Trajectory]) -> Drawing | None:
    """Inference FLOPs by epoch, of those whose weights move between layers; None where none do."""
    told = [one for one in shown if one.flops.shape[1] > 1 and np.ptp(one.flops[1]) > 1e-3 * one.flops[1].max()]
    title, what = "Inference FLOPs over training, of dense", "inference FLOPs, of dense"
    return _over_training(told, lambda one: one.flops, "flops", title, what, multiple)


def _over_training(
    told: Sequence[Trajectory],
    band_of: Callable[[Trajectory], Array],
    name: str,
    title: str,
    what: str,
    shown: Callable[[float], str],
) -> Drawing | None:
    """One panel with a line a pair; of several methods, a panel a pair with a line a method."""
    if not told:
        return None
    places, drawn = list(dict.fromkeys(one.place for one in told)), _looks(told)
    several = len(drawn) > 1
    hover: Hover = {}
    with house_style():
        figure, axes = _panels(len(places) if several else 1)
        for i, (ax, place) in enumerate(zip(axes, places, strict=False)):
            for one in (one for one in told if one.place == place or not several):
                at = places.index(one.place)
                own = drawn[one.name]
                looks = (own.colour, own.line) if several else (marks.pair_colour(at), LINES[at % len(LINES)])
                text = f"{one.label}: {_course(band_of(one), shown)}"
                hover |= _curve(ax, band_of(one), *looks, gid=f"{name}-{i}-{at}-{_id(one)}", text=text)
            ax.set_xlabel("epoch")
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            ax.yaxis.set_major_locator(MaxNLocator(5))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: shown(value)))
            if several:
                ax.set_title(place)
        for ax in axes[:: min(2, len(axes))]:
            ax.set_ylabel(what)
        keys = [_key(look, names.method(name), marker=False) for name, look in drawn.items()]
        if not several:
            keys = [
                Line2D([], [], color=marks.pair_colour(i), linestyle=LINES[i % len(LINES)], label=one.label)
                for i, one in enumerate(told)
            ]
        figure.legend(handles=keys, loc="outside lower left", ncols=marks.legend_columns(keys), handlelength=3)
        band = "" if max(one.n_trials for one in told) < 2 else "; the band is from the least to the most of the trials"
        caption = f"After each epoch, the mean over seeds and trials{band}.{_hidden(places) if several else ''}"
        description = " ".join(f"{one.label}: {_course(band_of(one), shown)}." for one in told[:MAX_TOLD])
        return finish(figure, name=name, title=title, caption=caption, description=description, hover=hover)


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    columns = min(2, n)
    return panels(min(n, MAX_PANELS), columns=columns, width=WIDTH, height=2.4 if n > 1 else 3.4)


def _curve(ax: Axes, band: Array, colour: str, line: LineStyleType, *, gid: str, text: str) -> Hover:
    n_epochs = band.shape[1]
    at = np.unique(np.linspace(0, n_epochs - 1, min(n_epochs, MAX_EPOCHS)).astype(int))
    if np.any(band[2] - band[0] > 1e-4):
        ax.fill_between(at + 1, band[0, at], band[2, at], color=colour, alpha=0.12, linewidth=0)
    ax.plot(at + 1, band[1, at], color=colour, linestyle=line, linewidth=1.6, gid=gid)
    return {gid: [text]}


def _key(drawn: Look, label: str, *, marker: bool = True) -> Line2D:
    shape = drawn.marker if marker else "none"
    return Line2D([], [], color=drawn.colour, linestyle=drawn.line, marker=shape, markersize=5, label=label)


def _extremes(one: Trajectory) -> str:
    densest = min(one.final, key=one.final.__getitem__)
    sparsest = max(one.final, key=one.final.__getitem__)
    return f"least sparse {densest} ({one.final[densest]:.3f}), most sparse {sparsest} ({one.final[sparsest]:.3f})"


def _course(band: Array, shown: Callable[[float], str]) -> str:
    first, last = shown(float(band[1, 0])), shown(float(band[1, -1]))
    return f"from {first} after the first epoch to {last} after {count(band.shape[1], 'epoch')}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"


def _hidden(places: Sequence[str]) -> str:
    return f" Not drawn: {count(len(places) - MAX_PANELS, 'more pair')}." if len(places) > MAX_PANELS else ""
