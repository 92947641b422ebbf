"""Riding out a database that is away for a while: the one place that decides what is retried, and for how long."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import psycopg2
import sqlalchemy as sa
import tenacity
from sqlalchemy import exc as sa_exc

from rigl_core.paths import variable
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, StorageError

logger = logging.getLogger("rigl_study.storage")

PATIENCE_SECONDS = 300.0
OUT_OF_TOUCH_SECONDS = 15.0
"""Half a grace period. Who waited longer for an answer, or stood still, cannot tell who is dead: whoever beats may have
been cut off just so, and needs time to say that it is there."""

# Complaints of a server that answers: waiting does not make them better. (psycopg2 gives no SQLSTATE for a refused
# connection, so the text decides; on a server that speaks another language they are retried until patience ends.)
_HOPELESS = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "permission denied",
    "does not exist",
    "certificate verify failed",
    "does not match host name",
    "is not compiled in",  # TLS, in the client
    "server does not support SSL",
    "invalid sslmode",
    "no such table",
    "unable to open database file",
    "readonly database",
    "not a database",
)
_READ_ONLY_TRANSACTION = "25006"  # the old primary after a failover
_CONNECTION_WAS_LOST = "8s2b"  # SQLAlchemy's word for it when Optuna goes on with a transaction of that connection

P = ParamSpec("P")
T = TypeVar("T")


class CommitOutcomeUnknown(Exception):
    """The connection was lost during COMMIT: the transaction may be stored or not.

    Raised by `mark_unknown_commits`. No subclass of SQLAlchemyError, because Optuna repeats `create_new_trial` five
    times by itself on those, which may store one trial twice.
    """


def mark_unknown_commits(engine: sa.Engine) -> None:
    """Make `engine` raise `CommitOutcomeUnknown` when its connection is lost during COMMIT.

    Everything else that fails on a lost connection was certainly not stored: the server rolls it back.
    """

    def mark(context: sa.engine.ExceptionContext) -> None:
        in_commit = context.connection is not None and context.statement is None and not context.is_pre_ping
        if context.is_disconnect and in_commit:
            raise CommitOutcomeUnknown(first_line(context.original_exception))

    sa.event.listen(engine, "handle_error", mark)


def seconds() -> float:
    """A clock that also runs while this process is frozen or, where there is such a clock, the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Heard:
    """When this process last heard from a database, whichever it asked."""

    def __init__(self) -> None:
        self._asked_at: float | None = None

    def ask(self) -> None:
        if self._asked_at is None:
            self._asked_at = seconds()

    def answer(self) -> None:
        self._asked_at = None

    def unanswered_for(self) -> float:
        asked_at = self._asked_at
        return 0.0 if asked_at is None else seconds() - asked_at


_heard = _Heard()


def unanswered_for() -> float:
    """Seconds since this process asked a database the first question after the last answer; 0 if all are answered."""
    return _heard.unanswered_for()


def _wrappers() -> tuple[type[Exception], ...]:
    """What Optuna wraps errors in. Nobody has raised it while Optuna is not loaded, which would take half a second."""
    loaded = sys.modules.get("optuna.exceptions")
    return () if loaded is None else (loaded.StorageInternalError,)


def first_line(error: BaseException) -> str:
    """The line of what the driver said that tells most; SQLAlchemy's own text would add statement and parameters.

    The first one, unless a later one is why waiting is hopeless: a host may have several addresses, a line each.
    """
    cause = root_cause(error)
    lines = (str(cause).strip() or type(cause).__name__).splitlines()
    return next((line.strip() for line in lines if any(text in line for text in _HOPELESS)), lines[0])


def root_cause(error: BaseException) -> BaseException:
    """The driver's error inside Optuna's or SQLAlchemy's."""
    if isinstance(error, _wrappers()) and error.__cause__ is not None:
        return root_cause(error.__cause__)
    if isinstance(error, sa_exc.DBAPIError) and error.orig is not None:
        return error.orig
    return error


def is_transient(error: BaseException) -> bool:
    """Whether the database may well answer the same call later."""
    if isinstance(error, _wrappers()):
        return error.__cause__ is not None and is_transient(error.__cause__)
    if isinstance(error, CommitOutcomeUnknown | sa_exc.TimeoutError):
        return True
    if isinstance(error, sa_exc.PendingRollbackError):
        return error.code == _CONNECTION_WAS_LOST
    if getattr(root_cause(error), "pgcode", None) == _READ_ONLY_TRANSACTION:
        return True
    if isinstance(error, sa_exc.DBAPIError) and error.connection_invalidated:
        return True
    kinds = (sa_exc.OperationalError, sa_exc.InterfaceError, psycopg2.OperationalError, psycopg2.InterfaceError)
    return isinstance(error, kinds) and not any(text in str(root_cause(error)) for text in _HOPELESS)


def patience_from_environment(default: float = PATIENCE_SECONDS) -> float:
    """Seconds to wait for a database that is away: `RIGL_STUDY_PATIENCE`, else `default`.

    Raises:
        BadInput: the variable is not a number of seconds.
    """
    text = variable("RIGL_STUDY_PATIENCE")
    try:
        seconds = default if text is None else float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise BadInput(f'RIGL_STUDY_PATIENCE is "{text}"; give a number of seconds, 0 for no patience.')
    return seconds


class Retrier:
    """Repeats calls that fail because the database is away: after 0.1 s, then ever more rarely, at most every 5 s.

    Threads may share one. An outage is logged once when the first of them begins to wait and once when it is over.

    Arguments:
        url: what is being talked to, for messages.
        patience: seconds after which one call gives up; `None` reads `RIGL_STUDY_PATIENCE` (default 300).
        should_stop: asked several times a second while waiting; when it says True the wait ends with StorageError.
    """

    def __init__(
        self, url: StorageUrl, *, patience: float | None = None, should_stop: Callable[[], bool] | None = None
    ) -> None:
        self.url = url
        self._patience = patience_from_environment() if patience is None else patience
        self._should_stop = should_stop or (lambda: False)
        self._lock = threading.Lock()
        self._away_since: float | None = None
        self._answered_at, self._in_touch_since = seconds(), float("-inf")

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function`, again and again while the database is away.

        A call is repeated even when a lost COMMIT leaves unknown whether it took effect, so `function` must be one
        that may run twice, or must handle `CommitOutcomeUnknown` itself.

        Raises:
            StorageError: patience is exhausted, `should_stop` said so, or the database refuses the call for good.
        """
        out_of_patience = tenacity.stop_after_delay(self._patience)
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            stop=lambda state: out_of_patience(state) or self._should_stop(),
            sleep=self._sleep,
            before_sleep=self._log_away,
            reraise=True,
        )
        _heard.ask()
        try:
            result = attempts(function, *args, **kwargs)
        except (CommitOutcomeUnknown, *_wrappers(), sa_exc.SQLAlchemyError, psycopg2.Error) as error:
            if not is_transient(error):
                _heard.answer()
            raise self._give_up(error) from error
        except Exception:  # of the function itself
            _heard.answer()
            raise
        _heard.answer()
        self._log_back()
        with self._lock:
            now = seconds()
            if now - self._answered_at > OUT_OF_TOUCH_SECONDS:
                self._in_touch_since = now
            self._answered_at = now
        return result

    def in_touch_for(self) -> float:
        """Seconds for which the database has answered, without a pause of more than OUT_OF_TOUCH_SECONDS.

        0 during such a pause, infinite if there never was one.
        """
        with self._lock:
            now = seconds()
            return 0.0 if now - self._answered_at > OUT_OF_TOUCH_SECONDS else now - self._in_touch_since

    def pause(self, seconds: float) -> None:
        """Wait for something else than the database.

        Raises:
            StorageError: `should_stop` said so.
        """
        self._sleep(seconds)
        if self._should_stop():
            raise StorageError(f"stopped while waiting for other processes that use the database {self.url}")

    def _give_up(self, error: Exception) -> StorageError:
        reason = first_line(error)
        if not is_transient(error):
            return StorageError(f"the database {self.url} refused: {reason}")
        if self._should_stop():
            return StorageError(f"stopped while waiting for the database {self.url}: {reason}")
        return StorageError(
            f"no answer from the database {self.url} for {self._patience:g} s: {reason}. "
            "Check that it runs and can be reached from here; RIGL_STUDY_PATIENCE sets how many seconds to wait."
        )

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._should_stop() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    def _log_away(self, state: tenacity.RetryCallState) -> None:
        with self._lock:
            if self._away_since is not None or state.outcome is None:
                return
            self._away_since = time.monotonic()
        reason = first_line(state.outcome.exception() or RuntimeError())
        logger.warning("the database %s is away, waiting up to %g s: %s", self.url, self._patience, reason)

    def _log_back(self) -> None:
        if self._away_since is None:  # unlocked: the common case, and a thread that just misses the end logs nothing
            return
        with self._lock:
            since, self._away_since = self._away_since, None
        if since is not None:
            logger.warning("the database %s is back after %.1f s", self.url, time.monotonic() - since)
