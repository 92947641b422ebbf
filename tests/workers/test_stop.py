"""What signals do to a process. Each runs in one of its own."""

import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.held import LONG
from workers.stop import LONGEST_WAIT, NOTICES, SIGNALS, Stop, on_signals

PROGRAM = """
import signal, sys
from workers.stop import Stop, on_signals

stop = Stop()
with on_signals(stop):
    print("ready", flush=True)
    stop.wait(300)
    print(stop.reason, flush=True)
    if "linger" in sys.argv:
        import threading
        threading.Event().wait(300)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_request(signum: signal.Signals) -> None:
    with start() as process:
        process.send_signal(signum)
        assert process.communicate(timeout=LONG)[0] == f"{signum.name}\n"
        assert process.returncode == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_kills(signum: signal.Signals) -> None:
    process = start("linger")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "SIGTERM\n"
    process.send_signal(signum)
    assert process.wait(LONG) == -signum
    process.stdout.close()


@pytest.mark.parametrize("notice", NOTICES)
def test_notices_are_requests_and_never_kill(notice: signal.Signals, wait_until: Callable[..., bool]) -> None:
    process = start("linger")
    process.send_signal(notice)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{notice.name}\n"
    for again in (*NOTICES, signal.SIGTERM, *NOTICES):  # with the first SIGTERM among them, which is a request too
        process.send_signal(again)
    # Of the two SIGTERM is left to the kernel first; what comes before the other is, nobody hears.
    assert wait_until(lambda: not any(catches(process.pid, one) for one in SIGNALS)), "so it was handled"
    assert catches(process.pid, notice)
    process.send_signal(signal.SIGINT)
    assert process.wait(LONG) == -signal.SIGINT, "the second of SIGTERM and SIGINT"
    process.stdout.close()


def catches(pid: int, signum: int) -> bool:
    """Whether the process has a handler for the signal now (proc(5), SigCgt)."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(line.split()[1], 16) & 1 << (signum - 1))


def test_handlers_are_put_back() -> None:
    every = (*SIGNALS, *NOTICES)
    before = [signal.getsignal(one) for one in every]
    with on_signals(Stop()):
        assert not any(signal.getsignal(one) in before for one in every)
    assert [signal.getsignal(one) for one in every] == before


def test_the_first_reason_stays() -> None:
    stop = Stop()
    assert not stop.wait(0)
    stop.request("one")
    stop.request("two")
    assert stop.wait(0)
    assert stop.reason == "one"


def test_a_signal_may_come_at_any_moment_of_a_wait() -> None:
    """Python runs a handler between any two instructions of the thread that waits."""
    n_instructions = 0
    while True:
        n_instructions += 1
        stop = Stop()
        waiting = threading.Thread(target=wait_and_be_interrupted, args=[stop, n_instructions], daemon=True)
        waiting.start()
        waiting.join(LONG)
        assert not waiting.is_alive(), "the handler waits for what the thread it interrupted holds"
        if not stop.is_set():  # the wait has fewer instructions
            break
        assert stop.wait(0)
    assert n_instructions > 10


def test_a_signal_that_ends_no_wait_is_heard_soon_all_the_same() -> None:
    """It came after Python's last look for signals: its handler runs when the wait is over."""
    stop, waits = Stop(), list[float]()

    class Deaf:
        def get(self, timeout: float) -> None:
            waits.append(timeout)
            if len(waits) == 2:
                stop._since = 0.0
            raise queue.Empty

    stop._bell = Deaf()  # type: ignore[assignment]
    assert stop.wait(60)
    assert waits == [LONGEST_WAIT, LONGEST_WAIT]


def wait_and_be_interrupted(stop: Stop, n_instructions: int) -> None:
    """Wait for no time, and in this thread request the stop after so many instructions."""
    left = n_instructions

    def trace(frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        nonlocal left
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if left == 0:
            left = -1
            stop.request("signal")
        return trace

    sys.settrace(trace)
    try:
        stop.wait(1e-3)
    finally:
        sys.settrace(None)
