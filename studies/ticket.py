"""A claimed ticket: what its worker may do with it, for as long as it is the worker's."""

import logging
import math
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from studies.attributes import (
    ATTEMPT_ATTR,
    CLAIM_ATTR,
    CONTROL_ATTR,
    GIVEN_BACK_ATTR,
    REFERENCE_ATTR,
    ROOT_ATTR,
    TRAINED_ATTR,
)
from studies.database.transactions import LockedTrial, Transaction, TrialStore
from studies.errors import TicketLost
from studies.search_space import Params
from studies.spec import StudyPlan
from studies.trial import TrialResult, TrialSpec

log = logging.getLogger("rigl_study.queue")

TRACEBACK_CHARACTERS = 4000


@dataclass(frozen=True)
class Claim:
    """What a worker got when it claimed.

    Attributes:
        study: name of the study.
        trial_id: the storage's number of the trial.
        number: its number within the study.
        token: what the claim wrote into the trial, different for every claim.
        worker: who claimed.
        attrs: the system attributes of the trial before the claim.
        reported: the epochs that this very trial has reported, before it was given back.
    """

    study: str
    trial_id: int
    number: int
    token: str
    worker: str
    attrs: Mapping[str, Any]
    reported: Sequence[int]

    @property
    def attempt(self) -> int:
        """1 for the first, more if earlier workers died."""
        return int(self.attrs.get(ATTEMPT_ATTR, 1))

    def __str__(self) -> str:
        return f"{self.study}, trial {self.number}"


class Hold:
    """The right to write into a claimed trial: every write looks, with the trial locked, whether it is still held.

    Arguments:
        store: where the trial is.
        claim: what gave the right.
    """

    def __init__(self, store: TrialStore, claim: Claim) -> None:
        self._store, self.claim = store, claim
        self.heartbeat_interval = store.heartbeat_interval
        self._closed = False
        self._lock = threading.Lock()  # a beat of another thread comes before the trial is finished, or not at all

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
            for key, content in {**told, "worker": self.claim.worker, "attempt": self.claim.attempt}.items():
                trial.set_user_attr(key, content)
            trial.become(state, value)

        return self._close(change, state)

    def give_back(self, reason: str) -> bool:
        """Let the trial wait again."""

        def change(trial: LockedTrial) -> None:
            trial.set_system_attr(GIVEN_BACK_ATTR, reason)
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
            if trial.system_attrs.get(CLAIM_ATTR) != self.claim.token:
                return False
            if trial.state == TrialState.RUNNING:
                change(trial)
                return True
            return trial.state == already

        mine = self._store.run(attempt)
        if not mine:
            log.warning("%s was taken back from %s; its %s does not count.", self.claim, self.claim.worker, what)
        return mine


class Ticket:
    """A trial that is this worker's: it trains the trial and tells how it went.

    Whatever it writes takes effect only while the trial is still its own. `beat`, `complete`, `prune`, `fail` and
    `give_back` return False, and log one line, if it was taken back meanwhile; nothing is changed then. After the
    last four the ticket is closed and writes nothing more. All may raise StorageError: the database is away for too
    long. A beat may come from another thread.

    Attributes:
        number: of the trial, within its study.
        spec: what to train.
        worker: whose it is.
        attempt: 1 for the first, more if earlier workers died.
        epochs_trained: how many epochs were trained for it and reported, earlier attempts and repetitions included.
    """

    def __init__(self, hold: Hold, study: optuna.Study, plan: StudyPlan, params: Params) -> None:
        claim = hold.claim
        self._hold, self._study = hold, study
        self.number, self.worker, self.attempt = claim.number, claim.worker, claim.attempt
        self.epochs_trained: int = claim.attrs.get(TRAINED_ATTR, 0)
        self.spec = TrialSpec(campaign=plan.spec.name, study=plan.name, number=claim.number, config=plan.config(params))
        self._is_reference: bool = claim.attrs.get(REFERENCE_ATTR, False)
        self._reported = set(claim.reported)

    @property
    def checkpoint_key(self) -> str:
        """A relative path, without extension, for the checkpoint: the same for every attempt at this ticket."""
        return f"{self.spec.study}/{int(self._hold.claim.attrs.get(ROOT_ATTR, self.number))}"

    @property
    def heartbeat_interval(self) -> float | None:
        """Seconds between the beats that keep this ticket; None where nobody sweeps."""
        return self._hold.heartbeat_interval

    def __str__(self) -> str:
        return str(self._hold.claim)

    def beat(self) -> bool:
        """Tell the database that this worker is alive. Call it every heartbeat interval of the storage."""
        return self._hold.write(lambda trial: trial.beat(), "sign of life")

    def report(self, epoch: int, val_accuracy: float, *, replayed: bool = False) -> bool:
        """Store the objective after an epoch.

        Arguments:
            epoch: from 0. One that was reported before is stored again, without asking the pruner again.
            val_accuracy: mean over the seeds, a fraction.
            replayed: whether it comes from a checkpoint, and was not trained (again) just now.

        Returns:
            Whether the pruner wants the trial stopped. Never for the reference, which others are compared with.

        Raises:
            TicketLost: the ticket is not this worker's any more; stop training.
            StorageError: the database is away for too long.
        """
        trained = self.epochs_trained + (not replayed)

        def change(trial: LockedTrial) -> None:
            trial.report(epoch, val_accuracy)
            if not replayed:
                trial.set_system_attr(TRAINED_ATTR, trained)  # a number, not "one more": it may be written twice

        if not self._hold.write(change, "report"):
            raise TicketLost(f"{self} was taken back from {self.worker}.")
        self.epochs_trained = trained
        is_new = epoch not in self._reported
        self._reported.add(epoch)
        if not is_new or self._is_reference:
            return False
        try:
            frozen = self._study._storage.get_trial(self._hold.claim.trial_id)
            return bool(self._study.pruner.prune(self._study, frozen))  # numpy's own, for some
        except (UpdateFinishedTrialError, KeyError):  # asha notes the rung in the trial, which was just taken back
            raise TicketLost(f"{self} was taken back from {self.worker}.") from None

    def recalled(self) -> bool:
        """Whether the campaign was stopped, so that this ticket should be given back.

        Raises:
            TicketLost: the study was deleted.
            StorageError: the database is away for too long.
        """
        try:
            return bool(self._study.user_attrs.get(CONTROL_ATTR) == "stop")
        except KeyError:
            raise TicketLost(f"{self}: the study was deleted.") from None

    def complete(self, result: TrialResult) -> bool:
        """Tell the result of the whole training. One that is no number fails the trial instead."""
        return self._tell(TrialState.COMPLETE, result)

    def prune(self, result: TrialResult) -> bool:
        """Tell what was reached when `report` said to stop. A result that is no number fails the trial instead."""
        return self._tell(TrialState.PRUNED, result)

    def fail(self, error: BaseException | str) -> bool:
        """Tell why there will be no result: an exception, stored with the end of its traceback, or a text."""
        return self._hold.fail(error)

    def give_back(self, reason: str) -> bool:
        """Let the trial wait again, with its number, parameters and reported epochs, for whoever claims it next."""
        return self._hold.give_back(reason)

    def _tell(self, state: TrialState, result: TrialResult) -> bool:
        if not math.isfinite(result.value):
            return self.fail(f"the validation accuracy is {result.value}")
        return self._hold.finish(state, result.value, result.model_dump(mode="json"))
