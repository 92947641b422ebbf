"""The queue of one study: tickets are its waiting trials, and every step of a ticket's life is one transaction.

    waiting ──claim──▶ running ──complete──▶ complete
       ▲                 │ ├─────prune─────▶ pruned
       │                 │ ├─────fail──────▶ failed
       ├────give_back────┘ │
       └─(a new ticket)◀─sweep: its worker is dead; the trial itself becomes failed, "retried" in counts

A claim writes a random token into the trial. Whoever writes later does so with the trial locked, and only if it is
running with that token. So a worker that was thought dead and wakes up late cannot change anything, and a step whose
answer was lost on the way recognises its own work when it is repeated.

Numbers of studies and trials come back: SQLite gives those of a deleted study to the next one, and a server that was
set back to an earlier state (a failover, a restored backup) gives out again what it has forgotten. So every step checks
in its own transaction that the study is the one this queue was made for, by its identity (`StudyIdentity`).
"""

import secrets
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from studies.attributes import (
    CLAIM_ATTR,
    PAIR_ATTR,
    PLANNED_ATTR,
    SETTINGS_ATTR,
    settings_hash,
    stored_spec,
    successor_attrs,
)
from studies.database.retrying import seconds
from studies.database.transactions import (
    CONTROL_ATTR,
    Counts,
    LockedTrial,
    StudyIdentity,
    Transaction,
    TrialStore,
)
from studies.database.trial_store import trial_store
from studies.death import bury
from studies.errors import BadInput, NotFound, StorageError, not_found
from studies.hold import Claim, Hold
from studies.sampling import Drawing
from studies.spec import StudyPlan
from studies.stored_study import find_study, store_study
from studies.ticket import Ticket
from studies.ticket_files import files_kept, folder_of

T = TypeVar("T")


class TicketQueue:
    """The tickets of one stored study. Made by `create` and `open`; may be shared by threads.

    It remembers what it has read of finished trials, so that whoever claims often should keep it.

    Attributes:
        plan: the study as specified.
        identity: what tells the study from others that have its number later. After it was deleted or replaced, every
            method but `sweep` raises NotFound, whatever has its number or its name then.
    """

    def __init__(self, storage: BaseStorage, study_id: int, plan: StudyPlan, identity: StudyIdentity) -> None:
        self.plan, self.identity = plan, identity
        self._study_id = study_id
        self._store: TrialStore = trial_store(storage)

    @property
    def name(self) -> str:
        """The name of the study."""
        return self.plan.name

    @property
    def study_id(self) -> int:
        """The storage's number of the study; another one may have it once this one is deleted."""
        return self._study_id

    @property
    def folder(self) -> str:
        """Where the files of its trials are, relative to the checkpoint folder."""
        return folder_of(self.name, self.identity.word)

    @classmethod
    def create(cls, storage: BaseStorage, plan: StudyPlan) -> "TicketQueue":
        """Store the study with all its tickets, or take up what an earlier `create` of the same plan stored.

        All tickets are stored in one transaction: after a crash there are all or none, and none are then made good by
        the next `create`. Any number of processes may create the same study at once.

        Raises:
            CampaignExists: a study of that name is stored, with another specification.
            SpecVersionError: or in another format.
            StorageError: the database is away for too long.
        """
        study_id, stored = store_study(storage, plan)
        return cls(storage, study_id, plan, StudyIdentity.of(stored))

    @classmethod
    def open(cls, storage: BaseStorage, name: str) -> "TicketQueue":
        """The queue of a stored study.

        Arguments:
            storage: what `open_storage` returned.
            name: of the study, CAMPAIGN/METHOD-sSPARSITY-DISTRIBUTION.

        Raises:
            NotFound: no such study is stored.
            SpecVersionError: it was written by a version of rigl-study with another format.
            StorageError: the database is away for too long.
        """
        study_id = find_study(storage, name)
        attrs = {} if study_id is None else storage.get_study_user_attrs(study_id)
        if study_id is None or PLANNED_ATTR not in attrs:
            raise not_found("study", name, optuna.study.get_all_study_names(storage))
        plan = StudyPlan(spec=stored_spec(name, attrs), pair=attrs[PAIR_ATTR])
        return cls(storage, study_id, plan, StudyIdentity.of(attrs))

    def _run(self, change: Callable[[Transaction, str], T]) -> T:
        """A transaction on the study that begins with a look at whether it still is the same.

        Arguments:
            change: gets the transaction, and what the user wants of the study's workers.

        Raises:
            NotFound: the study was deleted, or another one has its number now.
            StorageError: the database is away for too long.
        """

        def checked(transaction: Transaction) -> T:
            attrs = transaction.glance(self._study_id)
            if StudyIdentity.of(attrs) != self.identity:
                raise KeyError(self._study_id)
            return change(transaction, str(attrs.get(CONTROL_ATTR) or "run"))

        try:
            return self._store.run(checked)
        except KeyError:
            raise NotFound(f"{self.name} was deleted.") from None

    def claim(self, worker: str) -> Ticket | None:
        """Take the waiting ticket of the lowest number; None when none waits or the campaign is paused or stopped.

        The ticket is this worker's from then on, as long as it beats. Parameters it lacks are drawn now.

        Arguments:
            worker: who claims, for the record.

        Raises:
            NotFound: the study was deleted.
            StorageError: the database is away for too long.
            Exception: what the sampler raised, or `BadInput` if the drawn configuration is impossible. The trial has
                been failed with that reason.
        """
        asked_at, token = seconds(), f"{worker}:{secrets.token_hex(8)}"
        before: Claim | None = None

        def take(transaction: Transaction, control: str) -> Claim | None:
            nonlocal before
            if before is not None:  # this is run again: what was claimed may be stored, and only the answer lost
                mine = transaction.lock(before.trial_id)
                if mine.state == TrialState.RUNNING and before.is_of(mine):
                    mine.beat()
                    return before
            if control != "run":
                return None
            trial = transaction.lock_next_waiting(self._study_id)
            if trial is None:
                return None
            before = Claim(
                study=self.name,
                study_id=self._study_id,
                identity=self.identity.word,
                trial_id=trial.trial_id,
                number=trial.number,
                token=token,
                worker=worker,
                attrs=dict(trial.system_attrs),
                reported=trial.reported(),
                drawn=trial.drawn(),
                asked_at=asked_at,
            )
            trial.set_system_attrs({CLAIM_ATTR: token})
            trial.beat()  # here, because a trial that never beat would never be found dead
            trial.become(TrialState.RUNNING)
            return before

        claim = self._run(take)
        return None if claim is None else self._fill(claim)

    def _fill(self, claim: Claim) -> Ticket:
        """Draw the missing parameters; if that fails, the trial is not left running with nobody at it."""
        hold = Hold(self._store, claim)
        try:
            others = partial(self._store.begun, self._study_id)
            drawing = Drawing(self.plan, claim.number, claim.attrs, claim.drawn, others)
            ticket = Ticket(hold, self._store, self.plan, drawing.draw(), self.folder)
            settings = settings_hash(ticket.spec.config)

            def note(trial: LockedTrial) -> None:
                if trial.system_attrs.get(SETTINGS_ATTR) != settings:  # else this is run again, its answer lost
                    trial.set_drawn(drawing.params)
                    trial.set_system_attrs({**drawing.system_attrs, SETTINGS_ATTR: settings})

            hold.write(note, "claim")  # if it was taken back already, the first report will tell
            hold.settings = settings
            return ticket
        except StorageError:  # nothing can be written now; the missing beats will tell
            raise
        except Exception as error:
            hold.fail(error)
            raise
        except BaseException:
            hold.give_back("interrupted while it was being claimed")
            raise

    def sweep(self) -> int:
        """Issue the tickets of dead workers again: those not heard of for the storage's grace period.

        The dead trial becomes failed and a waiting ticket with its parameters takes its place, both or neither,
        however many sweep at once. After `studies.death.MAX_DEATHS` there is no further ticket. Never the case in
        memory.

        Returns:
            How many trials were found dead.

        Raises:
            StorageError: the database is away for too long.
        """
        stale = self._store.stale(self._study_id)
        word = self.identity.word
        return sum(bury(self._store, self._study_id, word, self.name, trial_id) for trial_id in stale)

    def retry(self, number: int) -> int:
        """Issue the ticket of a failed or pruned trial again.

        Returns:
            The number of the new ticket.

        Raises:
            NotFound: there is no such trial.
            BadInput: the trial is in another state, or is being tried again already.
            StorageError: the database is away for too long.
        """
        asked = False

        def change(transaction: Transaction, _control: str) -> int:
            nonlocal asked
            try:
                trial = transaction.lock_numbered(self._study_id, number)
            except KeyError:
                raise NotFound(f"{self.name} has no trial {number}.") from None
            if trial.state not in (TrialState.FAIL, TrialState.PRUNED):
                state = trial.state.name.lower()
                raise BadInput(f"trial {number} of {self.name} is {state}; only a failed or pruned one can be retried.")
            successor = transaction.successor_of(self._study_id, number)
            if successor is not None and not asked:
                raise BadInput(f"trial {number} of {self.name} is tried again already, as trial {successor}.")
            if successor is not None:  # this is run again because its answer was lost
                return successor
            asked = True
            return transaction.append(self._study_id, [successor_attrs(trial, attempt=1, deaths=0)])

        return self._run(change)

    def counts(self) -> Counts:
        """How many trials are in which state, and the best value; quick even for thousands.

        Raises:
            NotFound: the study was deleted.
            StorageError: the database is away for too long.
        """
        return self._run(lambda transaction, _: transaction.counts(self._study_id))

    def trials(self) -> list[FrozenTrial]:
        """All trials by number with everything that is stored of them. Not to be changed.

        Raises:
            NotFound: the study was deleted.
            StorageError: the database is away for too long.
        """
        found = self._store.trials(self._study_id)
        self._run(lambda *_: None)  # after it: a study that is there now was there then
        return found

    def files_kept(self) -> frozenset[str] | None:
        """See `studies.ticket_files.files_kept`.

        Raises:
            NotFound: the study was deleted.
            StorageError: the database is away for too long.
        """
        return files_kept(self.trials())

    def control(self) -> str:
        """What its workers should do: "run", "pause" (hand out no more tickets) or "stop" (also give back).

        Raises:
            NotFound: the study was deleted.
            StorageError: the database is away for too long.
        """
        return self._run(lambda _, control: control)
