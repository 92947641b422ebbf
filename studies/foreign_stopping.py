"""Early stopping in a study of some other program: whether it misled, what it saved, how soon the order settles."""

import math
from collections.abc import Mapping
from typing import Any

from studies.evidence.arms import finite
from studies.evidence.forecast import FEWEST
from studies.evidence.stopping import SETTLED, PairStopping, Verdict, stopping_by_step, verdict
from studies.evidence.stopping_figure import stopping_figure
from studies.evidence.stopping_words import whether_misled
from studies.foreign_finding import Finding
from studies.reporting import contained
from studies.reporting.measure import Measure
from studies.reporting.section import Section, Text
from studies.reporting.wording import count, duration

TITLE = "Early stopping"


@contained.section("stopping", "Early stopping")
def section(finding: Finding) -> Section | None:
    """Verdict, rank correlations and the likeliest lost winners; None where no trial reported on its way."""
    study, measure = finding.study, finding.study.measure
    pair = stopping_by_step(study.frame, study.name)
    if not pair.stopped and len(pair.steps) < 2:
        return None
    found, drawing = verdict([pair]), stopping_figure([pair], measure)
    missing = Text(
        f"Fewer than {FEWEST} trials ran to the end and reported several values on their way, so how soon these rank "
        "the trials cannot be told.",
        "missing",
    )
    note = Text(
        f"What a stopped trial would have reached is predicted by a regression line through the trials that ran to the "
        f"end, from their {measure.name} at the same {measure.step}; one that was worse than all of them counts as the "
        "worst of them, so its chance is an upper bound. These trials survived: had the others gone on, the rank "
        f"correlations might differ. A stopped trial is taken to have been meant for as many {measure.step}s as most "
        "complete ones reported at.",
        "note",
    )
    blocks = (Text(_told(pair, found, measure), "finding"), drawing or missing, *([note] if pair.stopped else []))
    return Section("stopping", TITLE, TITLE, blocks, _summary(pair, found, measure))


def _told(pair: PairStopping, found: Verdict, measure: Measure) -> str:
    if found is Verdict.NOTHING_STOPPED:
        return f"No trial was stopped early. {_settling(pair, measure)}"
    misled = whether_misled([pair], found, of_campaign=False)
    return f"{misled}. {_saved(pair, measure)} {_settling(pair, measure)}"


def _saved(pair: PairStopping, measure: Measure) -> str:
    time = "" if math.isnan(pair.seconds_saved) else f" and {duration(pair.seconds_saved)}"
    share = f" ({100 * pair.epochs_saved / pair.epochs:.0f} % of all)" if pair.epochs else ""
    return f"Stopping saved {count(pair.epochs_saved, measure.step)}{share}{time}."


def _settling(pair: PairStopping, measure: Measure) -> str:
    if pair.settled is None:
        return f"How soon {measure.name} ranks the trials as it does in the end cannot be told."
    return (
        f"From {measure.step} {pair.step(pair.settled)} of {pair.steps[-1]} on {measure.name} ranks the trials nearly "
        f"as in the end (rank correlation of {SETTLED:g} or more)."
    )


KEYS: Mapping[str, str] = {
    "stopping.verdict": "whether pruning misled: " + ", ".join(Verdict),
    "stopping.trials": "complete ones that the rank correlations are over",
    "stopping.steps": "at which most complete trials reported a value",
    "stopping.rank_correlation": "Spearman's, of the value at each step with the final one; empty for too few trials",
    "stopping.settled_from": f"the step from which it stays at {SETTLED:g} or above",
    "stopping.steps_saved": "by stopping early",
    "stopping.seconds_saved": "likewise; null where the pace is not known",
    "stopping.stopped[].number": "of a trial stopped early",
    "stopping.stopped[].step": "the last it reported at",
    "stopping.stopped[].value": "there",
    "stopping.stopped[].expected": "final value; null, as what follows, where it cannot be told",
    "stopping.stopped[].low": "lower end of its 95 % prediction interval",
    "stopping.stopped[].high": "upper end",
    "stopping.stopped[].chance": "that it would have beaten the best",
    "stopping.stopped[].at_most": "whether it was worse than all compared with, so that its chance is an upper bound",
    "stopping.stopped[].rests_on": "trials that ran to the end that the prediction rests on",
}
"""What summary.json holds of it, in the study's own units and direction."""


def _summary(pair: PairStopping, found: Verdict, measure: Measure) -> Mapping[str, Any]:
    stopped = []
    for one in pair.stopped:
        told = one.forecast
        low, high = (None, None) if told is None else sorted(measure.sign * end for end in (told.low, told.high))
        stopped.append(
            {
                "number": one.number,
                "step": pair.step(one.epoch) if 0 < one.epoch <= len(pair.steps) else None,
                "value": finite(measure.sign * one.accuracy),
                "expected": None if told is None else measure.sign * told.mean,
                "low": low,
                "high": high,
                "chance": None if told is None else told.chance,
                "at_most": None if told is None else told.at_most,
                "rests_on": 0 if told is None else told.n,
            }
        )
    return {
        "verdict": found.value,
        "trials": pair.n,
        "steps": list(pair.steps),
        "rank_correlation": [finite(round(value, 6)) for value in pair.correlation],
        "settled_from": None if pair.settled is None else pair.step(pair.settled),
        "steps_saved": pair.epochs_saved,
        "seconds_saved": finite(pair.seconds_saved),
        "stopped": stopped,
    }
