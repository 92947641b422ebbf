"""The thread that tells the database that a ticket's worker is alive, and brings back what it should know."""

import logging
import threading
from types import TracebackType
from typing import Protocol

from studies.errors import TicketLost

log = logging.getLogger("rigl_study.worker")

JOIN_SECONDS = 1.0


class Beating(Protocol):
    """What a heartbeat needs of a ticket."""

    @property
    def heartbeat_interval(self) -> float | None:
        """See `studies.ticket.Ticket`."""

    def beat(self) -> bool:
        """See `studies.ticket.Ticket`."""

    def recalled(self) -> bool:
        """See `studies.ticket.Ticket`."""


class Heartbeat:
    """Beats for a ticket while in the body of a `with`; no database error ends it before.

    Arguments:
        ticket: whose `heartbeat_interval` (seconds) says how often; None never beats.
    """

    def __init__(self, ticket: Beating) -> None:
        self._ticket = ticket
        self._done = threading.Event()
        self._lost = threading.Event()
        self._recalled = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name=f"heartbeat of {ticket}", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether the ticket is known to belong to somebody else now: nothing this worker does for it counts."""
        return self._lost.is_set()

    @property
    def recalled(self) -> bool:
        """Whether the campaign is known to have been stopped: the ticket should be given back."""
        return self._recalled.is_set()

    def look(self) -> None:
        """Ask the database right now whether the ticket is recalled, as after every beat.

        Raises:
            TicketLost: the campaign was deleted.
            StorageError: the database is away for too long.
        """
        if self._ticket.recalled():
            self._recalled.set()

    def __enter__(self) -> "Heartbeat":
        if self._ticket.heartbeat_interval is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread.ident is not None:
            # It may be waiting for a database that is away. A beat that comes too late changes nothing.
            self._thread.join(JOIN_SECONDS)

    def _beat_on(self) -> None:
        while not self._done.wait(self._ticket.heartbeat_interval):
            try:
                if not self._ticket.beat():
                    self._lost.set()
                    return
                self.look()
            except TicketLost:
                self._lost.set()
                return
            except Exception as error:
                # Whatever it was: with this thread a trial that is well would be declared dead and run twice.
                log.warning("no sign of life for %s: %s. Trying again.", self._ticket, error)
