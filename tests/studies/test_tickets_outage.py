"""Steps of the queue whose answer is lost on the way: they recognise their own work when they are repeated."""

from collections.abc import Iterator

import pytest
from optuna.trial import TrialState

from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.storage import close_storage, open_storage
from studies.tickets import TicketQueue
from tests.studies.queues import claim, lose_next_commit, make_plan, make_result, trials


@pytest.fixture
def database(postgres_url: StorageUrl) -> Iterator[RetryingStorage]:
    storage = open_storage(postgres_url, patience=10)
    assert isinstance(storage, RetryingStorage)
    yield storage
    close_storage(storage)


@pytest.mark.parametrize("stored", [True, False])
def test_a_claim_takes_one_ticket(database: RetryingStorage, stored: bool) -> None:
    queue = TicketQueue.create(database, make_plan())
    lose_next_commit(database.rdb, stored=stored)
    ticket = claim(queue)
    assert ticket.number == 0
    counts = queue.counts()
    assert (counts.waiting, counts.running) == (2, 1), "no other one is left running with nobody at it"
    ticket.report(0, 0.5)
    assert ticket.complete(make_result())


def test_a_claim_whose_ticket_is_somebody_elses_by_now_takes_the_next(database: RetryingStorage) -> None:
    queue, other = (TicketQueue.create(database, make_plan()) for _ in range(2))
    lose_next_commit(database.rdb, stored=False)
    lost = []

    def meanwhile() -> bool:  # asked before the wait, and while it lasts
        if not lost:
            lost.append(claim(other, "faster"))
        return False

    database.retrier._should_stop = meanwhile
    assert claim(queue, "slower").number == 1
    assert [ticket.number for ticket in lost] == [0]
    assert lost[0].complete(make_result())


@pytest.mark.parametrize("stored", [True, False])
def test_a_retry_issues_one_ticket(database: RetryingStorage, monkeypatch: pytest.MonkeyPatch, stored: bool) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=1))
    claim(queue).fail("for a reason")
    trial_id = trials(database, queue)[0]._trial_id
    monkeypatch.setattr(database, "get_trial_id_from_study_id_trial_number", lambda *_: trial_id)  # commits nothing
    lose_next_commit(database.rdb, stored=stored)
    assert queue.retry(0) == 1
    assert [trial.state for trial in trials(database, queue)] == [TrialState.FAIL, TrialState.WAITING]
