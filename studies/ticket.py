"""A claimed ticket: what its worker may do with it, for as long as it is the worker's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState

from studies.attributes import ROOT_ATTR, TRAINED_ATTR
from studies.database.transactions import CONTROL_ATTR, IDENTITY_ATTR, LockedTrial, TrialStore
from studies.errors import TicketLost
from studies.hold import Hold
from studies.pruning import Verdict
from studies.search_space import Params
from studies.spec import StudyPlan
from studies.trial import TrialResult, TrialSpec


@dataclass(frozen=True)
class Report:
    """The objective after an epoch.

    Attributes:
        epoch: from 0.
        val_accuracy: mean over the seeds, a fraction.
        replayed: whether it comes from a checkpoint, and was not trained (again) just now.
    """

    epoch: int
    val_accuracy: float
    replayed: bool = False


@dataclass(frozen=True)
class Answer:
    """What a worker learns when it reports.

    Attributes:
        prune: whether the pruner wants the trial stopped. Never for the reference, which others are compared with.
        recalled: whether the campaign was stopped, so that this ticket should be given back.
    """

    prune: bool
    recalled: bool


class Ticket:
    """A trial that is this worker's: it trains the trial and tells how it went.

    Whatever it writes takes effect only while the trial is still its own. `beat`, `complete`, `prune`, `fail` and
    `give_back` return False, and log one line, if it was taken back meanwhile; nothing is changed then. After the
    last four the ticket is closed and writes nothing more. All may raise StorageError: the database is away for too
    long. Beats may come from one thread and reports from another, but whoever finishes the trial or gives it back waits
    for its reports first: one that comes later does not count.

    Attributes:
        number: of the trial, within its study.
        spec: what to train.
        worker: whose it is.
        attempt: 1 for the first, more if earlier workers died.
        epochs_trained: how many epochs were trained for it and reported, earlier attempts and repetitions included.
        folder: where its files are, relative to the checkpoint folder.
    """

    def __init__(self, hold: Hold, store: TrialStore, plan: StudyPlan, params: Params, folder: str) -> None:
        claim = hold.claim
        hold.mend = self._mend
        self._hold, self._store = hold, store
        self.number, self.worker, self.attempt = claim.number, claim.worker, claim.attempt
        self.epochs_trained: int = claim.attrs.get(TRAINED_ATTR, 0)
        self.spec = TrialSpec(campaign=plan.spec.name, study=plan.name, number=claim.number, config=plan.config(params))
        self.folder = folder
        self._values = dict(claim.reported)
        self._noted: dict[str, Any] = {}
        self._verdict = Verdict.of(plan, claim.number, claim.attrs)

    @property
    def checkpoint_key(self) -> str:
        """A relative path, without extension, for the checkpoint: the same for every attempt at this ticket."""
        return f"{self.folder}/{int(self._hold.claim.attrs.get(ROOT_ATTR, self.number))}"

    @property
    def heartbeat_interval(self) -> float | None:
        """Seconds between the beats that keep this ticket; None where nobody sweeps."""
        return self._hold.heartbeat_interval

    @property
    def val_accuracy(self) -> float | None:
        """What was reported of the last epoch; None before the first report."""
        return self._values[max(self._values)] if self._values else None

    def __str__(self) -> str:
        return str(self._hold.claim)

    @property
    def is_certain(self) -> bool:
        """Whether this ticket is certainly still this worker's, by when it last beat; False says only: not known."""
        return self._hold.is_certain

    def beat(self) -> bool:
        """Tell the database that this worker is alive. Call it every heartbeat interval of the storage."""
        return self._hold.beat()

    def report(self, epoch: int, val_accuracy: float, *, replayed: bool = False) -> bool:
        """Store the objective after an epoch, and tell whether the pruner wants the trial stopped; see `tell`."""
        return self.tell([Report(epoch, val_accuracy, replayed)]).prune

    def tell(self, reports: Sequence[Report]) -> Answer:
        """Store the objective after one epoch or several, all or none of them, and ask the pruner about each in turn.

        When it returns, they are stored for good. The pruner is asked once about an epoch: not about one that was
        reported before and is trained or replayed again, not about any after one that made it stop the trial, and never
        about the reference, which others are compared with. What it says of a replayed epoch does not count, as the
        trial was not stopped there when it was trained.

        Arguments:
            reports: in the order of training.

        Raises:
            TicketLost: the ticket is not this worker's any more, and nothing was stored; stop training.
            StorageError: the database is away for too long.
        """
        trained = self.epochs_trained
        for report in reports:
            # A replayed epoch was trained, even if whoever did so was killed before telling.
            trained = max(trained, report.epoch + 1) if report.replayed else trained + 1
        values, answer, verdict = self._values, Answer(prune=False, recalled=False), self._verdict

        def change(trial: LockedTrial) -> None:  # may be run again, and then begins with what was known before
            nonlocal values, answer, verdict
            values, verdict = dict(self._values), self._verdict
            trial.report({report.epoch: report.val_accuracy for report in reports})
            noted: dict[str, Any] = {} if trained == self.epochs_trained else {TRAINED_ATTR: trained}
            for report in reports:
                is_new = report.epoch not in values
                values[report.epoch] = report.val_accuracy
                if is_new:
                    verdict = verdict.after(values, trial, replayed=report.replayed)
            trial.set_system_attrs({**noted, **verdict.noted})
            answer = Answer(prune=verdict.stop and not self._verdict.stop, recalled=trial.control == "stop")

        if not self._hold.write(change, "report"):
            raise TicketLost(f"{self} was taken back from {self.worker}.")
        self._noted |= verdict.noted
        self._values, self._verdict = values, verdict.settled()
        self.epochs_trained = trained
        return answer

    def _mend(self, trial: LockedTrial) -> None:
        """Store again what was told and is not there: the server was set back to an earlier state of this claim."""
        if trial.system_attrs.get(TRAINED_ATTR, 0) < self.epochs_trained:
            trial.report(self._values)
            trial.set_system_attrs({**self._noted, TRAINED_ATTR: self.epochs_trained})

    def recalled(self) -> bool:
        """Whether the campaign was stopped, so that this ticket should be given back.

        Raises:
            TicketLost: the study was deleted.
            StorageError: the database is away for too long.
        """
        claim = self._hold.claim
        try:
            attrs = self._store.run(lambda transaction: transaction.glance(claim.study_id))
        except KeyError:
            attrs = None
        if attrs is None or attrs.get(IDENTITY_ATTR) != claim.identity:
            raise TicketLost(f"{self}: the study was deleted.")
        return attrs.get(CONTROL_ATTR) == "stop"

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
