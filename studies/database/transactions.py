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
    from optuna.storages import BaseStorage
    from optuna.trial import TrialState

T = TypeVar("T")

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


class LockedTrial(Protocol):
    """A trial that nobody else can change until the transaction ends."""

    trial_id: int
    number: int

    @property
    def state(self) -> "TrialState":
        """Its state now."""

    @property
    def system_attrs(self) -> Mapping[str, Any]:
        """Its system attributes when it was locked."""

    def params(self) -> dict[str, Any]:
        """The searched parameters set so far."""

    def reported(self) -> Sequence[int]:
        """The epochs it has reported."""

    def report(self, epoch: int, value: float) -> None:
        """Store the objective after an epoch; the same epoch again overwrites."""

    def set_system_attr(self, key: str, value: Any) -> None:
        """Store a JSON value for the service's own use."""

    def set_user_attr(self, key: str, value: Any) -> None:
        """Store a JSON value for people and reports."""

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

    def lock_next_waiting(self, study_id: int) -> LockedTrial | None:
        """The waiting trial of the lowest number that nobody else is claiming at this moment."""

    def successor_of(self, study_id: int, number: int) -> int | None:
        """The number of the trial that takes the place of trial `number`, if there is one."""

    def append(self, study_id: int, tickets: Sequence[Mapping[str, Any]]) -> int:
        """Add waiting trials with these system attributes.

        Returns:
            The number of the first one.
        """

    def study_attrs(self, study_id: int) -> dict[str, Any]:
        """Lock the study and tell its user attributes.

        Raises:
            KeyError: there is no such study (any more).
        """

    def set_study_attrs(self, study_id: int, attrs: Mapping[str, Any]) -> None:
        """Store user attributes of the study."""


class TrialStore(Protocol):
    """Transactions and quick questions on one storage."""

    storage: "BaseStorage"
    "For samplers and pruners: may leave out waiting trials, which they have no use for."
    heartbeat_interval: float | None
    "Seconds between the beats of a running trial; None where nobody looks for the dead."

    def run(self, change: Callable[[Transaction], T]) -> T:
        """Do `change` completely or not at all; it is run again if the database went away in the middle.

        Raises:
            StorageError: the database is away for too long or refuses.
        """

    def stale(self, study_id: int) -> list[int]:
        """The ids of running trials that look dead. To be asked again under lock (`LockedTrial.is_stale`)."""

    def counts(self, study_id: int) -> Counts:
        """How far the study is, without reading its trials one by one.

        Raises:
            KeyError: there is no such study (any more).
        """
