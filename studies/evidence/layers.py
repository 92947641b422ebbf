"""Where the weights went: layer by layer at the start and at the end, and over training what it explored and cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from studies import names
from studies.coordinates import Array
from studies.evidence.arms import finite, longer
from studies.evidence.layers_figure import explored, layer_sparsities, moving_flops
from studies.evidence.trajectories import Trajectory
from studies.frame import param_columns
from studies.reporting import contained
from studies.reporting.findings import Analysis
from studies.reporting.section import Block, Evidence, Section, Text
from studies.reporting.wording import NOT_KNOWN, multiple
from studies.tables import Table


def trajectories(frame: pd.DataFrame, analysis: Analysis) -> tuple[Trajectory, ...]:
    """Every method of every pair with complete trials that told where their weights are, in the order of the pairs.

    Trainings of different lengths are different trajectories, of which there is no mean.
    """
    complete = frame[(frame["state"] == "complete") & frame["layer_sparsity"].map(bool).astype(bool)]
    labels = {pair.study: pair.label for pair in analysis.pairs}
    called = _names(complete)
    several = called.nunique() > 1
    found = []
    for (study, method, name), trials in complete.groupby(["study", "method", called], observed=True):
        label = labels[str(study)]
        found.append(
            Trajectory(
                study=str(study),
                place=label,
                method=str(method),
                name=str(name),
                label=f"{label}, {names.method(str(name))}" if several else label,
                n_trials=len(trials),
                initial=_by_layer(trials["initial_layer_sparsity"]),
                final=_by_layer(trials["layer_sparsity"]),
                explored=_by_epoch(trials["explored"]),
                flops=_by_epoch(trials["inference_flops_by_epoch"]),
            )
        )
    return tuple(found)


def _names(trials: pd.DataFrame) -> "pd.Series[str]":
    """What each is called: its method, and how long it was trained where that was searched, "rigl 2×"."""
    columns = param_columns(trials)
    every = [str(method) for method in trials["method"]]
    if column := columns.get("train_multiplier"):
        every = [longer(name, times) for name, times in zip(every, trials[column], strict=True)]
    if column := columns.get("epochs"):
        every = [f"{name} {epochs} epochs" for name, epochs in zip(every, trials[column], strict=True)]
    return pd.Series(every, trials.index, name="name", dtype="string")


def _by_layer(told: "pd.Series[Any]") -> dict[str, float]:
    """The mean over the trials that have the first one's layers; a searched model has others."""
    known = [layers for layers in told if layers]
    if not known:
        return {}
    alike = [layers for layers in known if layers.keys() == known[0].keys()]
    means = np.array([list(layers.values()) for layers in alike], dtype=float).mean(axis=0)
    return dict(zip(known[0], means.tolist(), strict=True))


def _by_epoch(told: "pd.Series[Any]") -> Array:
    """Least, mean and most over the trials after each epoch, (3, epochs); as far as every one of them was trained."""
    known = [values for values in told if values]
    if not known:
        return np.empty((3, 0))
    n_epochs = min(map(len, known))
    values = np.array([own[:n_epochs] for own in known], dtype=float)
    return np.stack([values.min(axis=0), values.mean(axis=0), values.max(axis=0)])


@contained.section("layers", "Where the weights went")
def section(evidence: Evidence) -> Section | None:
    """Layers, exploration and cost by method; None for campaigns of dense networks and of trials that told nothing."""
    every = trajectories(evidence.frame, evidence.analysis)
    sparse = [one for one in every if one.is_sparse]
    complete = (evidence.frame["state"] == "complete").any()
    if not sparse:
        if every or not complete:
            return None
        missing = Text("No trial told the sparsity of its layers.", "missing")
        return Section("layers", "Where the weights went", "Layers", (missing,), {"methods": []})
    blocks: list[Block] = [Text(_finding(sparse), "finding")]
    blocks += [layer_sparsities(sparse), _table(sparse)]
    blocks.append(explored(sparse) or Text("No trial told what it explored over several epochs.", "missing"))
    if (drawing := moving_flops(sparse)) is not None:
        blocks.append(drawing)
    elif any(one.flops.size for one in sparse):
        blocks.append(Text("Inference FLOPs stayed what they were: every layer kept its share of the weights.", "text"))
    if any(not one.initial for one in sparse):
        blocks.append(Text("Trials of older versions did not tell the sparsities they began with.", "missing"))
    blocks.append(
        Text(
            "Explored, R_s, is the fraction of the maskable weights that were active at least once so far. All numbers "
            "are means over the seeds and over the complete trials of a pair"
            + (f" and {_told_apart_by(every)}." if len({one.name for one in every}) > 1 else "."),
            "note",
        )
    )
    return Section(
        "layers", "Where the weights went", "Layers", tuple(blocks), {"methods": [_summary(o) for o in every]}
    )


def _told_apart_by(every: Sequence[Trajectory]) -> str:
    methods = {one.method for one in every}
    if all(one.name in methods for one in every):
        return "method"
    return "method and length of training" if len(methods) > 1 else "length of training"


def _finding(sparse: Sequence[Trajectory]) -> str:
    moved = [one for one in sparse if one.moved]
    told = [one for one in sparse if one.initial and not one.begins_dense]
    if not any(one.initial for one in sparse):
        lead = "Whether weights moved between layers was not told"
    elif not told:
        lead = "Training began dense and made every layer sparse on the way"
    elif not moved:
        lead = "Every layer kept as many weights as it began with: none moved between layers"
    else:
        most = max(moved, key=lambda one: abs(one.largest_move[1]) if one.largest_move else 0.0)
        assert most.largest_move is not None
        layer, change = most.largest_move
        lead = (
            f"Weights moved between layers in {len(moved)} of {len(told)}: most in {layer} at {most.label}, whose "
            f"sparsity went from {most.initial[layer]:.3f} to {most.initial[layer] + change:.3f}"
        )
    explorers = [one for one in sparse if one.explored.size]
    if not explorers:
        return f"{lead}."
    least = min(explorers, key=lambda one: one.explored[1, -1])
    most = max(explorers, key=lambda one: one.explored[1, -1])
    if least is most:
        return f"{lead}. Training explored {100 * most.explored[1, -1]:.0f} % of the weights."
    return (
        f"{lead}. Training explored from {100 * least.explored[1, -1]:.0f} % of the weights ({least.label}) to "
        f"{100 * most.explored[1, -1]:.0f} % ({most.label})."
    )


def _table(sparse: Sequence[Trajectory]) -> Table:
    rows = []
    for one in sparse:
        move = one.largest_move
        largest = "began dense" if one.begins_dense else NOT_KNOWN if move is None else "none"
        if move is not None and one.moved:
            largest = f"{move[0]} {move[1]:+.3f}".replace("-", "−")
        rows.append(
            (
                one.label,
                str(one.n_trials),
                str(len(one.final)),
                largest,
                _ends(one.explored, lambda value: f"{100 * value:.1f} %", first=False),
                _ends(one.flops, multiple, first=True),
            )
        )
    header = (
        *("what", "trials", "layers", "largest change of a layer's sparsity", "explored at the end"),
        "inference FLOPs, first to last epoch",
    )
    return Table("layers", "What changed during training", header, tuple(rows), frozenset({1, 2, 4, 5}))


def _ends(band: Array, shown: Any, *, first: bool) -> str:
    if not band.size:
        return NOT_KNOWN
    if not first:
        least, most = shown(band[0, -1]), shown(band[2, -1])
        return shown(band[1, -1]) if least == most else f"{shown(band[1, -1])} ({least} to {most})"
    begin, end = shown(float(band[1, 0])), shown(float(band[1, -1]))
    return end if begin == end else f"{begin} to {end}"


def _summary(one: Trajectory) -> dict[str, Any]:
    return {
        "study": one.study,
        "method": one.method,
        "name": one.name,
        "n_trials": one.n_trials,
        "initial_layer_sparsity": [{"layer": name, "sparsity": finite(s)} for name, s in one.initial.items()],
        "layer_sparsity": [{"layer": name, "sparsity": finite(s)} for name, s in one.final.items()],
        "explored": [_rounded(value) for value in one.explored[1]],
        "inference_flops_by_epoch": [_rounded(value) for value in one.flops[1]],
    }


def _rounded(value: float) -> float | None:
    return finite(round(float(value), 6))


KEYS: Mapping[str, str] = {
    "layers.methods[].study": "name of the Optuna study",
    "layers.methods[].method": "method trained in it",
    "layers.methods[].name": "the same, and behind it how long it was trained where that was searched",
    "layers.methods[].n_trials": "complete trials that the means are over",
    "layers.methods[].initial_layer_sparsity[].layer": "name of a layer's weight",
    "layers.methods[].initial_layer_sparsity[].sparsity": "of the layer before the first step",
    "layers.methods[].layer_sparsity[].layer": "name of a layer's weight",
    "layers.methods[].layer_sparsity[].sparsity": "of the layer at the end",
    "layers.methods[].explored": "R_s after each epoch: weights active at least once so far, of all maskable ones",
    "layers.methods[].inference_flops_by_epoch": "forward FLOPs after each epoch, multiple of the dense network's",
}
