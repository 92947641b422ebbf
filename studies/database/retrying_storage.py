"""An Optuna storage that rides out an outage of its database.

It is a storage itself because Optuna's own code, its dashboard above all, calls the storage it is given: a retry in our
code would not reach that.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat  # private, but what Optuna asks `isinstance` of
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from studies.database.retrying import CommitOutcomeUnknown, Retrier
from studies.database.storage_url import StorageUrl
from studies.errors import StorageError

T = TypeVar("T")


def _retried(name: str) -> Any:
    """A method of RetryingStorage that repeats the inner storage's method of that name; for calls that may run twice.

    Reads, and writes that overwrite (attributes, intermediate values, parameters, heartbeats).
    """

    def method(self: "RetryingStorage", *args: Any, **kwargs: Any) -> Any:
        return self.retrier(getattr(self.rdb, name), *args, **kwargs)

    method.__name__ = name
    return method


class RetryingStorage(BaseStorage, BaseHeartbeat):
    """An Optuna storage whose every call rides out an outage, and takes effect at most once.

    The calls that may not simply run twice are spelled out below: after a lost COMMIT they look first whether they took
    effect. There is no cache, as Optuna puts around such a storage: it knows studies and trials by their numbers, and
    shows those of a deleted study when its number is given to the next one.

    Arguments:
        rdb: Optuna's relational storage, whose own calls are not retried.
        retrier: how long and how to wait.
    """

    def __init__(self, rdb: RDBStorage, retrier: Retrier) -> None:
        self.rdb, self.retrier = rdb, retrier

    @property
    def url(self) -> StorageUrl:
        """Where the storage is."""
        return self.retrier.url

    def close(self) -> None:
        """Close all connections. The storage opens new ones when it is used again."""
        self.rdb.engine.dispose()

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Create a study, see Optuna.

        If an attempt was interrupted, a study of that name is taken to be its work: create studies under `exclusive`.
        """

        def settled() -> int | None:
            found = [s for s in self.rdb.get_all_studies() if s.study_name == study_name]
            return found[0]._study_id if found else None

        # Optuna stores the study in one transaction and reads its number in the next: any failure may be the second's.
        return self._at_most_once(lambda: self.rdb.create_new_study(directions, study_name), settled, unsure=Exception)

    def delete_study(self, study_id: int) -> None:
        """Delete a study with its trials, see Optuna."""

        def settled() -> bool | None:
            return all(study._study_id != study_id for study in self.rdb.get_all_studies()) or None

        self._at_most_once(lambda: self.rdb.delete_study(study_id), settled)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial, see Optuna.

        Raises:
            StorageError: also when COMMIT was lost, as nothing tells whether the trial exists. Tickets are not created
                this way: `studies.database.transactions` can look.
        """

        def settled() -> int | None:
            raise StorageError(f"the connection to {self.url} was lost while a trial was being created; it may exist")

        return self._at_most_once(lambda: self.rdb.create_new_trial(study_id, template_trial), settled)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Change a trial's state, see Optuna.

        After a lost COMMIT nobody knows who made a RUNNING trial so. A claim then counts as lost, and a return to
        WAITING as done: at worst the trial is RUNNING without an owner, which the stale sweep puts right, while the
        other choice could run it twice.
        """

        def settled() -> bool | None:
            trial = self.rdb.get_trial(trial_id)
            if state.is_finished():
                same = trial.state == state and (values is None or trial.values == list(values))
                return True if same else None
            if state == TrialState.WAITING:
                return True
            return None if trial.state == TrialState.WAITING else False

        return self._at_most_once(lambda: self.rdb.set_trial_state_values(trial_id, state, values), settled)

    def _at_most_once(
        self,
        attempt: Callable[[], T],
        settled: Callable[[], T | None],
        unsure: type[Exception] = CommitOutcomeUnknown,
    ) -> T:
        """Retry `attempt`, but once it failed with `unsure` ask `settled` first, whose result counts unless None."""
        outcome_unknown = False

        def careful() -> T:
            nonlocal outcome_unknown
            if outcome_unknown and (result := settled()) is not None:
                return result
            try:
                return attempt()
            except unsure:
                outcome_unknown = True
                raise

        return self.retrier(careful)

    set_study_user_attr = _retried("set_study_user_attr")
    set_study_system_attr = _retried("set_study_system_attr")
    get_study_id_from_name = _retried("get_study_id_from_name")
    get_study_name_from_id = _retried("get_study_name_from_id")
    get_study_directions = _retried("get_study_directions")
    get_study_user_attrs = _retried("get_study_user_attrs")
    get_study_system_attrs = _retried("get_study_system_attrs")
    get_all_studies = _retried("get_all_studies")
    set_trial_param = _retried("set_trial_param")
    set_trial_intermediate_value = _retried("set_trial_intermediate_value")
    set_trial_user_attr = _retried("set_trial_user_attr")
    set_trial_system_attr = _retried("set_trial_system_attr")
    get_trial = _retried("get_trial")
    get_all_trials = _retried("get_all_trials")
    get_n_trials = _retried("get_n_trials")
    get_best_trial = _retried("get_best_trial")
    get_trial_id_from_study_id_trial_number = _retried("get_trial_id_from_study_id_trial_number")
    get_trial_number_from_id = _retried("get_trial_number_from_id")
    get_trial_param = _retried("get_trial_param")
    get_trial_params = _retried("get_trial_params")
    get_trial_user_attrs = _retried("get_trial_user_attrs")
    get_trial_system_attrs = _retried("get_trial_system_attrs")
    record_heartbeat = _retried("record_heartbeat")
    _get_stale_trial_ids = _retried("_get_stale_trial_ids")
    get_heartbeat_interval = _retried("get_heartbeat_interval")
    get_heartbeat_stale_trial_callback = _retried("get_heartbeat_stale_trial_callback")
    remove_session = _retried("remove_session")
