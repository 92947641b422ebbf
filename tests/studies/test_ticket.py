"""One ticket, on every kind of storage: one owner, nothing lost and nothing told twice."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.database.transactions import Transaction
from studies.errors import TicketLost
from studies.hold import Hold
from studies.storage import open_storage
from studies.tickets import TicketQueue
from tests.studies.queues import GRACE, claim, make_plan, make_result, sweep, trials

T = TypeVar("T")


class LosesAnswers:
    """A TrialStore whose transactions take effect although their answer is lost, so that they are repeated."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def run(self, change: Callable[[Transaction], T]) -> T:
        self._store.run(change)
        return self._store.run(change)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_complete_tells_everything(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    ticket = claim(queue, "host:1:abc")
    assert not ticket.report(0, 0.5)
    assert ticket.complete(make_result(0.75))
    trial = trials(storage, queue)[0]
    assert trial.state == TrialState.COMPLETE
    assert trial.value == 0.75
    assert trial.intermediate_values == {0: 0.5}
    assert trial.user_attrs == {
        **make_result(0.75).model_dump(mode="json"),
        "worker": "host:1:abc",
        "attempt": 1,
    }
    assert queue.counts().best == 0.75


def test_fail_tells_why(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    with pytest.raises(MemoryError) as caught:
        raise MemoryError("no room for 3 networks")
    assert claim(queue).fail(caught.value)
    trial = trials(storage, queue)[0]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["error"] == "MemoryError: no room for 3 networks"
    assert "test_fail_tells_why" in trial.user_attrs["traceback"]
    assert queue.counts().failed == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_result_that_is_no_number_fails_the_trial(storage: BaseStorage, value: float) -> None:
    queue = TicketQueue.create(storage, make_plan())
    assert claim(queue).complete(make_result(value))
    assert trials(storage, queue)[0].state == TrialState.FAIL
    assert queue.counts().best is None


def test_nothing_can_be_written_after_the_end(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    ticket = claim(queue)
    assert ticket.prune(make_result(0.25))
    before = trials(storage, queue)[0]
    assert not ticket.beat()
    assert not ticket.complete(make_result(0.75))
    assert not ticket.fail("late")
    assert not ticket.give_back("late")
    with pytest.raises(TicketLost):
        ticket.report(1, 0.9)
    assert trials(storage, queue)[0] == before
    assert before.state == TrialState.PRUNED


def test_give_back_keeps_number_parameters_and_reports(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    first = claim(queue, "a")
    first.report(0, 0.5)
    first.report(1, 0.6)
    assert claim(queue, "b").number == 1
    assert first.give_back("stopping")
    assert queue.counts().waiting == 2
    again = claim(queue, "c")
    assert (again.number, again.attempt, again.worker) == (0, 1, "c")
    assert again.spec == first.spec
    assert again.epochs_trained == 2
    assert again.checkpoint_key == first.checkpoint_key == f"campaign/rigl-s0.9-erk/{queue.identity.word}/0"
    assert trials(storage, queue)[0].intermediate_values == {0: 0.5, 1: 0.6}
    assert again.complete(make_result(0.75))


def test_a_late_write_of_who_gave_back_does_not_touch_the_next_owner(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan())
    first = claim(queue, "a")
    late = Hold(queue._store, first._hold.claim)  # a repetition, on its way while the first answer was lost
    first.give_back("stopping")
    second = claim(queue, "b")
    assert second.number == first.number
    before = trials(storage, queue)[0]
    assert not late.give_back("stopping")
    assert not late.fail("late")
    assert not late.write(lambda trial: trial.report({5: 0.1}), "report")
    assert trials(storage, queue)[0] == before
    assert second.complete(make_result(0.75))


def test_a_lost_answer_changes_nothing(storage: BaseStorage) -> None:
    queue = TicketQueue.create(storage, make_plan(n_trials=4))
    tickets = [claim(queue) for _ in range(4)]
    for ticket in tickets:
        ticket._hold._store = LosesAnswers(ticket._hold._store)
    assert tickets[0].complete(make_result(0.75))
    assert tickets[1].prune(make_result(0.25))
    assert tickets[2].fail("diverged")
    assert tickets[3].give_back("stopping")
    counts = queue.counts()
    assert (counts.complete, counts.pruned, counts.failed, counts.waiting) == (1, 1, 1, 1)


def test_a_ticket_whose_claim_had_no_answer_is_recognised(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan())
    queue._store = LosesAnswers(queue._store)
    assert [claim(queue).number, claim(queue).number] == [0, 1]
    queue._store = queue._store._store
    assert (queue.counts().running, queue.counts().waiting) == (2, 1)
    assert sweep(database, queue) == 2
    assert queue.counts().waiting == 3


def test_a_sampler_that_raises_fails_the_ticket(storage: BaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("cannot sample")

    queue = TicketQueue.create(storage, make_plan())
    monkeypatch.setattr("studies.sampling.Drawing.draw", broken)
    with pytest.raises(ValueError, match="cannot sample"):
        queue.claim("w")
    assert trials(storage, queue)[0].user_attrs["error"] == "ValueError: cannot sample"
    assert (queue.counts().running, queue.counts().failed) == (0, 1)


def test_a_claim_that_is_interrupted_gives_the_ticket_back(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    queue = TicketQueue.create(storage, make_plan())
    with monkeypatch.context() as patch:
        patch.setattr("studies.sampling.Drawing.draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            queue.claim("w")
    assert claim(queue).number == 0


def test_a_ticket_is_certain_for_the_grace_period_after_a_beat(
    database: RetryingStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("studies.hold.seconds", lambda: now)
    monkeypatch.setattr("studies.tickets.seconds", lambda: now)
    queue = TicketQueue.create(database, make_plan())
    ticket = claim(queue)
    now += GRACE - 0.1
    assert ticket.is_certain
    now += 0.2
    assert not ticket.is_certain, "others may find it dead"
    assert ticket.beat()
    assert ticket.is_certain
    now += GRACE
    ticket.report(0, 0.5)
    assert not ticket.is_certain, "a report is no beat"
    assert ticket.beat()
    assert ticket.give_back("stopping")
    assert not ticket.is_certain


def test_where_nobody_sweeps_a_ticket_stays_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = TicketQueue.create(open_storage(StorageUrl.parse("memory://")), make_plan())
    ticket = claim(queue)
    monkeypatch.setattr("studies.hold.seconds", lambda: float("inf"))
    assert ticket.is_certain


def test_epochs_that_were_trained_but_not_told_count_once_when_they_are_replayed() -> None:
    queue = TicketQueue.create(open_storage(StorageUrl.parse("memory://")), make_plan())
    ticket = claim(queue)
    trained = []
    for epoch, replayed in ((0, False), (0, True), (1, True), (2, True), (3, False), (0, True)):
        ticket.report(epoch, 0.5, replayed=replayed)
        trained.append(ticket.epochs_trained)
    assert trained == [1, 1, 2, 3, 4, 4]
    ticket.give_back("stopping")
    assert claim(queue).epochs_trained == 4


def test_the_pruner_is_asked_once_about_an_epoch_and_its_word_on_a_replayed_one_does_not_count() -> None:
    at_once = {"name": "median", "n_startup_trials": 0, "n_warmup_steps": 0, "n_min_trials": 1}
    queue = TicketQueue.create(open_storage(StorageUrl.parse("memory://")), make_plan(pruner=at_once))
    reference, ticket = claim(queue), claim(queue)
    for epoch in range(4):
        assert not reference.report(epoch, 0.5)
    reference.complete(make_result())
    assert not ticket.report(0, 0.9)
    assert not ticket.report(0, 0.1)  # trained again: it was looked at
    assert not ticket.report(1, 0.1, replayed=True)
    assert ticket.report(2, 0.1)
    assert not ticket.report(3, 0.1)  # which it was told already


def test_beats_reports_and_the_end_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = claim(TicketQueue.create(open_storage(StorageUrl.parse("memory://")), make_plan()))
    store, hold, locked = ticket._hold._store, ticket._hold, []

    def run(change: Callable[[Transaction], T]) -> T:
        locked.append(hold._lock.locked())
        return store.__class__.run(store, change)

    monkeypatch.setattr(store, "run", run)
    assert ticket.beat()
    assert not ticket.report(0, 0.5)
    assert ticket.complete(make_result())
    assert locked == [True, True, True]
