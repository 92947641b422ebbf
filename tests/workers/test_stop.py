"""What signals do to a process. Each runs in one of its own."""

import signal
import subprocess
import sys

import pytest

from workers.stop import Stop, on_signals

PROGRAM = """
import signal, sys
from workers.stop import Stop, on_signals

stop = Stop()
with on_signals(stop):
    print("ready", flush=True)
    stop.wait(60)
    print(stop.reason, flush=True)
    if "linger" in sys.argv:
        import threading
        threading.Event().wait(60)
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
    process = start()
    process.send_signal(signum)
    assert process.communicate(timeout=20)[0] == f"{signum.name}\n"
    assert process.returncode == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_kills(signum: signal.Signals) -> None:
    process = start("linger")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "SIGTERM\n"
    process.send_signal(signum)
    assert process.wait(20) == -signum
    process.stdout.close()


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with on_signals(Stop()):
        assert signal.getsignal(signal.SIGTERM) not in before
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_the_first_reason_stays() -> None:
    stop = Stop()
    assert not stop.wait(0)
    stop.request("one")
    stop.request("two")
    assert stop.wait(0)
    assert stop.reason == "one"
