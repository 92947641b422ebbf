"""The thread that reports, with a ticket that answers when it is told to."""

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from studies.errors import StorageError, TicketLost
from studies.ticket import Answer, Report
from tests.held import LONG
from workers.reporter import MAX_UNTOLD, Reporter

GO_ON = Answer(prune=False, recalled=False)


class FakeTicket:
    """Takes reports while `open` is set, and answers as told, then that training may go on."""

    def __init__(self, *answers: Answer | BaseException, is_open: bool = True) -> None:
        self.is_certain = True
        self.told: list[list[int]] = []
        self.open = threading.Event()
        self._answers = list(answers)
        if is_open:
            self.open.set()

    def tell(self, reports: Sequence[Report]) -> Answer:
        assert self.open.wait(LONG)
        answer = self._answers.pop(0) if self._answers else GO_ON
        if isinstance(answer, BaseException):
            raise answer
        self.told.append([report.epoch for report in reports])
        return answer

    @property
    def epochs(self) -> list[int]:
        return [epoch for batch in self.told for epoch in batch]


def test_everything_is_told_in_order() -> None:
    ticket = FakeTicket()
    with Reporter(ticket) as reporter:
        assert [reporter.tell(Report(epoch, 0.5)) for epoch in range(200)] == [False] * 200
        assert not reporter.flush()
        assert ticket.epochs == list(range(200))
    assert not reporter._thread.is_alive()


def test_training_goes_on_while_an_answer_is_out_and_what_waits_is_told_together() -> None:
    ticket = FakeTicket(is_open=False)
    with Reporter(ticket) as reporter:
        for epoch in range(10):
            assert not reporter.tell(Report(epoch, 0.5))
        ticket.open.set()
        reporter.flush()
    assert ticket.epochs == list(range(10))
    assert len(ticket.told) <= 3, "one that was out, and the rest at once"


def test_the_pruners_word_is_obeyed_one_epoch_late() -> None:
    ticket = FakeTicket(Answer(prune=True, recalled=False), is_open=False)
    with Reporter(ticket) as reporter:
        assert not reporter.tell(Report(0, 0.5))
        ticket.open.set()
        reporter.flush()
        assert reporter.tell(Report(1, 0.5)), "and is not forgotten when later answers say nothing"
        assert reporter.flush()
    assert ticket.epochs == [0, 1]


def test_the_pruners_word_is_waited_for_where_an_epoch_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = FakeTicket(Answer(prune=True, recalled=False), is_open=False)
    monkeypatch.setattr("workers.reporter.WAIT_SHARE", 1e7)
    with Reporter(ticket) as reporter:
        threading.Timer(0.05, ticket.open.set).start()
        assert reporter.tell(Report(0, 0.5))


@pytest.mark.parametrize(
    ("epoch_seconds", "replayed", "waits"), [(30_000.0, False, True), (10_000.0, False, False), (30_000.0, True, False)]
)
def test_the_pruners_word_is_waited_for_where_that_costs_a_thousandth_of_an_epoch_that_was_trained(
    epoch_seconds: float, replayed: bool, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr("workers.reporter.time", SimpleNamespace(monotonic=lambda: clock))

    class Slow(FakeTicket):
        def tell(self, reports: Sequence[Report]) -> Answer:
            nonlocal clock
            answer = super().tell(reports)
            clock += 20.0
            return answer

    ticket = Slow(GO_ON, Answer(prune=True, recalled=False))
    with Reporter(ticket) as reporter:
        reporter.tell(Report(0, 0.5))
        reporter.flush()
        ticket.open.clear()
        clock = epoch_seconds
        opens = threading.Timer(0.05, ticket.open.set)
        opens.start()
        assert reporter.tell(Report(1, 0.5, replayed)) == waits
        opens.join()


def test_a_recall_is_noticed() -> None:
    ticket = FakeTicket(Answer(prune=False, recalled=True))
    with Reporter(ticket) as reporter:
        assert not reporter.recalled
        reporter.tell(Report(0, 0.5))
        reporter.flush()
        assert reporter.recalled
        assert not reporter.lost


@pytest.mark.parametrize(
    "error", [TicketLost("taken back"), StorageError("away"), ValueError("a bug"), SystemExit("a library")]
)
def test_what_keeps_an_epoch_from_being_told_is_raised_at_the_end(error: BaseException) -> None:
    ticket = FakeTicket(GO_ON, error)
    with Reporter(ticket) as reporter:
        reporter.tell(Report(0, 0.5))
        reporter.flush()
        assert not reporter.failed
        assert not reporter.tell(Report(1, 0.5)), "not raised here: the caller writes a checkpoint first"
        reporter._thread.join(LONG)
        assert reporter.failed
        assert reporter.lost == isinstance(error, TicketLost)
        assert not reporter.tell(Report(2, 0.5)), "does not wait for what will never come"
        with pytest.raises(type(error), match=str(error)):
            reporter.flush()


def test_a_ticket_that_may_be_lost_is_asked_for_before_training_goes_on() -> None:
    ticket = FakeTicket(GO_ON, TicketLost("taken back"))
    with Reporter(ticket) as reporter:
        reporter.tell(Report(0, 0.5))
        reporter.flush()
        ticket.is_certain = False  # it was frozen, or the database is away
        reporter.tell(Report(1, 0.5))
        assert reporter.lost, "known when tell returns, so that no checkpoint is written over the heir's"


def test_training_goes_on_with_a_ticket_that_was_uncertain_once_all_is_told() -> None:
    ticket = FakeTicket(is_open=False)
    ticket.is_certain = False
    with Reporter(ticket) as reporter:
        threading.Timer(0.05, ticket.open.set).start()
        assert not reporter.tell(Report(0, 0.5))
        assert ticket.epochs == [0], "told when tell returns"
        assert not reporter.lost


def test_no_more_than_so_many_epochs_are_untold(wait_until: Callable[..., bool]) -> None:
    ticket = FakeTicket(is_open=False)
    told: list[int] = []

    def train() -> None:
        for epoch in range(MAX_UNTOLD + 1):
            reporter.tell(Report(epoch, 0.5))
            told.append(epoch)

    with Reporter(ticket) as reporter:
        thread = threading.Thread(target=train)
        thread.start()
        assert wait_until(lambda: len(reporter._untold) == MAX_UNTOLD + 1)
        thread.join(0.2)
        assert thread.is_alive(), "it waits with the last one"
        assert told == list(range(MAX_UNTOLD))
        ticket.open.set()
        thread.join(LONG)
        assert not thread.is_alive()
    assert ticket.epochs == list(range(MAX_UNTOLD + 1))


def fail_after_an_epoch(ticket: FakeTicket) -> None:
    with Reporter(ticket) as reporter:
        reporter.tell(Report(0, 0.5))
        threading.Timer(0.05, ticket.open.set).start()
        raise MemoryError


def test_what_was_trained_is_told_also_when_training_fails(caplog: pytest.LogCaptureFixture) -> None:
    ticket = FakeTicket(is_open=False)
    with pytest.raises(MemoryError):
        fail_after_an_epoch(ticket)
    assert ticket.epochs == [0]
    assert caplog.text == ""


def test_what_could_not_be_told_when_training_failed_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(MemoryError):
        fail_after_an_epoch(FakeTicket(StorageError("away for 300 s")))
    assert "the queue was not told of epoch 1: away for 300 s" in caplog.text
