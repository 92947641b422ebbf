"""The thread that tells the queue of epochs while training goes on, and brings back what the queue says."""

import contextvars
import logging
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from studies.errors import TicketLost
from studies.ticket import Answer, Report

log = logging.getLogger("rigl_study.worker")

MAX_UNTOLD = 64
"""So many epochs may wait to be told; then training waits."""

WAIT_SHARE = 0.001
"""The share of an epoch's time for which training waits for the pruner's word on it."""


class Reporting(Protocol):
    """What a reporter needs of a ticket."""

    @property
    def is_certain(self) -> bool:
        """See `studies.ticket.Ticket`."""

    def tell(self, reports: Sequence[Report]) -> Answer:
        """See `studies.ticket.Ticket`."""


class Reporter:
    """Reports for a ticket while in the body of a `with`, in order, and everything or until it is known why not.

    Training hands an epoch over and goes on; what waits is told together. The pruner's word on an epoch arrives during
    the next one, and is obeyed at its end, unless it comes at once: where an epoch is so long that waiting as long as
    the last answer took costs less than WAIT_SHARE of it, training waits.

    That a ticket was taken back is known later, too. A worker that does not know must not write a checkpoint over that
    of the worker that has the ticket now. So training only goes on while the ticket is certainly this worker's, by its
    beats; otherwise, as after it was frozen or when the database has been away for long, `tell` waits for the queue.

    Arguments:
        ticket: whose epochs are told.
    """

    def __init__(self, ticket: Reporting) -> None:
        self._ticket = ticket
        self._changed = threading.Condition()
        self._untold: list[Report] = []
        self._error: BaseException | None = None
        self._prune = self._recalled = self._closed = False
        self._answer_seconds = 0.0
        self._epoch_began = time.monotonic()
        # In this context, so that what is logged there names the trial.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=[self._tell_on], name=f"reporter of {ticket}", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether the ticket is known to belong to somebody else now: nothing this worker does for it counts."""
        return isinstance(self._error, TicketLost)

    @property
    def failed(self) -> bool:
        """Whether no epoch can be told any more. `flush` raises the reason."""
        return self._error is not None

    @property
    def recalled(self) -> bool:
        """Whether the campaign is known to have been stopped: the ticket should be given back."""
        return self._recalled

    def tell(self, report: Report) -> bool:
        """Hand an epoch over; tell whether the pruner is known to want the trial stopped.

        What keeps it from being told is not raised here, so that the caller can save its state first.
        """
        now = time.monotonic()
        patience, self._epoch_began = WAIT_SHARE * (now - self._epoch_began), now
        with self._changed:
            self._untold.append(report)
            self._changed.notify_all()
            self._wait_until_told(at_most=MAX_UNTOLD if self._ticket.is_certain else 0)
            if self._answer_seconds <= patience and not report.replayed:
                self._wait_until_told(seconds=patience)
            return self._prune

    def flush(self) -> bool:
        """Wait until everything is told; tell whether the pruner wants the trial stopped.

        Raises:
            TicketLost: the ticket was taken back.
            StorageError: the database is away for too long.
            Exception: whatever else kept an epoch from being told.
        """
        with self._changed:
            self._wait_until_told()
            if self._error is not None:
                raise self._error
            return self._prune

    def _wait_until_told(self, *, at_most: int = 0, seconds: float | None = None) -> None:
        """Wait, so long at the most, until no more than so many are untold, or none will be told any more."""
        self._changed.wait_for(lambda: len(self._untold) <= at_most or self._error is not None, seconds)

    def __enter__(self) -> "Reporter":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell what is untold, whatever happened: it was trained."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if self._untold and error is not self._error:
            epochs = ", ".join(str(report.epoch + 1) for report in self._untold)
            log.warning("%s: the queue was not told of epoch %s: %s", self._ticket, epochs, self._error)

    def _tell_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._untold or self._closed)
                reports = list(self._untold)
            if not reports:
                return
            began = time.monotonic()
            try:
                answer = self._ticket.tell(reports)
            except BaseException as error:  # whatever it is, or training would wait for ever; `flush` raises it
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                del self._untold[: len(reports)]
                self._prune |= answer.prune
                self._recalled |= answer.recalled
                self._answer_seconds = time.monotonic() - began
                self._changed.notify_all()
