"""An outage in the middle of a step, which recognises its own work when it is repeated, and of a sweeper."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from studies.database.retrying import OUT_OF_TOUCH_SECONDS
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.storage import close_storage, open_storage
from studies.tickets import TicketQueue
from tests.studies.queues import (
    GRACE,
    claim,
    lose_next_commit,
    make_plan,
    make_result,
    silence,
    trials,
)


@pytest.fixture
def database(postgres_url: StorageUrl) -> Iterator[RetryingStorage]:
    storage = open_storage(postgres_url)
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


def test_a_claim_whose_answer_was_long_in_coming_beats_anew(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan())
    lose_next_commit(database.rdb, stored=True)

    def meanwhile() -> bool:
        silence(database)  # the beat that was stored is an hour old when the claim is repeated
        return False

    database.retrier._should_stop = meanwhile
    claim(queue)
    recent = sa.text("SELECT heartbeat > timezone('UTC', now()) - interval '1 minute' FROM trial_heartbeats")
    with database.rdb.engine.begin() as connection:
        assert connection.scalars(recent).all() == [True]


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
def test_a_retry_issues_one_ticket(database: RetryingStorage, stored: bool) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=1))
    claim(queue).fail("for a reason")
    lose_next_commit(database.rdb, stored=stored)
    assert queue.retry(0) == 1
    assert [trial.state for trial in trials(database, queue)] == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.parametrize("cut_off", [OUT_OF_TOUCH_SECONDS + 1, 3600])
def test_who_was_cut_off_or_stood_still_declares_nobody_dead_at_once(
    cut_off: float, postgres_url: StorageUrl, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an outage that is not a restart of the server, when all beats are old and come one after the other."""
    now = 1000.0
    monkeypatch.setattr("studies.database.retrying.seconds", lambda: now)
    database = opened(postgres_url, heartbeat_interval=1, grace_period=GRACE)
    queue = TicketQueue.create(database, make_plan())
    alive, dead = claim(queue), claim(queue)
    assert queue.sweep() == 0
    silence(database)

    def stay_in_touch(long: float) -> None:
        nonlocal now
        ends = now + long
        while now < ends:
            now = min(ends, now + OUT_OF_TOUCH_SECONDS)
            assert alive.beat()

    now += cut_off
    assert queue.sweep() == 0, "at the first answer after the outage"
    stay_in_touch(GRACE - 1)
    assert queue.sweep() == 0
    now += OUT_OF_TOUCH_SECONDS + 1
    assert queue.sweep() == 0, "it was cut off again"
    stay_in_touch(GRACE - 1)
    assert queue.sweep() == 0
    stay_in_touch(1)
    assert queue.sweep() == 1
    assert not dead.beat()
    assert alive.beat()
