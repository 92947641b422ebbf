"""What must be true at the end, whatever happened before."""

import re
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from benchmarks.chaos.samples import at_last, growth
from benchmarks.chaos.site import Site
from benchmarks.chaos.troubles import CONNECTIONS, PATIENCE, Chaos, Tally
from studies.campaigns import open_campaign
from studies.storage import close_storage, open_storage

CONNECTIONS_A_WORKER = 2
DESCRIPTORS_MAY_GROW = 2
EXACT = ("seeds", "val_accuracy", "test_accuracy", "loss", "layer_sparsity", "n_active", "explored", "epochs")
_REFUSED = re.compile(r"cannot write the checkpoint \S*/(\d+)\.pt:")


@dataclass(frozen=True)
class Verdict:
    """Figures for the table, and what is wrong; nothing, in a good run."""

    figures: dict[str, Any]
    violations: list[str]


def trials_of(site: Site, campaign: str) -> list[FrozenTrial]:
    """All trials of the campaign's only study."""
    storage = open_storage(site.url)
    (queue,) = open_campaign(storage, campaign).queues
    trials = storage.get_all_trials(storage.get_study_id_from_name(queue.name))
    close_storage(storage)
    return trials


def judge(
    chaos: Chaos, disturbed: list[FrozenTrial], undisturbed: list[FrozenTrial], during: tuple[datetime, datetime]
) -> Verdict:
    """Compare what the disturbed campaign left with the plan and with an undisturbed one.

    Arguments:
        chaos: the run.
        disturbed: its trials.
        undisturbed: those of the same specification when nothing happens.
        during: when the run began and ended, by the clock of the database (and of this machine), in local time.
    """
    tally, plan, site = chaos.tally, chaos.plan, chaos.site
    wrong = list(tally.violations)
    states = Counter(trial.state for trial in disturbed)
    complete = [trial for trial in disturbed if trial.state == TrialState.COMPLETE]
    by_point = Counter(trial.params["lr"] for trial in complete)
    expected = {trial.params["lr"]: trial for trial in undisturbed}
    if set(by_point) != set(expected) or len(expected) != plan.points or max(by_point.values(), default=0) > 1:
        again = sum(n > 1 for n in by_point.values())
        wrong.append(f"{len(by_point)} of {plan.points} points complete, {again} of them more than once")
    if left := states[TrialState.RUNNING] + states[TrialState.WAITING]:
        wrong.append(f"{left} trials still run or wait")
    retried = {trial.system_attrs.get("retry_of") for trial in disturbed}
    if lost := [t for t in disturbed if t.state == TrialState.FAIL and t.number not in retried]:
        wrong.append(f"{len(lost)} failed for good, the first: {lost[0].user_attrs.get('error')}")

    different = [t.number for t in complete if not _same(t, expected[t.params["lr"]])]
    if different:
        wrong.append(f"other values than undisturbed in {len(different)} trials: {different[:5]}")
    recomputed, excess, refused = _recomputed(chaos, disturbed, complete)
    wrong += excess
    wrong += _wrong_times(complete, during)
    wrong += _wrong_endings(site)
    wrong += _wrong_files(site, complete)
    wrong += _not_enough(chaos)
    connections, descriptors = _growths(chaos, wrong)
    holders = len(tally.holders_killed)
    figures = {
        "points complete exactly once": f"{sum(n == 1 for n in by_point.values())} of {plan.points}",
        "values equal to an undisturbed run's, bit for bit": f"{len(complete) - len(different)} of {len(complete)}",
        "workers killed at a ticket (SIGKILL)": holders,
        "workers killed while starting or idle": tally.kills - holders,
        "of all kills, during an outage": tally.kills_in_outage,
        "seconds between kills, mean": round(tally.seconds / max(1, tally.kills), 2),
        "Postgres stopped, fast / immediate": f"{tally.restarts['fast']} / {tally.restarts['immediate']}",
        "seconds of outage, least to most": _span(tally.outage_seconds),
        "workers frozen past the grace period": tally.freezes,
        "tickets taken from them meanwhile": len(tally.frozen_trials),
        "late words discarded": sum(worker.said().count("does not count") for worker in site.workers),
        "workers told to stop (SIGTERM)": tally.preemptions,
        "times the checkpoint disk was full": f"{tally.disk_fillings} ({site.disk.means})",
        "checkpoints refused by it": sum(refused.values()),
        "clocks of workers, seconds off": ", ".join(f"{nursery.skew:+.0f}" for nursery in site.nurseries),
        "tickets taken back from the dead": states[TrialState.FAIL],
        "epochs trained again": recomputed,
        "trials running or waiting at the end": left,
        "connections at most, and their growth": connections,
        "file descriptors of the spared worker, and their growth": descriptors,
        "workers started": len(site.workers),
        "seconds": round(tally.seconds, 1),
    }
    return Verdict(figures, wrong)


def _same(one: FrozenTrial, other: FrozenTrial) -> bool:
    told = all(one.user_attrs[key] == other.user_attrs[key] for key in EXACT)
    return told and one.values == other.values and one.intermediate_values == other.intermediate_values


def _root(trial: FrozenTrial) -> int:
    return int(trial.system_attrs.get("root", trial.number))


def _recomputed(
    chaos: Chaos, disturbed: list[FrozenTrial], complete: list[FrozenTrial]
) -> tuple[int, list[str], Counter[int]]:
    """At most one epoch for every death at a ticket, and one for each checkpoint that the full disk refused."""
    deaths = Counter(_root(trial) for trial in disturbed if trial.state == TrialState.FAIL)
    refused: Counter[int] = Counter()
    for worker in chaos.site.workers:
        refused.update(int(root) for root in _REFUSED.findall(worker.said()))
    wrong, total = [], 0
    for trial in complete:
        again = trial.user_attrs["epochs_recomputed"]
        total += again
        if again > deaths[_root(trial)] + refused[_root(trial)]:
            wrong.append(f"trial {trial.number}: {again} epochs trained again after {deaths[_root(trial)]} deaths")
    return total, wrong, refused


def _wrong_times(complete: list[FrozenTrial], during: tuple[datetime, datetime]) -> list[str]:
    """By the clock of the database every trial began and ended during the run, whatever its worker's clock said."""
    early, late = during[0] - timedelta(seconds=2), during[1] + timedelta(seconds=2)
    off = [
        trial.number
        for trial in complete
        if trial.datetime_start is None
        or trial.datetime_complete is None
        or not early <= trial.datetime_start <= trial.datetime_complete <= late
    ]
    return [f"times outside the run in trials {off[:5]}"] if off else []


def _wrong_endings(site: Site) -> list[str]:
    """Whoever was not killed ended with 0; nobody showed a traceback. The same complaint of many is told once."""
    ended: Counter[str] = Counter()
    for worker in site.workers:
        said = worker.said()
        if worker.code != 0 and not worker.killed:
            last = (said.strip().splitlines() or ["silent"])[-1].partition("] ")[2]
            ended[f"ended with {worker.code}: {last}"] += 1
        elif "Traceback" in said:
            ended["showed a traceback"] += 1
    return [f"{n} workers {what}" for what, n in ended.items()]


def _wrong_files(site: Site, complete: list[FrozenTrial]) -> list[str]:
    """Only the final masks are left."""
    found = {path.name for path in site.disk.folder.rglob("*") if path.is_file() and "undisturbed" not in str(path)}
    masks = {f"{trial.number}.masks.pt" for trial in complete}
    wrong = [f"files left behind: {sorted(found - masks)[:5]}"] if found - masks else []
    # A full disk may refuse masks, too; then they are missing, with a warning.
    refused = sum(worker.said().count("cannot write the masks") for worker in site.workers)
    if len(masks - found) > refused:
        wrong.append(f"masks missing: {sorted(masks - found)[:5]}")
    return wrong


def _not_enough(chaos: Chaos) -> list[str]:
    tally, plan = chaos.tally, chaos.plan
    asked = {
        "kills at a ticket": (len(tally.holders_killed), plan.kills),
        "restarts": (sum(tally.restarts.values()), plan.restarts),
        "freezes": (len(tally.frozen_trials), plan.freezes),
        "preemptions": (tally.preemptions, plan.preemptions),
        "disk fillings": (tally.disk_fillings, plan.disk_full),
    }
    return [f"{done} {what} where {wanted} were asked for" for what, (done, wanted) in asked.items() if done < wanted]


def _growths(chaos: Chaos, wrong: list[str]) -> tuple[str, str]:
    tally: Tally = chaos.tally
    # For a moment a killed worker's connections outlive it, beside those of the one in its place.
    bound = CONNECTIONS_A_WORKER * (chaos.plan.workers + 1)
    counts = tally.connections
    if max(counts, default=0) > bound:
        wrong.append(f"{max(counts)} connections, where {bound} are allowed")
    deadline = time.monotonic() + PATIENCE  # a connection is gone when the server's process for it is
    while (left := len(chaos.site.ask(CONNECTIONS))) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        wrong.append(f"{left} connections after the last worker had ended")
    samples = max((worker.descriptors for worker in chaos.site.workers), key=len)
    if growth(samples) > DESCRIPTORS_MAY_GROW:
        wrong.append(f"the spared worker's file descriptors grew by {growth(samples):g}")
    # A worker has one connection until two of its threads need one at once, so the number climbs for a while in every
    # run. What must not grow is the number of those that no living worker holds.
    if at_last(tally.orphans) > 0:
        wrong.append(f"{at_last(tally.orphans):g} connections in the last quarter that no living worker holds")
    most = max(samples, default=0)
    return f"{max(counts, default=0)}, {growth(counts):+g}", f"{most} at most, {growth(samples):+g}"


def _span(seconds: list[float]) -> str:
    return f"{min(seconds):.1f} to {max(seconds):.1f}" if seconds else "none"
