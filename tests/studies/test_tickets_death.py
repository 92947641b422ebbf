"""Workers that die, freeze and wake up, as the queue sees them, on every database."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.database.transactions import LockedTrial
from studies.database.trial_store import trial_store
from studies.death import MAX_DEATHS, bury
from studies.errors import BadInput, NotFound, TicketLost
from studies.storage import close_storage, open_storage
from studies.tickets import TicketQueue
from tests.held import LONG
from tests.studies.queues import GRACE, claim, make_plan, make_result, silence, sweep, trials


def test_a_dead_workers_ticket_is_issued_again(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan())
    dead = claim(queue, "host:1:abc")
    dead.report(0, 0.5)
    assert queue.sweep() == 0, "it has just beaten"
    assert sweep(database, queue) == 1
    assert queue.sweep() == 0
    counts = queue.counts()
    assert (counts.waiting, counts.running, counts.failed, counts.retried) == (3, 0, 0, 1)

    buried = trials(database, queue)[0]
    assert buried.state == TrialState.FAIL
    assert "worker host:1:abc died" in buried.user_attrs["error"]
    claimed = [claim(queue), claim(queue), claim(queue)]
    again = claimed[-1]
    assert again.number == 3
    assert again.attempt == 2
    assert again.spec.config == dead.spec.config
    assert again.checkpoint_key == dead.checkpoint_key
    assert again.epochs_trained == 1
    successor = trials(database, queue)[3]
    assert successor.system_attrs["retry_of"] == 0
    assert successor.user_attrs == {}
    assert successor.intermediate_values == {}
    assert successor.params == buried.params


def test_whoever_wakes_up_late_changes_nothing(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan(pruner="asha"))
    frozen = claim(queue)
    frozen.report(0, 0.5)
    assert sweep(database, queue) == 1
    before = trials(database, queue)
    assert not frozen.beat()
    with pytest.raises(TicketLost):
        frozen.report(1, 0.9)
    assert not frozen.complete(make_result(0.99))
    assert not frozen.give_back("too late")
    assert trials(database, queue) == before
    assert queue.counts().best is None


def test_a_beat_keeps_the_ticket(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan())
    silent, alive = claim(queue), claim(queue)
    silence(database)
    assert alive.beat()
    assert queue.sweep() == 1
    assert not silent.beat()
    assert alive.complete(make_result(0.75))


def test_a_worker_that_beats_before_its_trial_is_locked_is_not_buried(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan())
    ticket = claim(queue)
    (trial_id,) = (trial._trial_id for trial in trials(database, queue) if trial.state == TrialState.RUNNING)
    assert not bury(
        trial_store(database), queue.study_id, queue.identity.word, queue.name, trial_id
    )  # as one that looked stale before
    assert ticket.beat()
    assert (queue.counts().running, queue.counts().failed) == (1, 0)


def test_a_beat_left_by_an_earlier_owner_does_not_count(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=2))
    claim(queue).give_back("stopping")
    silent = claim(queue)
    silence(database)
    silent.give_back("stopping")
    assert claim(queue).number == 0
    assert queue.sweep() == 0


def test_a_trial_that_kills_its_workers_is_given_up(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=1))
    for attempt in range(1, MAX_DEATHS + 1):
        ticket = claim(queue)
        assert ticket.attempt == attempt
        assert ticket.checkpoint_key == f"campaign/rigl-s0.9-erk/{queue.identity.word}/0"
        assert sweep(database, queue) == 1
    assert queue.claim("w") is None
    counts = queue.counts()
    assert (counts.waiting, counts.failed, counts.retried) == (0, 1, MAX_DEATHS - 1)
    assert "poison" in trials(database, queue)[-1].user_attrs["error"]


def test_a_trial_whose_workers_die_is_not_given_up_while_it_gets_further(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=1))
    for epoch in range(MAX_DEATHS + 2):
        ticket = claim(queue)
        for done in range(epoch):  # from the checkpoint
            ticket.report(done, 0.5, replayed=True)
        ticket.report(epoch, 0.5)
        assert sweep(database, queue) == 1
    for _ in range(MAX_DEATHS - 1):  # and now it does not get further; the first of these deaths was the last above
        ticket = claim(queue)
        ticket.report(0, 0.5, replayed=True)
        assert sweep(database, queue) == 1
    assert queue.claim("w") is None
    assert queue.counts().failed == 1
    error = trials(database, queue)[-1].user_attrs["error"]
    assert error.endswith("those of the 2 attempts before, none an epoch further; it is not tried again (poison)")


def test_a_worker_got_further_only_if_it_got_beyond_all_before_it(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=1))
    for n_epochs in (3, 1, 2):  # the second and the third lost the checkpoint
        ticket = claim(queue)
        for epoch in range(n_epochs):
            ticket.report(epoch, 0.5)
        assert sweep(database, queue) == 1
    assert queue.claim("w") is None
    assert queue.counts().failed == 1


def test_a_poison_ticket_may_be_retried_and_then_has_as_many_lives(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=1))
    for _ in range(MAX_DEATHS):
        claim(queue)
        assert sweep(database, queue) == 1
    number = queue.retry(MAX_DEATHS - 1)
    for _ in range(MAX_DEATHS - 1):
        claim(queue)
        assert sweep(database, queue) == 1
    assert claim(queue).number == number + MAX_DEATHS - 1


def test_epochs_trained_are_counted_over_all_attempts(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=1))
    first = claim(queue)
    for epoch in (0, 1, 2):
        first.report(epoch, 0.5)
    assert sweep(database, queue) == 1
    second = claim(queue)
    assert second.epochs_trained == 3
    second.report(0, 0.5, replayed=True)
    second.report(1, 0.5)  # its checkpoint was older
    second.give_back("stopping")
    assert claim(queue).epochs_trained == 4


def test_a_frozen_worker_in_the_middle_of_a_write_blocks_no_sweeper(
    postgres_url: StorageUrl, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., bool]
) -> None:
    monkeypatch.setattr("studies.database.engines.FROZEN_SECONDS", 2)
    frozen = open_storage(postgres_url, heartbeat_interval=1, grace_period=GRACE)
    database = open_storage(postgres_url, heartbeat_interval=1, grace_period=GRACE)
    assert isinstance(database, RetryingStorage)
    queue = TicketQueue.create(frozen, make_plan(n_trials=2))
    dead, other = claim(queue), claim(queue)
    in_transaction, thaw = threading.Event(), threading.Event()
    ended: list[bool] = []

    def change(trial: LockedTrial) -> None:
        trial.set_system_attrs({"written": True})
        if not in_transaction.is_set():
            in_transaction.set()
            thaw.wait(LONG)

    thread = threading.Thread(target=lambda: ended.append(dead._hold.write(change, "report")))
    thread.start()
    assert in_transaction.wait(LONG)
    mine = TicketQueue.open(database, queue.name)
    silence_but_dead = sa.text(
        "UPDATE trial_heartbeats SET heartbeat = timezone('UTC', now()) - interval '1 hour' WHERE trial_id = :id"
    )
    with database.rdb.engine.begin() as connection:
        connection.execute(silence_but_dead, {"id": other._hold.claim.trial_id})
    assert mine.sweep() == 1, "the lock of the frozen one is not waited for"
    silence(database)  # waits for no lock of the trial's row
    assert wait_until(mine.sweep), "and given up by the server when its owner stands still for too long"
    thaw.set()
    thread.join(LONG)
    assert ended == [False], "the write is tried again, and finds the ticket taken back"
    assert all("written" not in trial.system_attrs for trial in trials(database, queue))
    close_storage(frozen)
    close_storage(database)


def test_times_are_the_databases(database: RetryingStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=1))
    with monkeypatch.context() as wrong:
        wrong.setattr("studies.database.transactions_rdb.datetime", None)  # a worker's own clock is not asked
        before = datetime.now() - timedelta(seconds=1)
        claim(queue).complete(make_result(0.75))
        after = datetime.now() + timedelta(seconds=1)
    (trial,) = trials(database, queue)
    assert trial.datetime_start is not None
    assert trial.datetime_complete is not None
    assert before <= trial.datetime_start <= trial.datetime_complete <= after
    assert trial.datetime_complete - trial.datetime_start < timedelta(minutes=10), "both of the same zone"


def test_a_sweeper_that_dies_in_the_middle_has_done_nothing(
    database: RetryingStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    queue = TicketQueue.create(database, make_plan())
    claim(queue)
    with monkeypatch.context() as patch:
        patch.setattr("studies.database.transactions_rdb._RdbTrial.become", die)  # after the successor was inserted
        with pytest.raises(KeyboardInterrupt):
            sweep(database, queue)
    assert len(trials(database, queue)) == 3
    assert sweep(database, queue) == 1
    assert len(trials(database, queue)) == 4


def test_summer_time_and_other_zones_kill_nobody(postgres_url: StorageUrl) -> None:
    database = open_storage(postgres_url, heartbeat_interval=1, grace_period=GRACE)
    assert isinstance(database, RetryingStorage)
    queue = TicketQueue.create(database, make_plan())
    ticket = claim(queue)
    with database.rdb.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {database.rdb.engine.url.database} SET timezone = 'Asia/Tokyo'"))
    close_storage(database)  # the next connection lives nine hours later
    assert queue.sweep() == 0
    assert ticket.beat()
    assert queue.sweep() == 0
    close_storage(database)


def test_many_sweepers_issue_one_ticket(postgres_url: StorageUrl) -> None:
    storages = [open_storage(postgres_url, heartbeat_interval=1, grace_period=GRACE) for _ in range(4)]
    database = storages[0]
    assert isinstance(database, RetryingStorage)
    queue = TicketQueue.create(database, make_plan(n_trials=5))
    for _ in range(5):
        claim(queue)
    silence(database)
    begin = threading.Barrier(4)
    swept: list[int] = []

    def sweep_on(storage: BaseStorage) -> None:
        mine = TicketQueue.open(storage, queue.name)
        begin.wait()
        swept.append(mine.sweep())

    threads = [threading.Thread(target=sweep_on, args=[storage]) for storage in storages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(swept) == 5
    found = trials(database, queue)
    assert sorted(trial.system_attrs["retry_of"] for trial in found[5:]) == [0, 1, 2, 3, 4]
    for storage in storages:
        close_storage(storage)


def test_retry_issues_a_failed_or_pruned_ticket_again(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    failed, pruned, complete = (claim(queue) for _ in range(3))
    failed.fail("out of memory")
    pruned.prune(make_result(0.25))
    complete.complete(make_result(0.75))
    assert queue.retry(0) == 3
    assert queue.retry(1) == 4
    with pytest.raises(BadInput, match="is tried again already, as trial 3"):
        queue.retry(0)
    with pytest.raises(BadInput, match="is complete; only a failed or pruned one"):
        queue.retry(2)
    with pytest.raises(NotFound, match="has no trial 99"):
        queue.retry(99)
    counts = queue.counts()
    assert (counts.waiting, counts.failed, counts.retried) == (2, 0, 1)
    again = claim(queue)
    assert again.spec.config == failed.spec.config
    assert again.attempt == 1
    assert again.complete(make_result(0.8))
