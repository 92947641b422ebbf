"""The right to write into a claimed trial, and how it ends."""

import logging
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState

from studies.attributes import ATTEMPT_ATTR, CLAIM_ATTR, GIVEN_BACK_ATTR, SETTINGS_ATTR
from studies.database.retrying import seconds
from studies.database.transactions import Drawn, LockedTrial, Transaction, TrialStore

log = logging.getLogger("rigl_study.queue")

TRACEBACK_CHARACTERS = 4000


@dataclass(frozen=True)
class Claim:
    """What a worker got when it claimed.

    Attributes:
        study: name of the study.
        study_id: the storage's number of the study.
        identity: what tells the study from others that have its number later (IDENTITY_ATTR).
        trial_id: the storage's number of the trial.
        number: its number within the study.
        token: what the claim wrote into the trial, different for every claim.
        worker: who claimed.
        attrs: the system attributes of the trial before the claim.
        reported: what this very trial has reported, by epoch, before it was given back.
        drawn: its searched parameters that were drawn before.
        asked_at: when it was asked for, see `seconds`.
    """

    study: str
    study_id: int
    identity: str | None
    trial_id: int
    number: int
    token: str
    worker: str
    attrs: Mapping[str, Any]
    reported: Mapping[int, float]
    drawn: Mapping[str, Drawn]
    asked_at: float

    @property
    def attempt(self) -> int:
        """1 for the first, more if earlier workers died."""
        return int(self.attrs.get(ATTEMPT_ATTR, 1))

    def is_of(self, trial: LockedTrial) -> bool:
        """Whether this is the last claim of the trial, and the trial one of the study that was claimed from."""
        of_study = trial.study_id == self.study_id and trial.identity == self.identity
        return of_study and trial.system_attrs.get(CLAIM_ATTR) == self.token

    def __str__(self) -> str:
        return f"{self.study}, trial {self.number}"


class Hold:
    """The right to write into a claimed trial: every write looks, with the trial locked, whether it is still held.

    Arguments:
        store: where the trial is.
        claim: what gave the right.

    Attributes:
        settings: the SETTINGS_ATTR that the trial must have; None until it is stored.
        mend: called with the locked trial before each write, to store again what a database has forgotten.
    """

    def __init__(self, store: TrialStore, claim: Claim) -> None:
        self._store, self.claim = store, claim
        self.heartbeat_interval = store.heartbeat_interval
        self.settings: str | None = None
        self.mend: Callable[[LockedTrial], None] = lambda _: None
        self._closed = False
        self._alive_at = claim.asked_at
        self._lock = threading.Lock()  # a beat of another thread comes before the trial is finished, or not at all

    @property
    def is_certain(self) -> bool:
        """Whether nobody can have taken the trial back yet, because it has beaten within the grace period."""
        grace = self._store.grace_period
        return not self._closed and (grace is None or seconds() - self._alive_at < grace)

    def beat(self) -> bool:
        """Tell that the worker is alive."""
        began = seconds()  # the database notes a later time, so that certainty ends before the grace period does
        if not self.write(lambda trial: trial.beat(), "sign of life"):
            return False
        self._alive_at = began
        return True

    def write(self, change: Callable[[LockedTrial], None], what: str) -> bool:
        """Do `change` if the trial runs and is ours; tell, and log, whether that is so."""
        with self._lock:
            return not self._closed and self._attempt(change, what, already=None)

    def fail(self, error: BaseException | str) -> bool:
        """Finish the trial as failed, for the reason given."""
        if isinstance(error, str):
            return self.finish(TrialState.FAIL, None, {"error": error})
        told = {
            "error": " ".join(f"{type(error).__name__}: {error}".split()),
            "traceback": "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:],
        }
        return self.finish(TrialState.FAIL, None, told)

    def finish(self, state: TrialState, value: float | None, told: Mapping[str, Any]) -> bool:
        """Finish the trial, with `told` as its user attributes."""

        def change(trial: LockedTrial) -> None:
            trial.set_user_attrs({**told, "worker": self.claim.worker, "attempt": self.claim.attempt})
            trial.become(state, value)

        return self._close(change, state)

    def give_back(self, reason: str) -> bool:
        """Let the trial wait again."""

        def change(trial: LockedTrial) -> None:
            trial.set_system_attrs({GIVEN_BACK_ATTR: reason})
            trial.become(TrialState.WAITING)

        return self._close(change, TrialState.WAITING)

    def _close(self, change: Callable[[LockedTrial], None], state: TrialState) -> bool:
        with self._lock:
            if self._closed:
                return False
            mine = self._attempt(change, state.name.lower(), already=state)
            self._closed = True
            return mine

    def _attempt(self, change: Callable[[LockedTrial], None], what: str, already: TrialState | None) -> bool:
        """Do `change` if we may. True also if an attempt whose answer was lost has made the trial `already` so."""

        def attempt(transaction: Transaction) -> bool:
            try:
                trial = transaction.lock(self.claim.trial_id)
            except KeyError:  # the campaign was deleted
                return False
            if not self.claim.is_of(trial) or self.settings not in (None, trial.system_attrs.get(SETTINGS_ATTR)):
                return False
            if trial.state == TrialState.RUNNING:
                self.mend(trial)
                change(trial)
                return True
            return trial.state == already

        mine = self._store.run(attempt)
        if not mine:
            log.warning("%s was taken back from %s; its %s does not count.", self.claim, self.claim.worker, what)
        return mine
