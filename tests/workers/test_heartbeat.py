"""The beat thread, with a ticket that answers as told."""

import queue
import subprocess
import sys
from collections.abc import Iterable

import pytest

from studies.errors import StorageError, TicketLost
from tests.held import LONG
from workers.heartbeat import Heartbeat

Answer = bool | Exception


class FakeTicket:
    """Answers beats as told, then well; every beat is put on `beats`."""

    heartbeat_interval: float | None = 0.01

    def __init__(self, beats: Iterable[Answer] = (), recalls: Iterable[Answer] = ()) -> None:
        self._beats, self._recalls = list(beats), list(recalls)
        self.beats: queue.Queue[Answer] = queue.Queue()

    def beat(self) -> bool:
        answer = self._beats.pop(0) if self._beats else True
        self.beats.put(answer)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def recalled(self) -> bool:
        answer = self._recalls.pop(0) if self._recalls else False
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait_for_beats(self, n: int) -> list[Answer]:
        return [self.beats.get(timeout=LONG) for _ in range(n)]


def test_it_beats_again_and_again_and_then_no_more() -> None:
    ticket = FakeTicket()
    with Heartbeat(ticket) as heartbeat:
        ticket.wait_for_beats(3)
        assert not heartbeat.lost
        assert not heartbeat.recalled
    heartbeat._thread.join(LONG)  # it may be in a beat that takes longer than it is waited for
    assert not heartbeat._thread.is_alive()


@pytest.mark.parametrize("error", [StorageError("away"), RuntimeError("anything"), MemoryError()])
def test_no_error_ends_it(error: Exception) -> None:
    ticket = FakeTicket([error, error, error])
    with Heartbeat(ticket) as heartbeat:
        assert ticket.wait_for_beats(5) == [error, error, error, True, True]
        assert not heartbeat.lost


@pytest.mark.parametrize("ticket", [FakeTicket([True, False]), FakeTicket(recalls=[False, TicketLost("deleted")])])
def test_a_lost_ticket_is_noticed_and_not_beaten_for(ticket: FakeTicket) -> None:
    with Heartbeat(ticket) as heartbeat:
        ticket.wait_for_beats(2)
        heartbeat._thread.join(LONG)
        assert heartbeat.lost
    assert ticket.beats.empty()


def test_a_recalled_ticket_is_noticed_and_kept() -> None:
    ticket = FakeTicket(recalls=[False, True])
    with Heartbeat(ticket) as heartbeat:
        ticket.wait_for_beats(4)
        assert heartbeat.recalled
        assert not heartbeat.lost


def test_without_an_interval_it_only_looks_when_told_to() -> None:
    ticket = FakeTicket(recalls=[True])
    ticket.heartbeat_interval = None
    with Heartbeat(ticket) as heartbeat:
        assert not heartbeat.recalled
        heartbeat.look()
        assert heartbeat.recalled
    assert ticket.beats.empty()


def test_a_beat_that_never_returns_keeps_no_worker_from_ending() -> None:
    script = """
import threading
from types import SimpleNamespace
from workers.heartbeat import Heartbeat

beaten = threading.Event()

def beat():
    beaten.set()
    threading.Event().wait()  # a database that is away

with Heartbeat(SimpleNamespace(heartbeat_interval=0.001, beat=beat, recalled=lambda: False)):
    beaten.wait()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
