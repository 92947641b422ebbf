"""What makes a campaign's result less trustworthy than its numbers look, in sentences for the banner of the report."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from rigl_core.methods import METHODS
from studies import names
from studies.guessing import guessing, learned_nothing
from studies.reporting.findings import Analysis, Verdict
from studies.reporting.wording import count, listed
from studies.spec import StudySpec

Weight = Literal["warning", "note"]

MAY_DIFFER = ("host", "threads", "convolutions", "deterministic", "device", "device_name", "attempts_differ")
"""Parts of an environment of which no word is needed: whether convolutions skip inactive weights depends on the network
and on a compiler, and rounds differently at most. Devices and attempts have their own sentences."""

WAYS = ("precision", "steps", "compiled")
"""Parts of an environment that are no versions."""

ROUNDING = 1e-6
"""To which explored fractions are stored."""

SPARSITY_TOLERANCE = 0.01
"""A network whose sparsity is further from the one asked for is not what its label says."""


@dataclass(frozen=True)
class Concern:
    """One thing to know before believing a number: a warning touches the conclusion, a note does not."""

    weight: Weight
    text: str


def concerns(frame: pd.DataFrame, analysis: Analysis, spec: StudySpec) -> tuple[Concern, ...]:
    """Everything to be said, warnings first."""
    found = [
        *_unfinished(frame, analysis),
        *_reference(analysis),
        *_failed(frame),
        *_seeds(frame, analysis, spec.strategy.seeds),
        *_alike(analysis),
        *_missing_values(frame),
        *_learned_nothing(analysis, spec),
        *_realised_sparsity(frame, analysis),
        *_masks_stood_still(frame),
        *_environment(frame),
        *_interrupted(frame),
    ]
    return tuple(sorted(found, key=lambda concern: concern.weight != "warning"))


def _unfinished(frame: pd.DataFrame, analysis: Analysis) -> Iterator[Concern]:
    if frame.empty:
        yield Concern("warning", "The campaign has no trials.")
        return
    if analysis.n_unfinished:
        states = f"{analysis.total('waiting')} waiting and {analysis.total('running')} running"
        so_far = "; the best may still change" if any(pair.best for pair in analysis.pairs) else ""
        yield Concern("warning", f"Unfinished: {states} of {count(len(frame), 'trial')}{so_far}.")
    ended = [pair.label for pair in analysis.pairs if pair.best is None and pair.n_unfinished == 0]
    if ended:
        yield Concern("warning", f"No trial is complete at {'; '.join(ended)}.")


def _reference(analysis: Analysis) -> Iterator[Concern]:
    without = [pair for pair in analysis.pairs if pair.verdict is Verdict.NO_REFERENCE]
    if without:
        where = "; ".join(pair.label for pair in without)
        yield Concern("warning", f"Without a complete reference there is nothing to compare with at {where}.")


def _failed(frame: pd.DataFrame) -> Iterator[Concern]:
    failed = frame[frame["state"] == "failed"]
    if failed.empty:
        return
    reasons = Counter(first_line(error) for error in failed["error"])
    shown = "; ".join(f"{reason} ({n}×)" if n > 1 else reason for reason, n in reasons.most_common(3))
    more = f"; and {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
    yield Concern("warning", f"{count(len(failed), 'trial')} of {len(frame)} failed: {shown}{more}.")


def _seeds(frame: pd.DataFrame, analysis: Analysis, planned: tuple[int, ...]) -> Iterator[Concern]:
    n_seeds = analysis.n_seeds
    if n_seeds == 1:
        yield Concern("warning", "One seed a trial: differences have no interval and may be chance.")
    if len(set(frame.loc[frame["state"] == "complete", "seeds"])) > 1:
        yield Concern("warning", "Trials were trained on different seeds; differences use the seeds both have.")
    complete = frame.loc[frame["state"] == "complete", "seeds"]
    without = [seed for seed in planned if not all(seed in seeds for seeds in complete)]
    if without:
        n = sum(not set(planned) <= set(seeds) for seeds in complete)
        which = f"seed{'s' if len(without) > 1 else ''} {', '.join(map(str, without))}"
        yield Concern("warning", f"{count(n, 'complete trial')} without {which}, though planned.")


def _alike(analysis: Analysis) -> Iterator[Concern]:
    for pair in analysis.pairs:
        if pair.gain is not None and pair.gain.alike:
            yield Concern(
                "warning",
                f"At {pair.label} a seed moves near settings alike ({100 * pair.gain.alike:.0f} % of its noise), so "
                "that they confirm each other less than their number suggests. The interval of the gain is wider "
                "for that; only more seeds make it narrower.",
            )


def _missing_values(frame: pd.DataFrame) -> Iterator[Concern]:
    complete = frame[frame["state"] == "complete"]
    without = sum(not values for values in complete["test_accuracy"])
    if without:
        yield Concern("warning", f"{count(without, 'complete trial')} without test accuracy.")
    both = zip(complete["val_accuracy"], complete["test_accuracy"], strict=True)
    not_a_number = sum(any(map(math.isnan, (*val, *test))) for val, test in both)
    if not_a_number:
        yield Concern("warning", f"{count(not_a_number, 'complete trial')} with an accuracy that is not a number.")


def _learned_nothing(analysis: Analysis, spec: StudySpec) -> Iterator[Concern]:
    guessed = {plan.name: guessing(plan) for plan in spec.plans()}
    for pair in analysis.pairs:
        chance = guessed.get(pair.study, math.nan)
        if pair.best is not None and learned_nothing(pair.best.val_by_seed.values(), chance):
            reached = f"{100 * pair.best.val_accuracy.mean:.1f} %, and guessing has {100 * chance:.3g} %"
            yield Concern("warning", f"Nothing was learned at {pair.label}: the best setting reached {reached}.")


def _realised_sparsity(frame: pd.DataFrame, analysis: Analysis) -> Iterator[Concern]:
    sparse = frame[(frame["state"] == "complete") & (frame["realised_sparsity"] > 0)]  # not of dense networks
    off = sparse[(sparse["realised_sparsity"] - sparse["sparsity"]).abs() > SPARSITY_TOLERANCE]
    for pair in analysis.pairs:
        own = off[off["study"] == pair.study]
        if not own.empty:
            ends = sorted(
                {f"{100 * end:.1f} %" for end in (own["realised_sparsity"].min(), own["realised_sparsity"].max())}
            )
            dense_first = " because the first layer stays dense" if (own["distribution"] == "uniform").all() else ""
            yield Concern("warning", f"At {pair.label} the sparsity realised is {' to '.join(ends)}{dense_first}.")


def _masks_stood_still(frame: pd.DataFrame) -> Iterator[Concern]:
    """Trials of methods that move masks and never did: they are static ones, whatever their alpha and delta_t."""
    moving = [name for name, method in METHODS.items() if method.drop is not None]
    trained = frame[(frame["state"] == "complete") & frame["method"].isin(moving)]
    explored = trained["explored"].map(lambda by_epoch: by_epoch[-1] if by_epoch else math.nan)
    still = trained[(explored - (1 - trained["realised_sparsity"])).abs() < ROUNDING]
    if not still.empty:
        methods = listed(sorted(map(names.method, set(still["method"]))))
        yield Concern(
            "warning",
            f"In {count(len(still), 'complete trial')} of {methods} the masks never changed, as those of static never "
            "do: α and ΔT had no effect there. Lower ΔT or train longer.",
        )


def _environment(frame: pd.DataFrame) -> Iterator[Concern]:
    environments = [environment for environment in frame["environment"] if environment]
    devices = sorted({" ".join(device_words(environment)) for environment in environments})
    if len(devices) > 1:
        yield Concern("warning", f"Trials ran on different devices: {'; '.join(devices)}.")
    for key in sorted({key for environment in environments for key in environment} - set(MAY_DIFFER)):
        versions = sorted({environment.get(key, "unknown") for environment in environments})
        if len(versions) > 1:
            what = key if key in WAYS else f"{key} versions"
            yield Concern("warning", f"Trials ran with different {what}: {', '.join(versions)}.")


def device_words(environment: dict[str, str]) -> list[str]:
    """Kind and name of a trial's device, each once."""
    return list(dict.fromkeys(environment[key] for key in ("device", "device_name") if environment.get(key)))


def _interrupted(frame: pd.DataFrame) -> Iterator[Concern]:
    n_retried = int((frame["state"] == "retried").sum())
    recomputed = int(frame["epochs_recomputed"].fillna(0).sum())
    taken_over = [told["attempts_differ"] for told in frame["environment"] if told and "attempts_differ" in told]
    if taken_over:
        examples = listed(sorted(set(taken_over))[:3])
        yield Concern(
            "warning",
            f"{count(len(taken_over), 'trial')} went on from a checkpoint under other circumstances ({examples}); the "
            "last bits of their results are not those of an undisturbed training.",
        )
    if n_retried:
        yield Concern("note", f"Taken over by another worker after theirs died: {count(n_retried, 'trial')}.")
    if recomputed:
        yield Concern("note", f"Computed again after an interruption: {count(recomputed, 'epoch')}.")


def first_line(error: object) -> str:
    """The first line of why a trial failed, cut where it is long."""
    text = error.strip() if isinstance(error, str) else ""
    first = text.splitlines()[0] if text else "no reason given"
    return first if len(first) <= 100 else first[:99] + "…"
