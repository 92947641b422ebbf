"""The worker's loop where there is nothing to claim: it waits, leaves a campaign to others, or ends."""

import threading
from collections.abc import Callable, Sequence

import pytest
from optuna.storages import BaseStorage

from studies.campaigns import campaign_names, delete_campaign, open_campaign, set_control
from studies.database.storage_url import StorageUrl
from studies.errors import DataUnavailable, StorageError
from studies.ticket import Ticket
from studies.tickets import TicketQueue
from tests.held import LONG
from tests.workers.loops import Idle, complete, failing, make_queues, total
from workers.loop import LACKING_SECONDS, Ending, run_worker
from workers.stop import Stop


def test_an_idle_worker_waits_for_others_and_takes_over(storage: BaseStorage) -> None:
    queues = make_queues(storage, n_trials=1)[:1]
    ticket = queues[0].claim("other")
    assert ticket is not None
    stop = Idle(lambda: None, lambda: ticket.give_back("the other one stops"))
    assert run_worker(queues, complete, stop) == 1
    assert not stop.is_set()


def test_an_idle_worker_ends_when_others_are_done(storage: BaseStorage) -> None:
    queues = make_queues(storage, n_trials=1)[:1]
    ticket = queues[0].claim("other")
    assert ticket is not None
    stop = Idle(lambda: complete(ticket, stop))
    assert run_worker(queues, complete, stop) == 0
    assert not stop.is_set()


def test_waiting_ends_at_once_when_stopped(storage: BaseStorage) -> None:
    queues = make_queues(storage, n_trials=1)[:1]
    assert queues[0].claim("other") is not None
    begins = threading.Event()

    class Told(Stop):
        def wait(self, seconds: float) -> bool:
            begins.set()
            return super().wait(seconds)

    stop = Told()
    worker = threading.Thread(target=run_worker, args=[queues, complete, stop], kwargs={"poll_seconds": 3600})
    worker.start()
    assert begins.wait(LONG)
    stop.request("test")
    worker.join(LONG)
    assert not worker.is_alive()


def test_a_paused_campaign_is_waited_for_and_a_stopped_one_is_not(storage: BaseStorage) -> None:
    queues = make_queues(storage)
    set_control(storage, "campaign", "pause")
    assert run_worker(queues, complete, Idle(lambda: set_control(storage, "campaign", "run"))) == 6

    others = make_queues(storage, "other")
    set_control(storage, "other", "stop")
    assert run_worker(others, complete, stop := Idle()) == 0
    assert not stop.is_set()


def test_a_deleted_campaign_is_dropped(storage: BaseStorage, caplog: pytest.LogCaptureFixture) -> None:
    queues, others = make_queues(storage), make_queues(storage, "other")
    delete_campaign(storage, "other")
    assert run_worker([*others, *queues], complete, Stop()) == 6
    assert caplog.text.count("was deleted") == len(others), "told once, and not asked again"


def test_forever_finds_new_campaigns(storage: BaseStorage) -> None:
    found = make_queues(storage)
    stop = Idle(lambda: found.extend(make_queues(storage, "later")))
    assert run_worker(found[:2], complete, stop, forever=True, refresh=lambda: found) == 12
    assert stop.reason == "nothing more will happen"


@pytest.mark.parametrize(("forever", "longest"), [(True, 10.0), (False, 2.0)])
def test_who_waits_for_new_campaigns_looks_ever_more_rarely(
    storage: BaseStorage, forever: bool, longest: float
) -> None:
    queues = make_queues(storage, n_trials=1)[:1]
    assert queues[0].claim("other") is not None
    waited: list[float] = []

    class Noting(Idle):
        def wait(self, seconds: float) -> bool:
            waited.append(seconds)
            return super().wait(seconds)

    run_worker(queues, complete, Noting(*[lambda: None] * 20), forever=forever, poll_seconds=2.0)
    assert (waited[0], waited == sorted(waited), waited[-1]) == (2.0, True, longest)


def test_an_idle_worker_that_is_told_to_stop_does_not_care_for_the_database(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = make_queues(storage)
    stop = Stop()

    def away(_worker: str) -> None:
        stop.request("test")
        raise StorageError("gone")

    monkeypatch.setattr(queues[0], "claim", away)
    assert run_worker(queues, complete, stop) == 0


def test_the_end_of_a_study_is_told_once_after_the_last_ticket(storage: BaseStorage) -> None:
    queues = make_queues(storage, n_trials=1)
    told: list[str] = []
    stop = Idle(lambda: None, lambda: queues[0].retry(0), lambda: None)

    def run(ticket: Ticket, stop: Stop) -> Ending:
        ticket.fail("stands for anything") if not told else complete(ticket, stop)
        return "complete"

    run_worker(queues, run, stop, forever=True, when_over=lambda queue: told.append(queue.name))
    names = [queue.name for queue in queues]
    assert (told[:2], sorted(told[2:])) == (names, names), "again after the retried ticket, and not at every look"


def test_the_end_is_awaited_and_told_study_by_study(storage: BaseStorage) -> None:
    queues = make_queues(storage, n_trials=1)
    of_another = queues[0].claim("other")
    assert of_another is not None
    told: list[str] = []
    stop = Idle(lambda: told.append("a wait"), lambda: complete(of_another, stop))
    assert run_worker(queues, complete, stop, when_over=lambda queue: told.append(queue.name)) == 1
    assert told == [queues[1].name, "a wait", queues[0].name]
    assert not stop.is_set()


def test_missing_data_give_the_ticket_back_and_end_the_worker(storage: BaseStorage) -> None:
    queues = make_queues(storage)
    with pytest.raises(DataUnavailable):
        run_worker(queues, failing(DataUnavailable("no CIFAR here")), Stop())
    assert total(queues, "waiting") == 6


def lacking_data_of(campaign: str, tried: list[int]) -> Callable[[Ticket, Stop], Ending]:
    def run(ticket: Ticket, stop: Stop) -> Ending:
        if ticket.spec.campaign != campaign:
            return complete(ticket, stop)
        tried.append(ticket.number)
        raise DataUnavailable("no CIFAR here")

    return run


def test_a_campaign_whose_data_are_missing_holds_up_no_other(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues, others, tried = make_queues(storage), make_queues(storage, "other"), []  # type: ignore[var-annotated]
    lacking = lacking_data_of("campaign", tried)
    clock = 0.0
    monkeypatch.setattr("time.monotonic", lambda: clock)

    def run(ticket: Ticket, stop: Stop) -> Ending:
        nonlocal clock
        clock += 2 * LACKING_SECONDS
        return lacking(ticket, stop)

    with pytest.raises(DataUnavailable):
        run_worker([*queues, *others], run, Stop())
    assert (total(queues, "waiting"), total(others, "complete")) == (6, 6)
    assert tried == [0], "the campaign was tried once, however long the other took"


def test_missing_data_are_no_failure_once_others_have_done_what_needed_them(storage: BaseStorage) -> None:
    queues, others, tried = make_queues(storage)[:1], make_queues(storage, "other")[:1], []  # type: ignore[var-annotated]
    lacking = lacking_data_of("campaign", tried)

    def run(ticket: Ticket, stop: Stop) -> Ending:
        ending = lacking(ticket, stop)
        while others[0].counts().complete == 3 and (left := queues[0].claim("another, with the data")):
            complete(left, stop)
        return ending

    assert run_worker([*queues, *others], run, Stop()) == 3
    assert (tried, total(queues, "complete")) == ([0], 3)


def test_a_worker_that_runs_for_ever_looks_for_missing_data_again(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queues, others = make_queues(storage), make_queues(storage, "other")
    tried: list[int] = []
    clock = 0.0
    monkeypatch.setattr("time.monotonic", lambda: clock)

    def pass_time() -> None:
        nonlocal clock
        clock += LACKING_SECONDS / 2

    run = lacking_data_of("campaign", tried)
    stop = Idle(pass_time, pass_time, lambda: None)
    assert run_worker([*queues, *others], run, stop, forever=True) == 6
    assert (total(queues, "waiting"), total(others, "complete")) == (6, 6)
    assert tried == [0, 0], "at first, and a minute later"
    assert caplog.text.count("no CIFAR here") == 2


def test_a_worker_that_runs_for_ever_trains_what_got_a_deleted_studys_number_as_that_says(
    sqlite_url: StorageUrl, opened: Callable[..., BaseStorage]
) -> None:
    """SQLite gives the numbers of deleted studies away again."""
    storage = opened(sqlite_url)
    old = make_queues(storage)
    numbers = [queue.study_id for queue in old]
    trained: list[str] = []

    def run(ticket: Ticket, stop: Stop) -> Ending:
        trained.append(ticket.spec.campaign)
        return complete(ticket, stop)

    def replace() -> None:
        delete_campaign(storage, "campaign")
        assert [queue.study_id for queue in make_queues(storage, "new", n_trials=1)] == numbers

    def refresh() -> Sequence[TicketQueue]:
        return [queue for name in campaign_names(storage) for queue in open_campaign(storage, name).queues]

    over: list[str] = []
    stop = Idle(replace, lambda: None)
    n_trained = run_worker(
        old, run, stop, forever=True, refresh=refresh, when_over=lambda queue: over.append(queue.plan.spec.name)
    )
    assert n_trained == 8
    assert trained == ["campaign"] * 6 + ["new"] * 2
    assert over == ["campaign"] * 2 + ["new"] * 2
