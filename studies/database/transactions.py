"""Changes of trials that happen completely or not at all, each on rows that nobody else can change meanwhile.

Optuna's storage interface changes one thing a call: a worker that dies between two calls leaves a claimed trial without
an owner, a dead one without its successor. Here a whole step of the queue (claim, finish, give back, sweep) is one
function that gets a `Transaction`; it may be run again when the database went away in the middle, so it must look at
what it finds before it writes. `studies.database.transactions_memory` and
`studies.database.transactions_rdb` implement it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, TrialState

T = TypeVar("T")

CONTROL_ATTR = "control"
"""User attribute of a study, what the user wants of its workers: "run", "pause" (hand out no more tickets) or "stop"
(give back as well)."""

IDENTITY_ATTR = "identity"
"""User attribute of a study: a random word, written with its tickets. A study's number is no name for it: SQLite gives
the number of a deleted study to the next one, and so does a server that was set back to an earlier state."""

SPEC_ATTR = "spec"
"""User attribute of a study: the specification of its campaign, as JSON."""

RETRY_OF_ATTR = "retry_of"
"""System attribute of a ticket that takes the place of another: the number of that other trial."""


@dataclass(frozen=True)
class Counts:
    """How far a study is, in trials. `failed` are final failures; `retried` those whose ticket was issued again.

    `best` is the highest value of a complete trial, a fraction, or None.
    """

    waiting: int = 0
    running: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    retried: int = 0
    best: float | None = None

    @classmethod
    def of(cls, states: Mapping[str, int], *, retried: int, best: float | None) -> "Counts":
        """From the number of trials in each of Optuna's states, by name, and how many failed ones have a successor."""
        return cls(
            waiting=states.get("WAITING", 0),
            running=states.get("RUNNING", 0),
            complete=states.get("COMPLETE", 0),
            pruned=states.get("PRUNED", 0),
            failed=states.get("FAIL", 0) - retried,
            retried=retried,
            best=best,
        )

    @property
    def is_done(self) -> bool:
        """Whether no trial waits or runs."""
        return self.waiting + self.running == 0


@dataclass(frozen=True)
class StudyIdentity:
    """What tells a study from every other one that has, had or will have its number.

    Attributes:
        word: its IDENTITY_ATTR; None for a study that version 0.1 stored, which the specification alone must tell.
        spec: its specification as stored.
    """

    word: str | None
    spec: str

    @classmethod
    def of(cls, attrs: Mapping[str, Any]) -> "StudyIdentity":
        """The identity of a study with these user attributes."""
        return cls(attrs.get(IDENTITY_ATTR), str(attrs.get(SPEC_ATTR)))


@dataclass(frozen=True)
class Drawn:
    """A value of a searched parameter as Optuna stores it: a number, and the distribution that tells what it means."""

    internal: float
    distribution: "BaseDistribution"


@dataclass(frozen=True)
class Completed:
    """The complete trials of a study as they were after one epoch.

    Attributes:
        n_trials: how many complete trials there are.
        values: what those reported that reached this epoch, in ascending order; what is no number comes last.
    """

    n_trials: int
    values: Sequence[float]


class OtherTrials(Protocol):
    """What decides whether a trial should go on."""

    def completed_at(self, epoch: int) -> Completed:
        """The complete trials after `epoch` (from 0)."""

    def noted(self, key: str) -> Mapping[int, float]:
        """The system attribute `key`, a number, of all other trials of the study that have it, by trial number."""


class LockedTrial(OtherTrials, Protocol):
    """A trial that nobody else can change until the transaction ends, and what the others of its study reported."""

    trial_id: int
    study_id: int
    number: int

    @property
    def state(self) -> "TrialState":
        """Its state now."""

    @property
    def system_attrs(self) -> Mapping[str, Any]:
        """Its system attributes when it was locked."""

    def drawn(self) -> dict[str, Drawn]:
        """The searched parameters set so far, in the order in which they were."""

    def set_drawn(self, params: Mapping[str, Drawn]) -> None:
        """Store searched parameters that are not set yet."""

    def reported(self) -> dict[int, float]:
        """What it has reported, by epoch."""

    def report(self, values: Mapping[int, float]) -> None:
        """Store the objective after each of these epochs; the same epoch again overwrites."""

    def set_system_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Store JSON values for the service's own use."""

    def set_user_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Store JSON values for people and reports."""

    @property
    def control(self) -> str | None:
        """What the user wanted of the study's workers when it was locked (CONTROL_ATTR), if anything was said."""

    @property
    def identity(self) -> str | None:
        """The IDENTITY_ATTR of the study when the trial was locked."""

    def beat(self) -> None:
        """Note, by the database's clock, that its worker is alive."""

    def is_stale(self) -> bool:
        """Whether its last beat is older than the grace period, by the database's clock."""

    def become(self, state: "TrialState", value: float | None = None) -> None:
        """Change its state, and its value when it finishes. The last call: finished trials cannot be changed."""


class Transaction(Protocol):
    """What a step of the queue can do."""

    def lock(self, trial_id: int) -> LockedTrial:
        """Wait until nobody else changes this trial, then keep it.

        Raises:
            KeyError: there is no such trial (any more).
        """

    def try_lock(self, trial_id: int) -> LockedTrial | None:
        """This trial, kept; None if somebody else changes it at this moment, or if it is not there (any more)."""

    def lock_numbered(self, study_id: int, number: int) -> LockedTrial:
        """Wait until nobody else changes the study's trial of this number, then keep it.

        Raises:
            KeyError: there is no such trial (any more).
        """

    def lock_next_waiting(self, study_id: int) -> LockedTrial | None:
        """The waiting trial of the lowest number that nobody else is claiming at this moment."""

    def successor_of(self, study_id: int, number: int) -> int | None:
        """The number of the trial that takes the place of trial `number`, if there is one."""

    def append(self, study_id: int, tickets: Sequence[Mapping[str, Any]]) -> int:
        """Add waiting trials with these system attributes.

        Returns:
            The number of the first one.
        """

    def glance(self, study_id: int) -> dict[str, Any]:
        """The study's CONTROL_ATTR, IDENTITY_ATTR and SPEC_ATTR, those that it has. Locks nothing.

        Raises:
            KeyError: there is no such study (any more).
        """

    def study_attrs(self, study_id: int) -> dict[str, Any]:
        """Lock the study and tell its user attributes.

        Raises:
            KeyError: there is no such study (any more).
        """

    def set_study_attrs(self, study_id: int, attrs: Mapping[str, Any]) -> None:
        """Store user attributes of the study."""

    def counts(self, study_id: int) -> Counts:
        """How far the study is, without reading its trials one by one. Locks nothing."""

    def delete_study(self, study_id: int) -> None:
        """Delete the study with all its trials.

        Raises:
            KeyError: there is no such study (any more).
        """


class TrialStore(Protocol):
    """Transactions and quick questions on one storage."""

    heartbeat_interval: float | None
    "Seconds between the beats of a running trial; None where nobody looks for the dead."
    grace_period: float | None
    "Seconds without a beat after which a running trial counts as dead; None likewise."

    def run(self, change: Callable[[Transaction], T]) -> T:
        """Do `change` completely or not at all; it is run again if the database went away in the middle.

        Raises:
            StorageError: the database is away for too long or refuses.
        """

    def stale(self, study_id: int) -> list[int]:
        """The ids of running trials that look dead. To be asked again under lock (`LockedTrial.is_stale`)."""

    def begun(self, study_id: int) -> "list[FrozenTrial]":
        """The running, complete and pruned trials by number, as far as samplers look at them. Not to be changed.

        They have number, state, parameters and value; running ones have system attributes too, and pruned ones the
        last value they reported.
        """

    def trials(self, study_id: int) -> "list[FrozenTrial]":
        """All trials by number with everything that is stored of them, as Optuna reads them. Not to be changed."""
