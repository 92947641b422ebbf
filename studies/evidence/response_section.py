"""The section that shows how accuracy responds to the searched parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

from studies.evidence.finished import MOST_PAIRS, Model, models_of
from studies.evidence.response import (
    FEWEST_BINNED,
    Curve,
    Line,
    Surface,
    curves_of_pair,
    lines_of_pair,
    surface_params,
    surfaces,
)
from studies.evidence.response_figures import curves_figure, lr_figure
from studies.evidence.surface_figure import surface_figure
from studies.reporting.findings import PairResult
from studies.reporting.section import Block, Evidence, Section, Text
from studies.reporting.wording import count, number, setting
from studies.response import FEWEST, MOST

NAME = "response"
KEYS: Mapping[str, str] = {
    "response.pairs[].study": "name of the Optuna study",
    "response.pairs[].curves[].param": "name of the parameter",
    "response.pairs[].curves[].kind": '"model" of the response, or "bins" where trials are few',
    "response.pairs[].curves[].values": "values of the parameter; of a category the choices",
    "response.pairs[].curves[].effect": "validation accuracy at each, minus their average, a fraction",
    "response.pairs[].curves[].low": "lower end of its 95 % interval; null where a bin has one trial",
    "response.pairs[].curves[].high": "upper end",
    "response.pairs[].curves[].span": "highest minus lowest effect",
    "response.pairs[].curves[].is_told": "whether the highest is above the lowest beyond their intervals",
}


def section(evidence: Evidence) -> Section | None:
    """Curves, surface and lines; None where nothing was searched."""
    frame, analysis = evidence.frame, evidence.analysis
    if not analysis.params:
        return None
    pairs = analysis.pairs[:MOST_PAIRS]
    models = models_of(evidence, pairs)
    curves = {pair.study: curves_of_pair(frame, pair, models[pair.study]) for pair in pairs}
    shown = [pair for pair in pairs if curves[pair.study]]
    if not shown:
        missing = f"No pair has {FEWEST_BINNED} finished trials, so the response to the parameters cannot be told."
        return Section(NAME, "How accuracy responds", "Response", (Text(missing, "missing"),))
    blocks: list[Block] = [Text(_finding(curves, shown), "finding")]
    described = _described(curves, shown)
    blocks.append(curves_figure(curves, pairs, evidence.provenance.spec.search, described))
    blocks += _surface_blocks(evidence, pairs, models)
    lines = {pair.study: lines_of_pair(frame, pair) for pair in pairs}
    if any(lines.values()):
        blocks.append(lr_figure(lines, pairs, _lines_described(lines, pairs)))
    blocks.append(Text(_note(evidence, models, len(analysis.pairs) - len(pairs)), "note"))
    summary = {
        "pairs": [{"study": pair.study, "curves": [_curve_json(c) for c in curves[pair.study]]} for pair in shown]
    }
    return Section(NAME, "How accuracy responds", "Response", tuple(blocks), summary)


def _finding(curves: Mapping[str, Sequence[Curve]], pairs: Sequence[PairResult]) -> str:
    told = []
    for param in dict.fromkeys(curve.param for pair in pairs for curve in curves[pair.study]):
        own = [curve for pair in pairs for curve in curves[pair.study] if curve.param == param]
        steep = [curve for curve in own if curve.is_told]
        if steep:
            widest = max(steep, key=lambda curve: curve.span)
            places = list(dict.fromkeys(_value(curve) for curve in steep))
            where = " or ".join([places[0]] if len(places) == 1 else [min(places, key=_order), max(places, key=_order)])
            inside = "" if len(own) == 1 else f" in {len(steep)} of {len(own)} pairs"
            told.append(f"{param} changes it by up to {100 * widest.span:.1f} points{inside} (best near {where})")
    if not told:
        return "No parameter is shown to change validation accuracy within the values tried."
    return f"Validation accuracy, the other parameters averaged over: {'; '.join(told)}."


def _value(curve: Curve) -> str:
    value = curve.best_value
    return value if isinstance(value, str) else f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def _order(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _described(curves: Mapping[str, Sequence[Curve]], pairs: Sequence[PairResult]) -> str:
    return " ".join(
        f"{pair.label}: "
        + "; ".join(
            f"{curve.param} highest at {_value(curve)}, by {100 * curve.span:.2f} points over its lowest"
            for curve in curves[pair.study]
        )
        + "."
        for pair in pairs
    )


def _surface_blocks(evidence: Evidence, pairs: Sequence[PairResult], models: Mapping[str, Model | None]) -> list[Block]:
    params = surface_params(evidence.frame)
    if params is None:
        return []
    found: dict[str, Sequence[Surface]] = {}
    for pair in pairs:
        model = models[pair.study]
        if model is not None and pair.best is not None:
            found[pair.study] = surfaces(model, params, pair.best.params)
    if not any(found.values()):
        both = f"{params[0]} and {params[1]}"
        why = f"No pair has {FEWEST} finished trials that vary {both}, so there is no surface of the two."
        return [Text(why, "missing")]
    described = " ".join(
        f"{pair.label}{_at_lr(one)}: highest at {params[0]} {_at(one, 1)}, {params[1]} {_at(one, 0)} with "
        f"{100 * one.mean.max():.2f} %, lowest {100 * one.mean.min():.2f} %."
        for pair in pairs
        for one in found.get(pair.study, ())
    )
    return [surface_figure(found, pairs, evidence.frame, params, evidence.provenance.spec.search, described)]


def _at_lr(one: Surface) -> str:
    return "" if one.lr is None else f", lr {number(one.lr)}"


def _at(one: Surface, axis: int) -> str:
    row, column = divmod(int(one.mean.argmax()), one.mean.shape[1])
    return number(float(one.x[column] if axis else one.y[row]))


def _lines_described(lines: Mapping[str, Sequence[Line]], pairs: Sequence[PairResult]) -> str:
    return " ".join(
        f"{pair.label}: "
        + "; ".join(
            f"{setting(line.others)}: "
            + ", ".join(f"{number(lr)} {100 * mean:.2f} %" for lr, mean in zip(line.lr, line.mean, strict=True))
            for line in lines[pair.study]
        )
        + "."
        for pair in pairs
        if lines[pair.study]
    )


def _note(evidence: Evidence, models: Mapping[str, Model | None], n_hidden: int) -> str:
    parts = [
        "A Gaussian process through the finished trials, with the noise that their seeds show, averaged over how "
        f"smooth it may be; with fewer than {FEWEST} trials, means of bins."
    ]
    made = [model for model in models.values() if model is not None]
    hopeless = sum(int((model.trials["value"] < model.floor).sum()) for model in made)
    if hopeless:
        parts.append(f"Counted as the lowest of the others: {count(hopeless, 'hopeless trial')}.")
    if any(len(model.trials) >= MOST for model in made):
        parts.append(f"Of more than {MOST} trials of a pair, about {MOST} were taken, evenly from best to worst.")
    n_pruned = evidence.analysis.total("pruned")
    if n_pruned:
        parts.append(f"Left out: {count(n_pruned, 'trial')} stopped early; accuracy where they lie is probably lower.")
    if n_hidden:
        parts.append(f"{count(n_hidden, 'more pair')} not drawn.")
    return " ".join(parts)


def _curve_json(curve: Curve) -> dict[str, Any]:
    return {
        "param": curve.param,
        "kind": curve.kind,
        "values": list(curve.choices if curve.choices is not None else curve.values),
        "effect": list(curve.effect),
        **{key: [end if end == end else None for end in getattr(curve, key)] for key in ("low", "high")},
        "span": curve.span,
        "is_told": curve.is_told,
    }
