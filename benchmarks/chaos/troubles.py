"""What happens to the workers, when, and to whom. Paced by progress, so that a slow machine sees the same."""

import contextlib
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos.samples import ports_of
from benchmarks.chaos.site import Site, Worker
from studies.death import MAX_DEATHS

PATIENCE = 120.0
"""Seconds in which a thing that must come to pass has come to pass, or is a violation."""

CLAIMED = """
SELECT t.trial_id, t.state::text, claim.value_json,
       coalesce(deaths.value_json::int, 0), coalesce(before.value_json::int, 0),
       (SELECT count(*) FROM trial_intermediate_values v WHERE v.trial_id = t.trial_id)
FROM trials t
JOIN trial_system_attributes claim ON claim.trial_id = t.trial_id AND claim.key = 'claim'
LEFT JOIN trial_system_attributes deaths ON deaths.trial_id = t.trial_id AND deaths.key = 'deaths'
LEFT JOIN trial_system_attributes before ON before.trial_id = t.trial_id AND before.key = 'epochs_reported'
JOIN studies s ON s.study_id = t.study_id AND s.study_name = %s
"""
CONNECTIONS = "SELECT client_port FROM pg_stat_activity WHERE application_name = 'rigl-study'"


@dataclass(frozen=True)
class Plan:
    """How much of what: counts of events, and the number of workers."""

    points: int
    epochs: int
    workers: int
    kills: int
    restarts: int
    freezes: int
    preemptions: int
    disk_full: int
    outage: tuple[float, float]
    limit: float


@dataclass
class Tally:
    """What was done and seen."""

    kills: int = 0
    kills_in_outage: int = 0
    restarts: dict[str, int] = field(default_factory=lambda: {"fast": 0, "immediate": 0})
    outage_seconds: list[float] = field(default_factory=list)
    freezes: int = 0
    preemptions: int = 0
    disk_fillings: int = 0
    connections: list[int] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    frozen_trials: set[int] = field(default_factory=set)
    holders_killed: set[int] = field(default_factory=set)
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Claimed:
    """A trial that somebody has or had."""

    trial_id: int
    state: str
    pid: int
    one_more_death_is_poison: bool


class Chaos:
    """Makes trouble until every point is done. Call `run` once."""

    def __init__(self, site: Site, plan: Plan, study: str, campaign: str, seed: int) -> None:
        self.site, self.plan, self.study, self.campaign = site, plan, study, campaign
        self.random = random.Random(seed)
        self.tally = Tally()
        self.claimed: list[Claimed] = []
        self.n_complete = self.n_open = 0
        self.survivor = plan.workers - 1
        """The slot whose worker is never killed or told to stop: its file descriptors are counted."""
        self._frozen: tuple[Worker, int, float] | None = None
        self._thawed: list[Worker] = []
        self._up_again: float | None = None
        self._full_since: float | None = None
        self._began = self._next_kill = self._next_look = 0.0
        # Fractions of the points that are complete, at each of which one such thing happens.
        self._due = {
            "restart": self._spread(plan.restarts),
            "freeze": self._spread(plan.freezes),
            "preemption": self._spread(plan.preemptions),
            "disk": self._spread(plan.disk_full),
        }

    def _spread(self, n: int) -> list[float]:
        return [(i + self.random.uniform(0.1, 0.9)) / n * 0.9 for i in range(n)]

    def run(self) -> Tally:
        """Start the workers, and see to it that there are as many until all is done."""
        self._began = time.monotonic()
        self._next_kill = self._began + 2.0
        for slot in range(self.plan.workers):
            self.site.start(slot, self.campaign)
        self.n_open = self.plan.points
        while self.n_open or self._up_again is not None or self._frozen is not None:
            if time.monotonic() - self._began > self.plan.limit:
                self.tally.violations.append(f"not done after {self.plan.limit:.0f} s")
                break
            self._look()
            self._disturb()
            self._replace()
            time.sleep(0.05)
        self._wait(lambda: not self.site.alive(), "the workers ended by themselves")
        self.tally.seconds = time.monotonic() - self._began
        return self.tally

    def _wait(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                self.tally.violations.append(f"it did not happen that {what}")
                return
            time.sleep(0.05)

    def _look(self, *, now: bool = False) -> None:
        if not self.site.is_up or (time.monotonic() < self._next_look and not now):
            return
        self._next_look = time.monotonic() + 0.4
        self.claimed = [
            Claimed(trial, state, int(claim.split(":")[1]), deaths == MAX_DEATHS - 1 and reported <= before)
            for trial, state, claim, deaths, before, reported in self.site.ask(CLAIMED, self.study)
        ]
        states = [one.state for one in self.claimed]
        self.n_complete = states.count("COMPLETE")
        (counted,) = self.site.ask(
            "SELECT count(*) FROM trials JOIN studies USING (study_id) WHERE study_name = %s "
            "AND state IN ('WAITING', 'RUNNING')",
            self.study,
        )
        self.n_open = counted[0]
        killed = {worker.pid for worker in self.site.workers if worker.killed}
        for one in self.claimed:
            if one.state in ("RUNNING", "FAIL") and one.pid in killed and one.trial_id not in self.tally.frozen_trials:
                self.tally.holders_killed.add(one.pid)
        alive = self.site.alive()
        connected = {port for (port,) in self.site.ask(CONNECTIONS)}
        self.tally.connections.append(len(connected))
        self.tally.orphans.append(len(connected - ports_of([worker.pid for worker in alive])))
        for worker in alive:
            if worker.slot == self.survivor:
                with contextlib.suppress(FileNotFoundError):  # it has just ended
                    worker.descriptors.append(len(list(Path(f"/proc/{worker.pid}/fd").iterdir())))
        width = len(str(self.plan.points))
        sys.stderr.write(
            f"\r{time.monotonic() - self._began:6.0f} s  {self.n_complete:{width}} of {self.plan.points} complete, "
            f"{len(self.tally.holders_killed)} killed at a ticket, {sum(self.tally.restarts.values())} restarts "
        )
        sys.stderr.flush()

    def _take(self, kind: str) -> bool:
        due = self._due[kind]
        if due and self.n_complete / self.plan.points >= due[0]:
            due.pop(0)
            return True
        return False

    def _disturb(self) -> None:
        self._kill()
        self._freeze_or_thaw()
        self._fill_or_free()
        if self._up_again is not None:
            if time.monotonic() >= self._up_again:
                self.site.start_server()
                self._up_again = None
        elif self._take("restart"):
            self._look(now=True)
            kind = "fast" if sum(self.tally.restarts.values()) % 2 == 0 else "immediate"
            self.site.stop_server(fast=kind == "fast")
            seconds = self.random.uniform(*self.plan.outage)
            self.tally.restarts[kind] += 1
            self.tally.outage_seconds.append(seconds)
            self._up_again = time.monotonic() + seconds
        if self._up_again is None and self._take("preemption"):
            victims = self._holders()
            victim = self.random.choice(victims) if victims else None
            if victim is not None and victim.signal(signal.SIGTERM):
                victim.told_to_stop = True
                self.tally.preemptions += 1
            else:
                self._due["preemption"].insert(0, 0.0)

    def _holders(self) -> list[Worker]:
        running = {one.pid for one in self.claimed if one.state == "RUNNING"}
        return [worker for worker in self._mortal() if worker.pid in running]

    def _mortal(self) -> list[Worker]:
        frozen = self._frozen[0] if self._frozen else None
        return [
            worker
            for worker in self.site.alive()
            if worker.slot != self.survivor
            and worker is not frozen
            and not worker.killed
            and not worker.told_to_stop
            # One that was thawed must have time to say what does not count any more.
            and (worker not in self._thawed or "was taken back" in worker.said())
        ]

    def _kill(self) -> None:
        """A random worker, whatever it does, but not one whose third death in a row would make its ticket poison.

        As many as keep step with the points that are complete, a little ahead of them, at random moments.
        """
        done = self.n_complete / self.plan.points
        behind = self.plan.kills * min(1.0, (done + 0.1) / 0.8) - len(self.tally.holders_killed)
        if behind <= 0 or time.monotonic() < self._next_kill:
            return
        self._next_kill = time.monotonic() + self.random.uniform(0.1, 1.0) / max(1.0, behind / self.plan.workers)
        # Now and then one that has no ticket: it starts, or looks for one.
        if victims := self._mortal() if self.random.random() < 0.2 else self._holders():
            victim = self.random.choice(victims)
            if self._hold(victim):
                victim.killed = True
                victim.signal(signal.SIGKILL)
                self.tally.kills += 1
                self.tally.kills_in_outage += self._up_again is not None

    def _freeze_or_thaw(self) -> None:
        """Freeze one that has a ticket until somebody has taken that from it, then let it finish its sentence."""
        if self._frozen is None:
            if self.site.is_up and self._take("freeze"):
                victims = self._holders()
                if victims and self._hold(victim := self.random.choice(victims)):
                    trials = [one.trial_id for one in self.claimed if (one.pid, one.state) == (victim.pid, "RUNNING")]
                    if trials:
                        self._frozen = (victim, trials[0], time.monotonic() + PATIENCE)
                        self.tally.freezes += 1
                        return
                    victim.signal(signal.SIGCONT)  # it has just ended its trial
                self._due["freeze"].insert(0, 0.0)
            return
        worker, trial_id, deadline = self._frozen
        state = next(one.state for one in self.claimed if one.trial_id == trial_id)
        if state != "RUNNING" or time.monotonic() > deadline:
            if state == "FAIL":
                self.tally.frozen_trials.add(trial_id)
                self._thawed.append(worker)
            worker.signal(signal.SIGCONT)
            self._frozen = None

    def _hold(self, victim: Worker) -> bool:
        """Stop it for now, so that what a look finds stays true, unless it has ended or must be spared."""
        if not victim.signal(signal.SIGSTOP):
            return False
        self._look(now=True)
        if spared := self._is_spared(victim):
            victim.signal(signal.SIGCONT)
        return not spared

    def _is_spared(self, worker: Worker) -> bool:
        return any(o.pid == worker.pid and o.state == "RUNNING" and o.one_more_death_is_poison for o in self.claimed)

    def _fill_or_free(self) -> None:
        """Fill the disk until a checkpoint was refused, and a little longer."""
        if self._full_since is None:
            if self._take("disk"):
                self.site.disk.fill()
                self.tally.disk_fillings += 1
                self._full_since = time.monotonic()
        elif time.monotonic() - self._full_since > 3.0 and (
            any("cannot write the" in worker.said() for worker in self.site.workers)
            or time.monotonic() - self._full_since > PATIENCE
        ):
            self.site.disk.free()
            self._full_since = None

    def _replace(self) -> None:
        """For each slot without a worker a new one, unless there is nothing left to do."""
        taken = {worker.slot for worker in self.site.alive()}
        for slot in range(self.plan.workers):
            if slot not in taken and self.n_open:
                self.site.start(slot, self.campaign)
