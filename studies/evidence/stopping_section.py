"""Early stopping in the report: whether pruning misled, what it saved, and how soon the order of trials settles."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from studies.evidence.arms import finite
from studies.evidence.forecast import FEWEST
from studies.evidence.stopping import SETTLED, PairStopping, Verdict, stopping, verdict
from studies.evidence.stopping_figure import chance, likeliest, stopping_figure
from studies.evidence.stopping_words import whether_misled
from studies.reporting import contained
from studies.reporting.section import Block, Evidence, Section, Text
from studies.reporting.wording import NOT_KNOWN, correlation, count, duration
from studies.tables import Table

MAX_ROWS = 12
"""So many stopped trials are listed, those most likely to have won."""

_TOO_FEW = (
    f"No pair has {FEWEST} trials that were trained to the end and told their accuracy after several epochs, so how "
    "soon accuracy ranks trials cannot be told."
)

_EVERYTHING = "Everything here is validation accuracy, the mean over the seeds."
_HOW = (
    "What a stopped trial would have reached is predicted by a regression line through the trials of its pair that "
    "were trained to the end, from their accuracy after the same epoch; one that was below all of them counts as the "
    "worst of them, so its chance is an upper bound. These trials survived pruning: had the others gone on, the rank "
    "correlations might differ. Saved is what training the stopped trials to their end would have taken at their own "
    "pace, all seeds of a trial together."
)


@contained.section("stopping", "Early stopping")
def section(evidence: Evidence) -> Section | None:
    """Verdict, savings, rank correlations and the likeliest lost winners; None where nothing could be stopped."""
    pairs = stopping(
        evidence.frame, evidence.provenance.spec, {pair.study: pair.label for pair in evidence.analysis.pairs}
    )
    found, drawing = verdict(pairs), stopping_figure(pairs)
    title, missing = "Early stopping", Text(_TOO_FEW, "missing")
    if found is Verdict.NOTHING_STOPPED and drawing is None:
        if evidence.provenance.spec.strategy.pruner.name == "none":
            return None
        nothing = Text(f"No trial was stopped early. {_TOO_FEW}", "missing")
        return Section("stopping", title, title, (nothing,), _summary(pairs, found))
    hours = "GPU-hours" if _on_gpus(evidence.frame) else "hours"
    blocks: list[Block] = [Text(_finding(pairs, found, hours), "finding"), drawing or missing]
    blocks.append(_pairs_table(pairs, hours))
    if rows := likeliest(pairs, MAX_ROWS):
        blocks.append(_stopped_table(rows, sum(len(pair.stopped) for pair in pairs)))
    blocks.append(Text(_EVERYTHING if found is Verdict.NOTHING_STOPPED else f"{_EVERYTHING} {_HOW}", "note"))
    return Section("stopping", title, title, tuple(blocks), _summary(pairs, found))


def _on_gpus(frame: pd.DataFrame) -> bool:
    devices = set(frame.loc[frame["state"].isin(["complete", "pruned"]), "device"].dropna())
    return devices == {"cuda"}


def _finding(pairs: Sequence[PairStopping], found: Verdict, hours: str) -> str:
    if found is Verdict.NOTHING_STOPPED:
        return f"No trial was stopped early, so pruning neither saved anything nor misled. {_settling(pairs)}"
    return f"{whether_misled(pairs, found, of_campaign=True)}. {_saved(pairs, hours)}"


def _saved(pairs: Sequence[PairStopping], hours: str) -> str:
    epochs, planned = sum(pair.epochs_saved for pair in pairs), sum(pair.epochs for pair in pairs)
    seconds = [pair.seconds_saved for pair in pairs if pair.stopped]
    known = [value for value in seconds if math.isfinite(value)]
    time = f" and {'at least ' if len(known) < len(seconds) else ''}{_hours(math.fsum(known), hours)}" if known else ""
    return f"Stopping saved {count(epochs, 'epoch')} ({100 * epochs / planned:.0f} % of all){time}."


def _hours(seconds: float, hours: str) -> str:
    """Device time; in hours where that is what one counts GPUs in."""
    return f"{seconds / 3600:,.3g} {hours}" if hours == "GPU-hours" else duration(seconds)


def _settling(pairs: Sequence[PairStopping]) -> str:
    known = [pair for pair in pairs if pair.settled is not None]
    if not known:
        return "How soon accuracy ranks the trials as it does in the end cannot be told."
    latest = max(known, key=lambda pair: pair.settled or 0)
    where = "" if len(pairs) == 1 else f" at the latest ({latest.label})"
    return (
        f"From epoch {latest.settled} of {len(latest.correlation)} on{where} accuracy ranks the trials nearly as in "
        f"the end (rank correlation of {SETTLED:g} or more)."
    )


def _pairs_table(pairs: Sequence[PairStopping], hours: str) -> Table:
    rows = []
    for pair in pairs:
        half = len(pair.correlation) // 2
        halfway = pair.correlation[half - 1] if half else math.nan
        forecasts = [one.forecast for one in pair.stopped if one.forecast is not None]
        top = max(forecasts, key=lambda told: told.chance, default=None)
        rows.append(
            (
                pair.label,
                f"{pair.n:,}",
                f"{len(pair.stopped):,}",
                NOT_KNOWN if math.isnan(halfway) else correlation(halfway),
                NOT_KNOWN if pair.settled is None else f"{pair.settled} of {len(pair.correlation)}",
                f"{pair.epochs_saved:,}",
                NOT_KNOWN if math.isnan(pair.seconds_saved) else _hours(pair.seconds_saved, hours),
                NOT_KNOWN if top is None else chance(top.chance, at_most=top.at_most),
            )
        )
    header = (
        *(
            "pair",
            "trained to the end",
            "stopped early",
            "rank correlation half-way",
            f"{SETTLED:g} or more from epoch",
        ),
        *("epochs saved", "time saved", "best chance of a stopped one to have won"),
    )
    return Table("stopping", "What early stopping saved and risked", header, tuple(rows), frozenset(range(1, 8)))


def _stopped_table(shown: Sequence[tuple[PairStopping, Any, Any]], n_stopped: int) -> Table:
    rows = []
    for pair, one, told in shown:
        bound = "≤ " if told.at_most else ""
        rows.append(
            (
                pair.label,
                str(one.number),
                str(one.epoch),
                f"{100 * one.accuracy:.2f} %",
                f"{bound}{100 * told.mean:.2f} % ({100 * told.low:.2f} to {100 * told.high:.2f})",
                f"{100 * pair.best:.2f} %",
                chance(told.chance, at_most=told.at_most),
                str(told.n),
            )
        )
    title = "Stopped trials and what they would have reached"
    title += f" (the likeliest {len(rows)} of {n_stopped:,} to have won)" if n_stopped > len(rows) else ""
    header = (
        *("pair", "trial", "stopped after epoch", "accuracy then", "expected at the end (95 %)", "best of the pair"),
        *("chance to have won", "trials this rests on"),
    )
    return Table("stopped", title, header, tuple(rows), frozenset(range(1, 8)))


def _summary(pairs: Sequence[PairStopping], found: Verdict) -> Mapping[str, Any]:
    return {
        "verdict": found.value,
        "pairs": [
            {
                "study": pair.study,
                "trials": pair.n,
                "rank_correlation": [finite(round(value, 6)) for value in pair.correlation],
                "settled_from": pair.settled,
                "best": finite(pair.best),
                "epochs_without_stopping": pair.epochs,
                "epochs_saved": pair.epochs_saved,
                "seconds_saved": finite(pair.seconds_saved),
                "stopped": [
                    {
                        "number": one.number,
                        "epoch": one.epoch,
                        "val_accuracy": finite(one.accuracy),
                        "expected": one.forecast and one.forecast.mean,
                        "low": one.forecast and one.forecast.low,
                        "high": one.forecast and one.forecast.high,
                        "chance": one.forecast and one.forecast.chance,
                        "at_most": one.forecast and one.forecast.at_most,
                        "rests_on": one.forecast.n if one.forecast else 0,
                    }
                    for one in pair.stopped
                ],
            }
            for pair in pairs
        ],
    }


KEYS: Mapping[str, str] = {
    "stopping.verdict": "whether pruning misled: " + ", ".join(Verdict),
    "stopping.pairs[].study": "name of the Optuna study",
    "stopping.pairs[].trials": "trained to the end, which the rank correlations are over",
    "stopping.pairs[].rank_correlation": (
        "Spearman's, of validation accuracy after each epoch with the final one; empty for too few trials"
    ),
    "stopping.pairs[].settled_from": f"epoch, from 1, from which it stays at {SETTLED:g} or above",
    "stopping.pairs[].best": "highest final validation accuracy",
    "stopping.pairs[].epochs_without_stopping": "that complete and stopped trials would have been trained for",
    "stopping.pairs[].epochs_saved": "of these, by stopping early",
    "stopping.pairs[].seconds_saved": "likewise, of the devices that trained; null where the pace is not known",
    "stopping.pairs[].stopped[].number": "of a trial stopped early",
    "stopping.pairs[].stopped[].epoch": "the last it was trained for, from 1",
    "stopping.pairs[].stopped[].val_accuracy": "after that epoch",
    "stopping.pairs[].stopped[].expected": "final validation accuracy; null, as what follows, where it cannot be told",
    "stopping.pairs[].stopped[].low": "lower end of its 95 % prediction interval",
    "stopping.pairs[].stopped[].high": "upper end",
    "stopping.pairs[].stopped[].chance": "that it would have beaten the best of its pair",
    "stopping.pairs[].stopped[].at_most": "whether it was below all compared with, so that these are upper bounds",
    "stopping.pairs[].stopped[].rests_on": "trials trained to the end that the prediction rests on",
}
