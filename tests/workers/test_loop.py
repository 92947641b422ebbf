"""The worker's loop, with a `run` that trains nothing."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from optuna.storages import BaseStorage

from studies.campaigns import create_campaign, delete_campaign, set_control
from studies.errors import DataUnavailable, DeviceFailed, StorageError, TicketLost
from studies.spec import StudySpec
from studies.ticket import Ticket
from studies.tickets import TicketQueue
from tests.studies.queues import make_result
from workers.loop import LACKING_SECONDS, Ending, WorkerGaveUp, run_worker, worker_id
from workers.stop import Stop


def make_queues(storage: BaseStorage, name: str = "campaign", n_trials: int = 3) -> list[TicketQueue]:
    spec = {
        "name": name,
        "pairs": {"sparsity": [0.9, 0.98], "distribution": "erk"},
        "search": {"lr": {"low": 0.01, "high": 0.1}},
        "strategy": {"sampler": "random", "n_trials": n_trials, "seeds": [0]},
    }
    return create_campaign(storage, StudySpec.model_validate(spec))


def complete(ticket: Ticket, stop: Stop) -> Ending:
    assert ticket.complete(make_result())
    return "complete"


def failing(error: BaseException) -> Callable[[Ticket, Stop], Ending]:
    def run(ticket: Ticket, stop: Stop) -> Ending:
        raise error

    return run


def total(queues: list[TicketQueue], state: str) -> int:
    return sum(getattr(queue.counts(), state) for queue in queues)


def test_all_studies_are_worked_in_turn(storage: BaseStorage) -> None:
    queues = make_queues(storage)
    order: list[tuple[str, int]] = []

    def run(ticket: Ticket, stop: Stop) -> Ending:
        order.append((ticket.spec.study, ticket.number))
        return complete(ticket, stop)

    assert run_worker(queues, run, Stop(), worker="me") == 6
    assert order == [(queue.name, number) for number in range(3) for queue in queues]
    assert total(queues, "complete") == 6


def test_max_trials(storage: BaseStorage) -> None:
    queues = make_queues(storage)
    assert run_worker(queues, complete, Stop(), max_trials=4) == 4
    assert total(queues, "waiting") == 2


def test_a_failure_is_told_and_the_worker_goes_on(storage: BaseStorage, caplog: pytest.LogCaptureFixture) -> None:
    queues = make_queues(storage)

    def run(ticket: Ticket, stop: Stop) -> Ending:
        if ticket.number != 1:
            raise MemoryError("no room")
        return complete(ticket, stop)

    assert run_worker(queues[:1], run, Stop()) == 3
    told = [record.getMessage() for record in caplog.records if "failed" in record.getMessage()]
    assert told == [f"{queues[0].name}, trial {number} failed: MemoryError: no room" for number in (0, 2)]
    counts = queues[0].counts()
    assert (counts.complete, counts.failed) == (1, 2)


def test_three_failures_in_a_row_end_the_worker(storage: BaseStorage) -> None:
    queues = make_queues(storage)
    with pytest.raises(WorkerGaveUp, match=r"3 trials in a row failed, the last with ValueError: bad") as gave_up:
        run_worker(queues, failing(ValueError("bad")), Stop())
    assert gave_up.value.exit_code == 1
    assert "\n" not in str(gave_up.value)
    assert (total(queues, "failed"), total(queues, "waiting"), total(queues, "running")) == (3, 3, 0)


def test_two_failures_and_a_success_do_not(storage: BaseStorage) -> None:
    queues = make_queues(storage, n_trials=6)
    n = 0

    def run(ticket: Ticket, stop: Stop) -> Ending:
        nonlocal n
        n += 1
        return complete(ticket, stop) if n % 3 == 0 else failing(ValueError("bad"))(ticket, stop)

    assert run_worker(queues, run, Stop()) == 12
    assert (total(queues, "failed"), total(queues, "complete")) == (8, 4)


def test_a_lost_ticket_is_no_failure(storage: BaseStorage) -> None:
    queues = make_queues(storage)
    seen = 0

    def run(ticket: Ticket, stop: Stop) -> Ending:
        nonlocal seen
        seen += 1
        ticket.fail("stands for a sweep")
        raise TicketLost("taken back")

    assert run_worker(queues, run, Stop()) == 0
    assert seen == 6


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


def test_a_campaign_whose_data_are_missing_holds_up_no_other(storage: BaseStorage) -> None:
    queues, others, tried = make_queues(storage), make_queues(storage, "other"), []  # type: ignore[var-annotated]
    with pytest.raises(DataUnavailable):
        run_worker([*queues, *others], lacking_data_of("campaign", tried), Stop())
    assert (total(queues, "waiting"), total(others, "complete")) == (6, 6)
    assert tried == [0], "the campaign was tried once"


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


def test_a_database_that_stays_away_ends_the_worker(storage: BaseStorage) -> None:
    queues = make_queues(storage)
    with pytest.raises(StorageError):
        run_worker(queues, failing(StorageError("gone")), Stop())
    assert total(queues, "running") == 1, "left to the sweep"


def test_a_gpu_that_stops_computing_ends_the_worker_and_fails_no_trial(storage: BaseStorage) -> None:
    """Another process can often use it again. The next trials of this one would fail within seconds."""
    queues = make_queues(storage)
    with pytest.raises(DeviceFailed):
        run_worker(queues, failing(DeviceFailed("the device stopped computing: CUDA error")), Stop())
    assert (total(queues, "running"), total(queues, "failed")) == (1, 0), "left to the sweep, as of a killed worker"


def test_a_claim_for_which_the_database_stays_away_ends_the_worker(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = make_queues(storage)

    def away(_worker: str) -> None:
        raise StorageError("gone")

    monkeypatch.setattr(queues[0], "claim", away)
    with pytest.raises(StorageError, match="gone"):
        run_worker(queues, complete, Stop())


def test_a_ticket_in_hand_cannot_be_given_back_to_a_database_that_is_away(storage: BaseStorage) -> None:
    queues, stop = make_queues(storage), Stop()

    def away(ticket: Ticket, stop: Stop) -> Ending:
        stop.request("test")
        raise StorageError("gone")

    with pytest.raises(StorageError, match="gone"):  # so that the exit code tells
        run_worker(queues, away, stop)


def test_a_worker_looks_for_the_dead_before_it_claims_and_then_now_and_again(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = make_queues(storage)[:1]
    swept = []
    monkeypatch.setattr(queues[0], "sweep", lambda: swept.append(queues[0].counts().complete))
    run_worker(queues, complete, Stop(), max_trials=2, poll_seconds=3600.0)
    assert swept == [0]
    run_worker(queues, complete, Stop(), poll_seconds=0.0)
    assert swept == [0, 2, 3]


def test_a_worker_has_the_name_it_is_given(storage: BaseStorage) -> None:
    queues = make_queues(storage)[:1]
    run_worker(queues, complete, Stop(), worker="me", max_trials=1)
    trial = storage.get_all_trials(queues[0].study_id)[0]
    assert trial.user_attrs["worker"] == "me"


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


def test_an_interrupt_gives_the_ticket_back(storage: BaseStorage) -> None:
    queues = make_queues(storage)
    with pytest.raises(KeyboardInterrupt):
        run_worker(queues, failing(KeyboardInterrupt()), Stop())
    assert total(queues, "waiting") == 6


def test_stop_ends_it_after_the_ticket_at_hand(storage: BaseStorage) -> None:
    queues = make_queues(storage)
    stop = Stop()

    def run(ticket: Ticket, stop: Stop) -> Ending:
        stop.request("enough")
        ticket.give_back(stop.reason)
        return "given_back"

    assert run_worker(queues, run, stop) == 0
    assert total(queues, "waiting") == 6


class Idle(Stop):
    """A stop that does something each time the worker waits, instead of waiting."""

    def __init__(self, *events: Callable[[], Any]) -> None:
        super().__init__()
        self.events = list(events)

    def wait(self, seconds: float) -> bool:
        if self.events:
            self.events.pop(0)()
        else:
            self.request("nothing more will happen")
        return self.is_set()


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
    stop = Stop()
    worker = threading.Thread(target=run_worker, args=[queues, complete, stop], kwargs={"poll_seconds": 3600})
    worker.start()
    stop.request("test")
    worker.join(10)
    assert not worker.is_alive()


def test_a_paused_campaign_is_waited_for_and_a_stopped_one_is_not(storage: BaseStorage) -> None:
    queues = make_queues(storage)
    set_control(storage, "campaign", "pause")
    assert run_worker(queues, complete, Idle(lambda: set_control(storage, "campaign", "run"))) == 6

    others = make_queues(storage, "other")
    set_control(storage, "other", "stop")
    assert run_worker(others, complete, stop := Idle()) == 0
    assert not stop.is_set()


def test_a_deleted_campaign_is_dropped(storage: BaseStorage) -> None:
    queues, others = make_queues(storage), make_queues(storage, "other")
    delete_campaign(storage, "other")
    assert run_worker([*others, *queues], complete, Stop()) == 6


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


def test_worker_ids_differ() -> None:
    assert worker_id() != worker_id()
    assert worker_id().count(":") == 2
