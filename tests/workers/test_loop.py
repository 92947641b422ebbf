"""The worker's loop, with a `run` that trains nothing."""

import logging
import os
import re
import socket

import pytest
from optuna.storages import BaseStorage

from studies.errors import DeviceFailed, StorageError, TicketLost
from studies.ticket import Ticket
from tests.workers.loops import complete, failing, make_queues, total
from workers.loop import Ending, WorkerGaveUp, run_worker, worker_id
from workers.stop import Stop


def test_all_studies_are_worked_in_turn(storage: BaseStorage) -> None:
    queues = make_queues(storage)
    order: list[tuple[str, int]] = []

    def run(ticket: Ticket, stop: Stop) -> Ending:
        order.append((ticket.spec.study, ticket.number))
        return complete(ticket, stop)

    assert run_worker(queues, run, Stop(), worker="me") == 6
    assert order == [(queue.name, number) for number in range(3) for queue in queues]
    assert total(queues, "complete") == 6


def test_a_trial_is_one_line_and_its_beginning_another_for_those_who_ask(
    storage: BaseStorage, caplog: pytest.LogCaptureFixture
) -> None:
    queues = make_queues(storage, n_trials=2)[:1]

    def run(ticket: Ticket, stop: Stop) -> Ending:
        for epoch, accuracy in enumerate((0.5, 0.625)):
            ticket.report(epoch, accuracy)
        return complete(ticket, stop)

    caplog.set_level(logging.DEBUG, "rigl_study.worker")
    run_worker(queues, run, Stop())
    told = [(record.levelname, record.getMessage()) for record in caplog.records if ", trial " in record.getMessage()]
    assert told[0] == ("INFO", f"{queues[0].name}, trial 0 begins (attempt 1)"), "that this worker trains"
    assert told[2] == ("DEBUG", f"{queues[0].name}, trial 1 begins (attempt 1)")
    for level, message in (told[1], told[3]):
        assert level == "INFO"
        assert re.fullmatch(r".*, trial \d: complete after \d+\.\d s, validation accuracy 62\.50 %", message)
    assert len(told) == 4


def test_that_a_trial_is_taken_over_is_told_at_its_beginning(
    storage: BaseStorage, caplog: pytest.LogCaptureFixture
) -> None:
    queues = make_queues(storage, n_trials=2)[:1]
    original = queues[0].claim

    def claim(worker: str) -> Ticket | None:
        ticket = original(worker)
        if ticket is not None:
            ticket.attempt = 2
        return ticket

    queues[0].claim = claim  # type: ignore[method-assign]
    caplog.set_level(logging.INFO, "rigl_study.worker")
    run_worker(queues, complete, Stop())
    assert f"{queues[0].name}, trial 1 begins (attempt 2)" in caplog.messages


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


def test_failures_are_counted_anew_after_a_success(storage: BaseStorage) -> None:
    queues = make_queues(storage, n_trials=6)
    endings = iter([complete, failing(ValueError("bad")), complete, *[failing(ValueError("bad"))] * 12])
    with pytest.raises(WorkerGaveUp, match="3 trials in a row failed"):
        run_worker(queues, lambda ticket, stop: next(endings)(ticket, stop), Stop())
    assert (total(queues, "complete"), total(queues, "failed")) == (2, 4)


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
    run_worker(queues, complete, Stop(), max_trials=1)
    named, unnamed, _ = storage.get_all_trials(queues[0].study_id)
    assert named.user_attrs["worker"] == "me"
    assert unnamed.user_attrs["worker"].startswith(f"{socket.gethostname()}:{os.getpid()}:")


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


def test_worker_ids_differ() -> None:
    assert worker_id() != worker_id()
    assert worker_id().count(":") == 2
