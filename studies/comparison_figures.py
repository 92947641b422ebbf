"""The figures of a comparison: how far the campaigns are apart at each pair, and what each of them reached there."""

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from studies.comparing import ROLES, Comparison, Gap
from studies.reporting import contained, marks
from studies.reporting.findings import Setting
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import in_points, percent, setting


@contained.figure("differences")
def gaps_figure(found: Comparison) -> Drawing | None:
    """Differences from the first campaign with their intervals, a panel a campaign and a row a pair."""
    others = [m.name for m in found.members[1:] if any(gap.campaign == m.name for gap in found.gaps)]
    if not others:
        return None
    labels = list(dict.fromkeys(gap.label for gap in found.gaps))
    roles = [role for role in ROLES if any(gap.role == role for gap in found.gaps)]
    reach = marks.reach(
        [value for gap in found.gaps for value in (*gap.by_seed.values(), gap.mean)],
        [end for gap in found.gaps for end in (gap.low, gap.high) if end is not None],
    )
    first = found.members[0].name
    hover: Hover = {}
    with house_style():
        columns = min(2, len(others))
        figure, axes = panels(len(others), columns=columns, width=WIDTH, height=1.1 + 0.55 * len(labels))
        for i, (ax, campaign) in enumerate(zip(axes, others, strict=True)):
            own = [gap for gap in found.gaps if gap.campaign == campaign]
            for j, gap in enumerate(own):
                y = labels.index(gap.label) + _beside(roles.index(gap.role), len(roles))
                hover[f"gap-{i}-{j}"] = [gap_text(gap, first)]
                _gap(ax, y, gap, reach, gid=f"gap-{i}-{j}")
            for label in [label for label in labels if label not in {gap.label for gap in own}]:
                ax.text(0.02 * reach, labels.index(label), "not in both", va="center", color=LIGHT["muted"])
            ax.axvline(0, color=LIGHT["ink"], linewidth=1.1, zorder=1)
            ax.set_xlim(-reach, reach)
            ax.xaxis.set_major_formatter(marks.POINTS)
            ax.set_xlabel("difference on test, in points")
            _rows(ax, labels, named=i % columns == 0)
            if len(others) > 1:
                ax.set_title(campaign)
        keys = [marks.role_key(role) for role in roles]
        if any(gap.by_seed for gap in found.gaps):
            keys.append(_dot("a seed that both trained"))
        figure.legend(handles=keys, loc="outside lower left", ncols=len(keys))
        return finish(
            figure,
            name="differences",
            title=f"Test accuracy minus that of {first}",
            caption=(
                f"Test accuracy of {' and '.join(others) if len(others) < 3 else 'each'} minus that of {first}, in "
                "points: mean and 95 % interval (with an arrow where it leaves the panel). No line: too few seeds for "
                "an interval."
            ),
            description=" ".join(f"{gap_text(gap, first)}." for gap in found.gaps),
            hover=hover,
        )


def gap_text(gap: Gap, first: str) -> str:
    """A difference in words, with its interval."""
    return f"{gap.label}, {gap.role}: {gap.campaign} {in_points(gap.mean)} points against {first} ({sure(gap)})"


def sure(gap: Gap) -> str:
    """How sure a difference is."""
    if gap.low is None or gap.high is None:
        return "too few seeds for an interval"
    return f"95 % interval {in_points(gap.low)} to {in_points(gap.high)}"


def _beside(i: int, n: int) -> float:
    """How far the i-th of `n` marks stands from the middle of its row."""
    return 0.5 * ((i + 0.5) / n - 0.5)


def _gap(ax: Axes, y: float, gap: Gap, reach: float, gid: str) -> None:
    colour = marks.ROLE_COLOUR[gap.role]
    if gap.low is not None and gap.high is not None:
        marks.span(ax, y, gap.low, gap.high, reach, colour)
    seeds = list(gap.by_seed.values())
    ax.scatter(seeds, [y + 0.11] * len(seeds), s=8, color=LIGHT["muted"], linewidths=0)
    marks.role_mark(ax, gap.mean, y, gap.role, gid)


def _dot(label: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker="o", markersize=3, color=LIGHT["muted"], label=label)


def _rows(ax: Axes, labels: Sequence[str], *, named: bool) -> None:
    """A row a pair from top to bottom, with lines between them."""
    ax.set_yticks(range(len(labels)), labels if named else [""] * len(labels))
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    for y in range(1, len(labels)):
        ax.axhline(y - 0.5, color=LIGHT["grid"], linewidth=0.8, zorder=0)
    ax.xaxis.set_major_locator(MaxNLocator(5))


@contained.figure("comparison")
def reached_figure(found: Comparison) -> Drawing | None:
    """Test accuracies of reference and best, a panel each; a row a pair, in which the campaigns lie side by side."""
    trained = {
        role: [
            (i, pair.label, own)
            for i, member in enumerate(found.members)
            for pair in member.analysis.pairs
            if (own := getattr(pair, role)) is not None and math.isfinite(own.test_accuracy.mean)
        ]
        for role in ROLES
    }
    roles = [role for role in ROLES if trained[role]]
    if not roles:
        return None
    names = [member.name for member in found.members]
    labels = list(dict.fromkeys(label for role in roles for _, label, _ in trained[role]))
    hover: Hover = {}
    said = []
    with house_style():
        height = 1.1 + max(0.3, 0.16 * len(names)) * len(labels)
        figure, axes = panels(len(roles), columns=len(roles), width=WIDTH, height=height)
        means = pd.Series([own.test_accuracy.mean for role in roles for _, _, own in trained[role]])
        room = 0.08 * max(float(means.max() - means.min()), 0.01)
        for ax, role in zip(axes, roles, strict=True):
            for i, label, own in trained[role]:
                gid = f"reached-{role}-{i}-{labels.index(label)}"
                _reached(ax, labels.index(label) + _beside(i, len(names)), own, i, gid)
                text = f"{label}, {role} of {names[i]}: {percent(own.test_accuracy)}"
                hover[gid] = [f"{text} ({setting(own.params)})"]
                said.append(f"{text}.")
            _rows(ax, labels, named=ax is axes[0])
            ax.xaxis.set_major_formatter(marks.PERCENT)
            ax.set_xlim(float(means.min()) - room, float(means.max()) + room)
            ax.set_title(f"{role}, test accuracy".capitalize())
        keys = [
            Line2D(
                [], [], color=marks.pair_colour(i), marker=marks.pair_marker(i), markersize=6, linewidth=1.6, label=name
            )
            for i, name in enumerate(names)
        ]
        figure.legend(handles=keys, loc="outside lower left", ncols=marks.legend_columns(keys))
        return finish(
            figure,
            name="comparison",
            title=f"{' and '.join(roles)} on test".capitalize(),
            caption="Mean and standard deviation over seeds.",
            description=" ".join(said),
            hover=hover,
        )


def _reached(ax: Axes, y: float, own: Setting, i: int, gid: str) -> None:
    reached, colour = own.test_accuracy, marks.pair_colour(i)
    if math.isfinite(reached.std):
        ax.plot([reached.mean - reached.std, reached.mean + reached.std], [y, y], color=colour, linewidth=1.6)
    ax.scatter([reached.mean], [y], s=34, marker=marks.pair_marker(i), color=colour, zorder=3, gid=gid)
