"""What the keeper's child is told before it becomes the server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from studies.database.keeper import WATCHED, before_server


@pytest.fixture
def _as_in_the_keeper() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.usefixtures("_as_in_the_keeper")
def test_a_request_to_stop_is_not_forgotten_before_the_servers_program_runs() -> None:
    told = before_server(os.getpid())

    def stopped_at_once() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        told()

    with subprocess.Popen(["sleep", "60"], preexec_fn=stopped_at_once) as server:
        assert server.wait(30) == -signal.SIGINT


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no file tells")
@pytest.mark.usefixtures("_as_in_the_keeper")
def test_the_server_has_no_signal_blocked() -> None:
    command = ["grep", "SigBlk", "/proc/self/status"]
    shown = subprocess.run(command, preexec_fn=before_server(os.getpid()), capture_output=True, text=True, check=True)

    assert int(shown.stdout.split()[1], 16) == 0
