"""How a worker is asked to stop, and what the first and the second signal mean.

First SIGTERM or Ctrl-C: finish the current step, write a checkpoint, give the ticket back, exit 0.
Second: die at once. The ticket is left to the sweep, which issues it again after the grace period.

SIGUSR1 and SIGUSR2 are notices: they ask for the same as the first, and however many come they never kill. Batch
systems send them before time is up, and to every process of a job at once, so that a worker may get the same notice
from there and from its parent.
"""

import contextlib
import logging
import queue
import signal
import time
from collections.abc import Iterator
from types import FrameType

log = logging.getLogger("rigl_study.worker")

LAST_WORDS_SECONDS = 8.0
"""How long a worker that is to stop waits for a database that is away, to give its ticket back. Whoever sends SIGTERM
(a preemption, a container's end) sends SIGKILL some ten to thirty seconds later."""

LONGEST_WAIT = 1.0
"""Seconds. A signal that comes in the microseconds between Python's last look for signals and the system's wait ends no
wait, and its handler runs after that."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)
NOTICES = (signal.SIGUSR1, signal.SIGUSR2)


class Stop:
    """A request to stop, once made never withdrawn. Safe to make from any thread and from a signal handler."""

    def __init__(self) -> None:
        # No `threading.Event`: a handler that came while its own thread was about to wait for one, and so held the
        # event's lock, would wait for that lock for ever.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._reason = ""
        self._since: float | None = None

    @property
    def reason(self) -> str:
        """Why, for the record; empty until it is requested."""
        return self._reason

    def request(self, reason: str) -> None:
        """Ask to stop; the first reason stays."""
        self._reason = self._reason or reason
        self._since = time.monotonic() if self._since is None else self._since
        self._bell.put(None)

    def is_set(self) -> bool:
        """Whether it was requested."""
        return self._since is not None

    def is_overdue(self) -> bool:
        """Whether it was requested so long ago that a database that is away is not waited for any more."""
        return self._since is not None and time.monotonic() - self._since > LAST_WORDS_SECONDS

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it is requested, and tell whether it was."""
        ends = time.monotonic() + seconds
        while self._since is None and (left := ends - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=min(left, LONGEST_WAIT))
                self._bell.put(None)  # for the next who waits
        return self._since is not None


@contextlib.contextmanager
def on_signals(stop: Stop) -> Iterator[None]:
    """While in the body, the first SIGTERM or SIGINT requests `stop`, the second kills this process; a notice requests.

    The second is left to the kernel, so that it works even if Python is stuck in a computation or a database call.
    Whatever handlers there were before are put back at the end. Only the main thread can do this.

    Raises:
        ValueError: called from another thread.
    """

    def handle(signum: int, _frame: FrameType | None) -> None:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_DFL)
        stop.request(signal.Signals(signum).name)

    def take_notice(signum: int, _frame: FrameType | None) -> None:
        stop.request(signal.Signals(signum).name)

    before = {one: signal.signal(one, take_notice) for one in NOTICES}
    before |= {one: signal.signal(one, handle) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
