"""The retrying storage keeps Optuna's contract, and takes effect once when a connection is lost during COMMIT."""

from collections.abc import Callable

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState

from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.errors import StorageError
from tests.studies.queues import lose_next_commit

MAXIMIZE = [StudyDirection.MAXIMIZE]

Opened = Callable[..., RetryingStorage]


class TestOptunasContract(StorageTestCase):
    """Optuna's own suite for storages. On SQLite, because every test wants a new database."""

    @pytest.fixture
    def storage(self, opened: Opened, sqlite_url: StorageUrl) -> BaseStorage:
        return opened(sqlite_url)

    def test_pickle_storage(self, storage: BaseStorage) -> None:
        """Each process opens its own: locks, hooks and connections do not travel."""
        with pytest.raises((TypeError, AttributeError)):
            super().test_pickle_storage(storage)


@pytest.fixture
def storage(opened: Opened, postgres_url: StorageUrl) -> RetryingStorage:
    return opened(postgres_url)


@pytest.mark.parametrize("stored", [True, False])
def test_a_study_is_created_once(storage: RetryingStorage, stored: bool) -> None:
    lose_next_commit(storage.rdb, stored=stored)
    study = storage.create_new_study(MAXIMIZE, "once")
    assert [found._study_id for found in storage.get_all_studies()] == [study]


@pytest.mark.parametrize("stored", [True, False])
def test_a_study_is_deleted_once(storage: RetryingStorage, stored: bool) -> None:
    study = storage.create_new_study(MAXIMIZE)
    lose_next_commit(storage.rdb, stored=stored)
    storage.delete_study(study)
    assert storage.get_all_studies() == []


@pytest.mark.parametrize("stored", [True, False])
def test_a_trial_is_not_created_twice(storage: RetryingStorage, stored: bool) -> None:
    study = storage.create_new_study(MAXIMIZE)
    lose_next_commit(storage.rdb, stored=stored)
    with pytest.raises(StorageError, match="it may exist"):
        storage.create_new_trial(study)
    assert len(storage.get_all_trials(study)) == int(stored)


@pytest.mark.parametrize("stored", [True, False])
def test_a_result_is_told_once(storage: RetryingStorage, stored: bool) -> None:
    trial = storage.create_new_trial(storage.create_new_study(MAXIMIZE))
    lose_next_commit(storage.rdb, stored=stored)
    assert storage.set_trial_state_values(trial, TrialState.COMPLETE, [0.5])
    assert storage.get_trial(trial).values == [0.5]
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_state_values(trial, TrialState.COMPLETE, [0.5])


@pytest.mark.parametrize("stored", [True, False])
def test_a_claim_whose_commit_was_lost_counts_as_lost(storage: RetryingStorage, stored: bool) -> None:
    waiting = optuna.trial.create_trial(state=TrialState.WAITING)
    trial = storage.create_new_trial(storage.create_new_study(MAXIMIZE), waiting)
    lose_next_commit(storage.rdb, stored=stored)
    assert storage.set_trial_state_values(trial, TrialState.RUNNING) is not stored
    assert storage.get_trial(trial).state == TrialState.RUNNING


@pytest.mark.parametrize("stored", [True, False])
def test_writes_that_overwrite_are_simply_repeated(storage: RetryingStorage, stored: bool) -> None:
    trial = storage.create_new_trial(storage.create_new_study(MAXIMIZE))
    lose_next_commit(storage.rdb, stored=stored)
    storage.set_trial_intermediate_value(trial, 1, 0.5)
    lose_next_commit(storage.rdb, stored=stored)
    storage.record_heartbeat(trial)
    assert storage.get_trial(trial).intermediate_values == {1: 0.5}
