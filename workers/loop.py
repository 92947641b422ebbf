"""The life of a worker: claim a ticket, run it, claim the next; wait while others' tickets may still come back."""

import contextlib
import logging
import math
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import Literal

from studies.database.transactions import StudyIdentity
from studies.errors import DataUnavailable, DeviceFailed, NotFound, RiglStudyError, StorageError, TicketLost
from studies.log_format import noted
from studies.ticket import Ticket
from studies.tickets import TicketQueue
from workers.stop import Stop

log = logging.getLogger("rigl_study.worker")

POLL_SECONDS = 2.0
MAX_FAILURES_IN_A_ROW = 3
IDLE_FACTOR, IDLE_LIMIT = 1.25, 5.0
"""An idle worker that runs for ever looks ever more rarely, down to once in so many times `poll_seconds`: hundreds that
wait for a campaign would otherwise keep the database busy."""
LACKING_SECONDS = 60.0
"""How long a worker that runs for ever leaves a campaign alone whose data are not to be had on its machine."""

Ending = Literal["complete", "pruned", "given_back", "lost"]
Run = Callable[[Ticket, Stop], Ending]
"""Trains a ticket and tells the queue how it went. What it raises is the reason for which the trial is failed."""


class WorkerGaveUp(RiglStudyError):
    """Several trials in a row failed: the reason is likely this worker's machine, or the whole campaign."""


def worker_id() -> str:
    """A name for this worker that no other one has: HOST:PID:RANDOM."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def run_worker(
    queues: Sequence[TicketQueue],
    run: Run,
    stop: Stop,
    *,
    worker: str | None = None,
    max_trials: int | None = None,
    forever: bool = False,
    refresh: Callable[[], Sequence[TicketQueue]] | None = None,
    poll_seconds: float = POLL_SECONDS,
    when_over: Callable[[TicketQueue], object] = lambda _: None,
) -> int:
    """Run tickets of these queues in turn, until all are done, stopped or deleted.

    An idle worker waits while trials of others run, because the ticket of one that dies comes back; it looks for such
    itself (`TicketQueue.sweep`). A trial that raises is failed with that reason, and the worker goes on. One whose data
    are not to be had here is given back, and its campaign left to workers that have them.

    Arguments:
        queues: where to claim, in turn.
        run: trains one ticket.
        stop: ends the worker after the ticket at hand, which `run` gives back.
        worker: its name, for the record; default `worker_id()`.
        max_trials: end after finishing so many.
        forever: keep waiting for new tickets when all is done.
        refresh: asked for the queues again whenever there is nothing to claim, to find campaigns created meanwhile.
        poll_seconds: time between two looks of an idle worker (with `forever` at first), and between two sweeps.
        when_over: called with a queue when nothing waits or runs in it, once after this worker's last ticket.

    Returns:
        How many trials it finished (complete, pruned or failed).

    Raises:
        WorkerGaveUp: MAX_FAILURES_IN_A_ROW trials in a row failed.
        DataUnavailable: nothing is left but campaigns whose data cannot be had here. Not with `forever`: it looks for
            the data again every LACKING_SECONDS.
        DeviceFailed: a GPU stopped computing. Its trial is left to the sweep.
        StorageError: the database is away for too long, or was when this worker should give its ticket back.
    """
    rounds = _Rounds(queues, worker or worker_id(), poll_seconds)
    n_finished = n_failures = 0
    is_first = True
    lacking: DataUnavailable | None = None
    pause = poll_seconds
    while not stop.is_set() and (max_trials is None or n_finished < max_trials):
        ticket = None
        try:
            rounds.sweep()
            ticket = rounds.claim()
            if ticket is None:
                rounds.tell_over(when_over)
                if not forever and rounds.all_over():
                    if lacking is not None and rounds.leaves_work():
                        raise lacking
                    break
                stop.wait(pause)
                pause = min(IDLE_FACTOR * pause, IDLE_LIMIT * poll_seconds) if forever else poll_seconds
                if refresh is not None:
                    rounds.renew(refresh())
                continue
            rounds.over.clear()
            pause = poll_seconds
            with noted(campaign=ticket.spec.campaign, study=ticket.spec.study, trial=ticket.number):
                # A trial is one line, at its end. The first one shows that this worker trains.
                level, is_first = logging.INFO if is_first or ticket.attempt > 1 else logging.DEBUG, False
                log.log(level, "%s begins (attempt %d)", ticket, ticket.attempt)
                ending = _run_or_fail(ticket, run, stop)
        except DataUnavailable as error:
            if ticket is None:
                raise
            lacking = error
            log.warning("%s", error)
            rounds.set_aside(ticket.spec.campaign, LACKING_SECONDS if forever else math.inf)
            continue
        except StorageError as error:
            if ticket is None and stop.is_set():  # nothing to give back
                log.warning("%s", error)
                break
            raise
        except DeviceFailed:
            raise
        except Exception as error:
            n_finished, n_failures = n_finished + 1, n_failures + 1
            told = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")  # one line, whatever the library
            log.warning("%s failed: %s", ticket or "a trial that was being claimed", told)
            if n_failures == MAX_FAILURES_IN_A_ROW:
                raise WorkerGaveUp(
                    f"{n_failures} trials in a row failed, the last with {told}. This worker "
                    "ends; `rigl-study show` tells about each, `rigl-study retry` runs one again."
                ) from error
            continue
        if ending in ("complete", "pruned"):
            n_finished, n_failures = n_finished + 1, 0
    return n_finished


def _run_or_fail(ticket: Ticket, run: Run, stop: Stop) -> Ending:
    """Run the ticket; whatever goes wrong, it does not stay behind as running."""
    began = time.monotonic()
    try:
        ending = run(ticket, stop)
    except TicketLost as lost:
        log.warning("%s", lost)
        return "lost"
    except StorageError:  # nothing can be told now; the missing beats will tell
        raise
    except DeviceFailed:  # as if this worker was killed: if it is the trial's fault, so many deaths end that
        raise
    except DataUnavailable:
        ticket.give_back("what it needs, data, masks or its checkpoint, is not to be had on this machine")
        raise
    except Exception as error:
        ticket.fail(error)
        raise
    except BaseException:
        ticket.give_back("interrupted")
        raise
    reached = "" if ticket.val_accuracy is None else f", validation accuracy {100 * ticket.val_accuracy:.2f} %"
    log.info("%s: %s after %.1f s%s", ticket, ending.replace("_", " "), time.monotonic() - began, reached)
    return ending


class _Rounds:
    """Several queues, served in turn."""

    def __init__(self, queues: Sequence[TicketQueue], worker: str, poll_seconds: float) -> None:
        self.queues = list(queues)
        self._worker, self._poll_seconds = worker, poll_seconds
        self._next_sweep = 0.0
        self._aside_until: dict[str, float] = {}
        self.over: set[tuple[str, StudyIdentity]] = set()

    def renew(self, found: Sequence[TicketQueue]) -> None:
        """Serve these from now on. Of a study that is served already its queue stays, with what it has read so far."""
        served = {(queue.name, queue.identity): queue for queue in self.queues}
        self.queues = [served.get((queue.name, queue.identity), queue) for queue in found]

    def claim(self) -> Ticket | None:
        """A ticket of the first queue that has one; that queue is then the last in turn."""
        for queue in [queue for queue in self.queues if not self._is_aside(queue)]:
            try:
                ticket = queue.claim(self._worker)
            except NotFound as deleted:
                log.warning("%s", deleted)
                self.queues.remove(queue)
                continue
            if ticket is not None:
                self.queues.remove(queue)
                self.queues.append(queue)
                return ticket
        return None

    def set_aside(self, campaign: str, seconds: float) -> None:
        """Claim nothing of this campaign for so long."""
        self._aside_until[campaign] = time.monotonic() + seconds

    def _is_aside(self, queue: TicketQueue) -> bool:
        return time.monotonic() < self._aside_until.get(queue.plan.spec.name, 0.0)

    def sweep(self) -> None:
        """Look for dead workers' tickets, unless that was done just now."""
        if time.monotonic() >= self._next_sweep:
            for queue in self.queues:
                queue.sweep()
            self._next_sweep = time.monotonic() + self._poll_seconds

    def tell_over(self, when_over: Callable[[TicketQueue], object]) -> None:
        """Call `when_over` with each queue that is over and was not when this was last called."""
        for queue in self.queues:
            if (queue.name, queue.identity) in self.over:
                continue
            with contextlib.suppress(NotFound):
                if queue.counts().is_done:
                    self.over.add((queue.name, queue.identity))
                    when_over(queue)

    def all_over(self) -> bool:
        """Whether nothing is left that could ever be claimed here."""
        return all(self._is_aside(queue) or self._is_over(queue) for queue in self.queues)

    def leaves_work(self) -> bool:
        """Whether something is still to be done, by others."""
        return not all(map(self._is_over, self.queues))

    @staticmethod
    def _is_over(queue: TicketQueue) -> bool:
        try:
            return queue.counts().is_done or queue.control() == "stop"
        except NotFound:
            return True
