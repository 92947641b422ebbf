"""The section that shows how accuracy, or what trials are compared by, responds to the searched parameters."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from studies import names
from studies.evidence.arms import finite
from studies.evidence.finished import MOST_PAIRS, Model, conditional, finished, models_of
from studies.evidence.response import FEWEST_BINNED, Curve, Line, curves_of_pair, lines_of_pair, spans
from studies.evidence.response_figures import curves_figure, lr_figure
from studies.evidence.surface_figure import surface_figure
from studies.evidence.surfaces import Surface, surface_params, surfaces
from studies.reporting import contained
from studies.reporting.findings import Analysis, PairResult
from studies.reporting.measure import Measure
from studies.reporting.section import Block, Searched, Section, Text
from studies.reporting.wording import count, listed, number, setting
from studies.response import FEWEST, MOST

NAME = "response"
KEYS: Mapping[str, str] = {
    "response.pairs[].study": "name of the Optuna study",
    "response.pairs[].curves[].param": "name of the parameter",
    "response.pairs[].curves[].kind": '"model" of the response, or "bins" where trials are few',
    "response.pairs[].curves[].values": "values of the parameter; of a category the choices",
    "response.pairs[].curves[].effect": (
        "validation accuracy (a fraction), or the study's value, at each, minus their average; more is better"
    ),
    "response.pairs[].curves[].low": "lower end of its 95 % interval; null where a bin has one trial",
    "response.pairs[].curves[].high": "upper end",
    "response.pairs[].curves[].span": "highest minus lowest effect",
    "response.pairs[].curves[].is_told": "whether the highest is above the lowest beyond their intervals",
}


@contained.section("response", "Response")
def section(evidence: Searched) -> Section | None:
    """Curves, surface and lines; None where nothing was searched."""
    frame, analysis, measure = evidence.frame, evidence.analysis, evidence.analysis.measure
    if not analysis.params:
        return None
    title = f"How {measure.name.removeprefix('validation ')} responds"
    pairs = analysis.pairs[:MOST_PAIRS]
    models = models_of(evidence, pairs)
    curves = {pair.study: curves_of_pair(frame, pair, models[pair.study]) for pair in pairs}
    shown = [pair for pair in pairs if curves[pair.study]]
    if not shown:
        missing = f"{_none_has(analysis)} {FEWEST_BINNED} complete trials that differ in a parameter"
        missing += ", so the response to the parameters cannot be told."
        return Section(NAME, title, "Response", (Text(missing, "missing"),))
    blocks: list[Block] = [Text(_finding(curves, shown, measure), "finding")]
    described = _described(curves, shown, measure)
    blocks.append(curves_figure(curves, pairs, evidence.search, measure, described))
    blocks += _surface_blocks(evidence, pairs, models, curves)
    lines = {pair.study: lines_of_pair(frame, pair) for pair in pairs}
    if any(lines.values()):
        blocks.append(lr_figure(lines, pairs, measure, _lines_described(lines, pairs, measure)))
    blocks.append(Text(_note(evidence, models, len(analysis.pairs) - len(pairs)), "note"))
    summary = {
        "pairs": [{"study": pair.study, "curves": [_curve_json(c) for c in curves[pair.study]]} for pair in shown]
    }
    return Section(NAME, title, "Response", tuple(blocks), summary)


def _none_has(analysis: Analysis) -> str:
    return "No pair has" if analysis.measure.is_fraction else "The study does not have"


def _finding(curves: Mapping[str, Sequence[Curve]], pairs: Sequence[PairResult], measure: Measure) -> str:
    told = []
    for param in dict.fromkeys(curve.param for pair in pairs for curve in curves[pair.study]):
        own = [curve for pair in pairs for curve in curves[pair.study] if curve.param == param]
        steep = [curve for curve in own if curve.is_told]
        if steep:
            widest = max(steep, key=lambda curve: curve.span)
            places = list(dict.fromkeys(_value(curve) for curve in steep))
            where = " or ".join([places[0]] if len(places) == 1 else [min(places, key=_order), max(places, key=_order)])
            inside = "" if len(own) == 1 else f" in {len(steep)} of {len(own)} pairs"
            near = "with" if isinstance(widest.best_value, str) else "near"
            told.append(
                f"{names.words(param)} changes it by up to {measure.amount(widest.span, digits=1)}{inside} "
                f"(best {near} {where})"
            )
    if not told:
        why = "each band has room for a flat line"
        return f"No parameter is shown to change {measure.name} within the values tried: {why}."
    alone = len({curve.param for pair in pairs for curve in curves[pair.study]}) == 1
    return f"{measure.title}{'' if alone else ', the other parameters averaged over'}: {'; '.join(told)}."


def _value(curve: Curve) -> str:
    value = curve.best_value
    return (
        str(names.title(curve.param, value))
        if isinstance(value, str)
        else f"{value:.2g}"
        if abs(value) < 100
        else f"{value:.0f}"
    )


def _order(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _described(curves: Mapping[str, Sequence[Curve]], pairs: Sequence[PairResult], measure: Measure) -> str:
    return " ".join(
        f"{pair.label}: "
        + "; ".join(
            f"{names.words(curve.param)} best at {_value(curve)}, by {measure.amount(curve.span)} over its worst"
            for curve in curves[pair.study]
        )
        + "."
        for pair in pairs
    )


def _surface_blocks(
    evidence: Searched,
    pairs: Sequence[PairResult],
    models: Mapping[str, Model | None],
    curves: Mapping[str, Sequence[Curve]],
) -> list[Block]:
    measure = evidence.analysis.measure
    params = surface_params(evidence.frame, spans(itertools.chain(*curves.values())))
    if params is None:
        return []
    found: dict[str, Sequence[Surface]] = {}
    for pair in pairs:
        model = models[pair.study]
        if model is not None and pair.best is not None:
            found[pair.study] = surfaces(model, params, pair.best.params)
    if not any(found.values()):
        both = " and ".join(map(names.words, params))
        why = f"{_none_has(evidence.analysis)} {FEWEST} complete trials that vary {both}"
        why += f" and differ in {measure.name.removeprefix('validation ')}"
        return [Text(f"{why}, so there is no surface of the two.", "missing")]
    across, up = map(names.symbol, params)
    described = " ".join(
        f"{pair.label}{_at_lr(one)}: best at {across} {_at(one, 1)}, {up} {_at(one, 0)} with "
        f"{measure.text(float(one.mean.max()))}, worst {measure.text(float(one.mean.min()))}."
        for pair in pairs
        for one in found.get(pair.study, ())
    )
    return [surface_figure(found, pairs, evidence.frame, params, evidence.search, measure, described)]


def _at_lr(one: Surface) -> str:
    return "" if one.lr is None else f", {names.symbol('lr')} {number(one.lr)}"


def _at(one: Surface, axis: int) -> str:
    row, column = divmod(int(one.mean.argmax()), one.mean.shape[1])
    return number(float(one.x[column] if axis else one.y[row]))


def _lines_described(lines: Mapping[str, Sequence[Line]], pairs: Sequence[PairResult], measure: Measure) -> str:
    return " ".join(
        f"{pair.label}: "
        + "; ".join(
            f"{setting(line.others)}: "
            + ", ".join(f"{number(lr)} {measure.text(mean)}" for lr, mean in zip(line.lr, line.mean, strict=True))
            for line in lines[pair.study]
        )
        + "."
        for pair in pairs
        if lines[pair.study]
    )


def _note(evidence: Searched, models: Mapping[str, Model | None], n_hidden: int) -> str:
    measure = evidence.analysis.measure
    seen, averaged = (
        ("their seeds show", "") if measure.is_fraction else ("trials near each other show", " and how noisy")
    )
    parts = [
        f"A Gaussian process through the complete trials, with the noise that {seen}, averaged over how smooth"
        f"{averaged} it may be; with fewer than {FEWEST} trials, means of bins."
    ]
    if measure.is_fraction:  # whose simulated campaigns these were
        parts.append(
            "Bands are 95 % at each place by itself; of simulated pairs of 15 to 30 trials they held the truth at 79 "
            "to 100 % of the places, fewest where parameters change little."
        )
    made = [model for model in models.values() if model is not None]
    hopeless = sum(int((model.trials["value"] < model.floor).sum()) for model in made)
    if hopeless:
        parts.append(f"Counted as the lowest of the others: {count(hopeless, 'hopeless trial')}.")
    if any(len(model.trials) >= MOST for model in made):
        parts.append(f"Of more than {MOST} trials of a pair, about {MOST} were taken, evenly from best to worst.")
    n_pruned = evidence.analysis.total("pruned")
    if n_pruned:
        parts.append(
            f"Left out: {count(n_pruned, 'trial')} stopped early; {measure.name} where they lie is probably worse."
        )
    if partly := conditional(finished(evidence.frame)):
        n = len(finished(evidence.frame))
        which = listed([f"{names.words(name)} ({has} of {n} do)" for name, has in partly.items()])
        parts.append(
            f"Not every trial has {which}: such a curve is over the trials that have the parameter, and a parameter "
            "that decides which others there are is looked at with those that its value brings along."
        )
    if n_hidden:
        parts.append(f"{count(n_hidden, 'more pair')} not drawn.")
    return " ".join(parts)


def _curve_json(curve: Curve) -> dict[str, Any]:
    return {
        "param": curve.param,
        "kind": curve.kind,
        "values": list(curve.choices if curve.choices is not None else curve.values),
        "effect": list(curve.effect),
        **{key: [finite(end) for end in getattr(curve, key)] for key in ("low", "high")},
        "span": curve.span,
        "is_told": curve.is_told,
    }
