"""Health: who trained what when, what failed and why, what was trained twice, and how fast each device was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from studies.evidence.arms import finite
from studies.evidence.timeline import timeline
from studies.reporting import contained
from studies.reporting.health import device_words, first_line
from studies.reporting.section import Block, Evidence, Section, Text
from studies.reporting.wording import count, duration
from studies.tables import Table, counts_table

MAX_REASONS = 10
"""So many reasons of failure are listed."""


@dataclass(frozen=True)
class Speed:
    """How long an epoch takes on a device, all seeds of a trial together.

    Attributes:
        device: its kind and name.
        median: over the trials that ended on it, in seconds; `least` and `most` likewise.
    """

    device: str
    n_trials: int
    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Reason:
    """Why trials failed: the first line of what they told."""

    text: str
    n_trials: int
    example: str


@dataclass(frozen=True)
class Health:
    """What happened besides training.

    Attributes:
        n_ended: trials that were trained to the end or stopped early.
        epochs: trained in all trials that ended.
        epochs_recomputed: trained again after an interruption, beside those.
        n_interrupted: trials that had such epochs.
        most_attempts: of any trial; 1 where no worker died.
    """

    speeds: tuple[Speed, ...]
    reasons: tuple[Reason, ...]
    n_ended: int
    n_failed: int
    n_retried: int
    n_pruned: int
    epochs: int
    epochs_recomputed: int
    n_interrupted: int
    most_attempts: int


def health_of(frame: pd.DataFrame) -> Health:
    """What the trials tell of how they were trained."""
    ended = frame[frame["state"].isin(["complete", "pruned"])]
    again = frame["epochs_recomputed"].fillna(0)
    return Health(
        speeds=_speeds(ended),
        reasons=_reasons(frame[frame["state"] == "failed"]),
        n_ended=len(ended),
        n_failed=int((frame["state"] == "failed").sum()),
        n_retried=int((frame["state"] == "retried").sum()),
        n_pruned=int((frame["state"] == "pruned").sum()),
        epochs=int(ended["epochs"].fillna(0).sum()),
        epochs_recomputed=int(again.sum()),
        n_interrupted=int((again > 0).sum()),
        most_attempts=int(frame["attempt"].fillna(1).max()) if len(frame) else 1,
    )


def _speeds(ended: pd.DataFrame) -> tuple[Speed, ...]:
    timed = ended[(ended["seconds"] > 0) & (ended["epochs"].fillna(0) > 0)]
    devices = timed["environment"].map(lambda told: " ".join(device_words(told)) or "not told")
    per_epoch = timed["seconds"] / timed["epochs"].astype("float64")
    return tuple(
        Speed(str(device), len(own), float(own.median()), float(own.min()), float(own.max()))
        for device, own in per_epoch.groupby(devices)
    )


def _reasons(failed: pd.DataFrame) -> tuple[Reason, ...]:
    texts = failed["error"].map(first_line, na_action=None)
    found = [
        Reason(str(text), len(own), f"{own['study'].iloc[0]}, trial {own['number'].iloc[0]}")
        for text, own in failed.groupby(texts)
    ]
    return tuple(sorted(found, key=lambda reason: (-reason.n_trials, reason.text)))


@contained.section("health", "Health")
def section(evidence: Evidence) -> Section:
    """States, timeline, failures, epochs trained twice, speed by device."""
    frame, health = evidence.frame, health_of(evidence.frame)
    blocks: list[Block] = [Text(_finding(health), "finding"), counts_table(evidence.analysis)]
    drawing = timeline(frame, evidence.analysis)
    blocks.append(drawing or Text("No trial has been claimed yet, so there is no timeline.", "missing"))
    if health.reasons:
        blocks.append(_reasons_table(health))
    if health.speeds:
        blocks.append(_speeds_table(health))
    blocks.append(
        Text(
            "“Pruned” trials were stopped early, “retried” ones died and were taken over by another. All of them are "
            "in trials.csv; the numbers of this page are in summary.json.",
            "note",
        )
    )
    return Section("health", "Health", "Health", tuple(blocks), _summary(health))


def _finding(health: Health) -> str:
    if not (health.n_ended or health.n_failed or health.n_retried):
        return "No trial has ended yet."
    said = [f"{count(health.n_failed, 'trial')} failed" if health.n_failed else "No trial failed for good"]
    if health.n_retried:
        said.append(f"{count(health.n_retried, 'trial')} died and {'was' if health.n_retried == 1 else 'were'} retried")
    if health.n_pruned:
        said.append(f"{health.n_pruned:,} {'was' if health.n_pruned == 1 else 'were'} stopped early")
    if health.epochs_recomputed:
        share = 100 * health.epochs_recomputed / max(1, health.epochs)
        said.append(f"{count(health.epochs_recomputed, 'epoch')} ({share:.2g} % of those kept) had to be trained again")
    elif health.epochs:
        said.append("no epoch had to be trained again")
    return f"{'; '.join(said)}."


def _reasons_table(health: Health) -> Table:
    rows = [(reason.text, str(reason.n_trials), reason.example) for reason in health.reasons[:MAX_REASONS]]
    hidden = len(health.reasons) - MAX_REASONS
    title = "Why trials failed" + (f" (the commonest; {hidden} more in trials.csv)" if hidden > 0 else "")
    return Table("reasons", title, ("reason", "trials", "for example"), tuple(rows), frozenset({1}))


def _speeds_table(health: Health) -> Table:
    rows = [
        (speed.device, str(speed.n_trials), *map(duration, (speed.median, speed.least, speed.most)))
        for speed in health.speeds
    ]
    header = ("device", "trials", "median", "least", "most")
    title = "Time of an epoch by device, all seeds of a trial together"
    return Table("speeds", title, header, tuple(rows), frozenset(range(1, 5)))


def _summary(health: Health) -> Mapping[str, Any]:
    return {
        "devices": [
            {
                "device": speed.device,
                "trials": speed.n_trials,
                "seconds_per_epoch": finite(speed.median),
                "least": finite(speed.least),
                "most": finite(speed.most),
            }
            for speed in health.speeds
        ],
        "failures": [{"reason": r.text, "trials": r.n_trials, "example": r.example} for r in health.reasons],
        "epochs": health.epochs,
        "epochs_recomputed": health.epochs_recomputed,
        "trials_interrupted": health.n_interrupted,
        "most_attempts": health.most_attempts,
    }


KEYS: Mapping[str, str] = {
    "health.devices[].device": "kind and name",
    "health.devices[].trials": "complete and pruned trials that ended on it",
    "health.devices[].seconds_per_epoch": "median over these trials, all seeds of a trial together",
    "health.devices[].least": "least of these",
    "health.devices[].most": "most of these",
    "health.failures[].reason": "first line of what a failed trial told, the commonest first",
    "health.failures[].trials": "how many told it",
    "health.failures[].example": "study and number of one of them",
    "health.epochs": "trained in complete and pruned trials",
    "health.epochs_recomputed": "trained again after an interruption, beside these",
    "health.trials_interrupted": "trials with such epochs",
    "health.most_attempts": "the most workers that had one trial, one after another died",
}
