"""The section that says which searched parameters matter."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from studies import names
from studies.evidence.finished import conditional, finished
from studies.evidence.importance import (
    FEWEST,
    FEWEST_PED,
    MOST_TOGETHER,
    Importance,
    Ranking,
    Share,
    as_json,
    importances,
)
from studies.evidence.importance_nulls import BY_CHANCE
from studies.reporting import contained, marks
from studies.reporting.section import Block, Searched, Section, Text
from studies.reporting.svg import LIGHT, WIDTH, Drawing, Hover, finish, house_style, panels
from studies.reporting.wording import count, listed, shortened

NAME = "importance"
KEYS: Mapping[str, str] = {
    "importance.n_trials": "complete trials that say anything about it",
    "importance.sets[].scope": '"all" complete trials, or the "top_quarter" of each pair',
    "importance.sets[].n_trials": "how many these are",
    "importance.sets[].n_used": "how many of them were looked at",
    "importance.sets[].rankings[].measure": '"fanova", "ped_anova", or "interaction" of two parameters',
    "importance.sets[].rankings[].shares[].params": "name of the parameter, or of the two",
    "importance.sets[].rankings[].shares[].share": "of the variance; of PED-ANOVA of all parameters' importance",
    "importance.sets[].rankings[].shares[].low": (
        "lower end of the range of 95 % of bootstrap samples of the trials, which is not where the true share lies"
    ),
    "importance.sets[].rankings[].shares[].high": "upper end",
    "importance.sets[].rankings[].shares[].noise": (
        "what a parameter that does nothing, or two that only add up, would exceed once in twenty"
    ),
    "importance.sets[].rankings[].shares[].is_told": "whether it explains more than that",
    "importance.sets[].rankings[].above": (
        "pairs of which the first is larger by more than differs between bootstrap samples of the trials"
    ),
}

_SCOPES = {"all": "all trials", "top_quarter": "top quarter"}
_MEASURES = {"fanova": "fANOVA", "ped_anova": "PED-ANOVA", "interaction": "Interactions"}


@contained.section("importance", "What matters")
def section(evidence: Searched) -> Section | None:
    """Which parameters matter; None where nothing was searched."""
    if not evidence.analysis.params:
        return None
    measure = evidence.analysis.measure
    found = importances(evidence.frame, evidence.sampler, measure)
    told = [one for one in found if one.rankings]
    blocks: list[Block] = []
    if told:
        blocks += [Text(_finding(told[0]), "finding"), *(Text(_sentence(one)) for one in told)]
        blocks.append(importance_figure(told))
        blocks += [Text(missing, "missing") for one in found if (missing := _too_few(one, evidence))]
        blocks.append(Text(_note(told, evidence), "note"))
    else:
        blocks.append(Text(f"{_too_few(found[0], evidence)}{_left_out(evidence)}", "missing"))
    summary = {"n_trials": found[0].n_trials, **({"sets": as_json(told)} if told else {})}
    return Section(NAME, "What matters", "What matters", tuple(blocks), summary)


def _finding(one: Importance) -> str:
    ranking = one.rankings[0]
    first, *others = ranking.shares
    if not any(share.is_told for share in ranking.shares):
        ped_anova = next((two for two in one.rankings if two.measure == "ped_anova"), ranking)
        also = [_name(share) for share in ped_anova.shares if share.is_told]
        if also:
            stands = "stands" if len(also) == 1 else "stand"
            return f"No parameter is shown to matter by fANOVA; by PED-ANOVA {listed(also)} {stands} out."
        return "No parameter is shown to matter: each explains no more than one that does nothing would."
    below = {b for a, b in ranking.above if a == " × ".join(first.params)}
    lead = f"{_name(first)} alone explains {_range(first)} of what a random forest makes of the trials"
    if len(below) == len(others):
        return f"{lead}, more than any other."
    unclear = [_name(share) for share in others if " × ".join(share.params) not in below]
    return f"{lead}, but that this is more than {listed(unclear)} cannot be told."


def _sentence(one: Importance) -> str:
    parts = []
    for ranking in one.rankings:
        told = [share for share in ranking.shares if share.is_told]
        not_told = [_name(share) for share in ranking.shares if not share.is_told]
        name = _MEASURES[ranking.measure]
        if ranking.measure == "interaction":
            shown = "; ".join(f"{_name(share)} {_range(share)}" for share in told)
            parts.append(
                f"Acting together, beyond what each does: {shown}."
                if told
                else "No two parameters are shown to act together."
            )
            continue
        shown = ", ".join(f"{_name(share)} {_range(share)}" for share in told)
        verb = "stands" if len(told) < 2 else "stand"
        others = f"; {listed(not_told)} {'does' if len(not_told) < 2 else 'do'} not" if told and not_told else ""
        parts.append(f"{name}: {shown or 'nothing'} {verb} out{others}.")
        zero = [_name(share) for share in told if share.low <= 0]
        if zero:
            several = len(zero) > 1
            parts.append(f"The range{'s' * several} of {listed(zero)} reach{'es' * (not several)} down to 0.")
    of_what = f"Among {_SCOPES[one.scope]} ({count(one.n_trials, 'trial')}): "
    return of_what + " ".join(parts)


def _left_out(evidence: Searched) -> str:
    """Which parameters are not ranked among all trials, as a sentence; empty if all are."""
    trials = finished(evidence.frame)
    partly = conditional(trials)
    if not partly:
        return ""
    partial = listed([f"{names.words(name)} ({n} of {len(trials)})" for name, n in partly.items()])
    return f" Left out among all, because only some trials have it: {partial}."


def _too_few(one: Importance, evidence: Searched) -> str:
    params = evidence.analysis.params
    if len(params) < 2:
        return f"Only {names.words(params[0])} was searched, so there is nothing to rank."
    who = "complete trials" if one.scope == "all" else "trials in the top quarter"
    if one.n_trials < FEWEST:
        return f"Too few {who} to tell what matters: {one.n_trials}, and it takes {FEWEST}."
    if not one.rankings:
        reached = evidence.analysis.measure.name.removeprefix("validation ")
        return (
            f"The {who} do not differ in two parameters that all have and in {reached}, so what matters cannot be told."
        )
    if one.n_trials < FEWEST_PED:
        return f"Too few {who} for PED-ANOVA: {one.n_trials}, and it takes {FEWEST_PED}."
    return ""


def _note(told: Sequence[Importance], evidence: Searched) -> str:
    whose = " of all pairs, each pair's median taken off" if len(evidence.analysis.pairs) > 1 else ""
    parts = [
        f"Finished trials{whose}. fANOVA: share of a random forest's variance that a parameter explains alone, over "
        "the values tried; interactions: what two explain together beyond that. PED-ANOVA: how far the values among "
        "the best quarter differ from all, as a share.",
        "In brackets: 95 % of bootstrap samples of the trials. They tell how well the forest repeats itself, not where "
        "the true share lies: a forest of few trials smooths. Where a response goes up and down twice (Ishigami's "
        "function, 10 simulated searches of 120 trials) it made 18 % of a true 44 %, and no bracket held the truth.",
        "What does not stand out explains no more than a parameter that does nothing would, and two do not act "
        "together that explain no more than if effects only added up. By chance a parameter that does nothing stands "
        "out in 3 to 9 of 100 simulated searches, by measure, and any two act together in one of twenty at most.",
    ]
    if evidence.sampler not in BY_CHANCE:
        parts.append(
            "After TPE, which tries little away from its best, two that act together are often missed: they were found "
            "in 7 to 11 of 40 simulated searches of 60 trials, and after random search in 36 to 40."
        )
        if (evidence.frame["state"] == "pruned").any():
            parts.append(
                "Where a pruner stopped trials of TPE as well, a parameter that does nothing stood out in 19 of 182 "
                "simulations: the sampler knew trials that are not counted here."
            )
    thinned = [one for one in told if one.n_used < one.n_trials]
    parts += [f"Of {one.n_trials:,} trials ({_SCOPES[one.scope]}) {one.n_used} were drawn." for one in thinned]
    if any(len(one.rankings) > 2 and len(one.rankings[0].shares) > MOST_TOGETHER for one in told):
        parts.append(f"Interactions are those of the {MOST_TOGETHER} parameters that explain most.")
    return f"{' '.join(parts)}{_left_out(evidence)}"


@contained.figure("importance")
def importance_figure(told: Sequence[Importance]) -> Drawing:
    """Shares with their ranges, a panel a measure and set of trials."""
    shown = [(one, ranking) for one in told for ranking in one.rankings]
    hover: Hover = {}
    rows = max(len(ranking.shares) for _, ranking in shown)
    columns = min(3, len(shown))
    description = " ".join(
        f"{_title(one, ranking)}: {', '.join(f'{_name(share)} {_range(share)}' for share in ranking.shares)}."
        for one, ranking in shown
    )
    with house_style():
        figure, axes = panels(len(shown), columns=columns, width=WIDTH, height=1.1 + 0.3 * rows)
        for i, (ax, (one, ranking)) in enumerate(zip(axes, shown, strict=True)):
            hover |= _panel(ax, ranking, gid=f"share-{i}")
            ax.set_title(_title(one, ranking))
            ax.set_ylim(rows - 0.5, -0.5)
        figure.legend(handles=_keys(), loc="outside lower left", ncols=3)
        return finish(
            figure,
            name="importance",
            title="What the searched parameters explain",
            caption="Share explained; line: 95 % of bootstrap samples. Hollow: no more than chance explains (grey).",
            description=description,
            hover=hover,
        )


def _panel(ax: Axes, ranking: Ranking, gid: str) -> Hover:
    hover: Hover = {}
    noise = max(share.noise for share in ranking.shares)
    by_chance = [min(share.noise, 1) for share in ranking.shares]
    ax.barh(range(len(by_chance)), by_chance, height=1, color=LIGHT["grid"], linewidth=0, zorder=0)
    for row, share in enumerate(ranking.shares):
        blue = LIGHT["blue"]
        ax.plot([share.low, share.high], [row, row], color=blue, linewidth=1.6, linestyle="-" if share.is_told else ":")
        face = blue if share.is_told else LIGHT["paper"]
        ax.scatter(
            [share.share], [row], s=40, color=face, edgecolors=blue, linewidths=1.5, zorder=3, gid=f"{gid}-{row}"
        )
        hover[f"{gid}-{row}"] = [f"{_name(share)}: {_range(share)}; by chance up to {_percent(share.noise)}"]
    ax.set_yticks(range(len(ranking.shares)), [" × ".join(map(_in_figure, share.params)) for share in ranking.shares])
    top = max(share.high for share in ranking.shares)
    ax.set_xlim(-0.02 * max(top, noise), 1.05 * min(max(top, noise), 1))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(marks.PERCENT)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", length=0)
    return hover


def _keys() -> list[Line2D]:
    look = {"color": LIGHT["blue"], "marker": "o", "markersize": 6}
    return [
        Line2D([], [], label="stands out", **look),  # type: ignore[arg-type]
        Line2D([], [], label="does not", markerfacecolor=LIGHT["paper"], linestyle=":", **look),  # type: ignore[arg-type]
        Line2D([], [], label="what chance explains", color=LIGHT["grid"], linewidth=8),
    ]


def _title(one: Importance, ranking: Ranking) -> str:
    return f"{_MEASURES[ranking.measure]}, {_SCOPES[one.scope]}"


def _name(share: Share) -> str:
    return " × ".join(map(names.words, share.params))


def _in_figure(name: str) -> str:
    return shortened(name, at_most=16)


def _range(share: Share) -> str:
    return f"{_percent(share.share)} ({_percent(share.low).removesuffix(' %')} to {_percent(share.high)})"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %" if fraction >= 0.095 or fraction == 0 else f"{100 * fraction:.1f} %"
