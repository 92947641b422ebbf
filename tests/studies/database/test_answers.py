"""A server that is there and does not answer: a proxy or pooler that hangs, which no limit of TCP notices."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from optuna.study import StudyDirection

from studies.database import answers
from studies.database.answers import WatchedConnection, unhurried
from studies.database.engines import unpooled_engine
from studies.database.retrying import unanswered_for
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.errors import StorageError
from studies.tickets import TicketQueue
from tests.hanging_proxy import HangingProxy
from tests.held import LONG
from tests.studies.queues import claim, make_plan, make_result

LIMIT = 0.5
MAXIMIZE = [StudyDirection.MAXIMIZE]

WaitUntil = Callable[..., bool]


@pytest.fixture
def proxy(postgres_url: StorageUrl) -> Iterator[HangingProxy]:
    with HangingProxy(postgres_url) as proxy:
        yield proxy
        proxy.recover()


@pytest.fixture
def storage(proxy: HangingProxy, opened: Callable[..., Any]) -> RetryingStorage:
    storage = opened(proxy.url, answer_limit=LIMIT, patience=LONG)
    assert isinstance(storage, RetryingStorage)
    return storage


class Asked:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.answer: Any = None
        self._thread = threading.Thread(target=self._ask, args=[call])
        self._thread.start()

    def _ask(self, call: Callable[[], Any]) -> None:
        self.answer = call()

    def join(self) -> Any:
        self._thread.join(LONG)
        assert not self._thread.is_alive()
        return self.answer


def test_a_statement_without_an_answer_is_an_outage(
    storage: RetryingStorage, proxy: HangingProxy, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    storage.create_new_study(MAXIMIZE, "there")
    assert unanswered_for() == 0
    proxy.hang()
    asked = Asked(lambda: [study.study_name for study in storage.get_all_studies()])
    assert wait_until(lambda: "is away" in caplog.text)
    assert unanswered_for() >= LIMIT
    proxy.recover()
    assert asked.join() == ["there"]
    assert "is back" in caplog.text
    assert unanswered_for() == 0


@pytest.mark.parametrize("when", ["claim", "report", "complete"])
def test_a_commit_without_an_answer_takes_effect_once(
    storage: RetryingStorage, proxy: HangingProxy, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    queue = TicketQueue.create(storage, make_plan())
    ticket = None if when == "claim" else claim(queue)
    sa.event.listen(storage.rdb.engine, "commit", lambda _connection: proxy.hang(), once=True)
    if ticket is None:
        asked = Asked(lambda: claim(queue).number)
    elif when == "report":
        asked = Asked(lambda: ticket.report(0, 0.5))
    else:
        asked = Asked(lambda: ticket.complete(make_result()))
    assert wait_until(lambda: "is away" in caplog.text)
    proxy.recover()
    assert asked.join() == {"claim": 0, "report": False, "complete": True}[when]
    counts = queue.counts()
    assert (counts.waiting, counts.running, counts.complete) == (2, when != "complete", when == "complete")


def test_a_server_that_answers_no_new_connection_is_away(
    storage: RetryingStorage, proxy: HangingProxy, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    storage.close()
    proxy.hang()
    asked = Asked(storage.get_all_studies)
    assert wait_until(lambda: "is away" in caplog.text)
    proxy.recover()
    assert asked.join() == []


def test_patience_ends_while_nothing_answers(proxy: HangingProxy, opened: Callable[..., Any]) -> None:
    storage = opened(proxy.url, answer_limit=LIMIT, patience=0)
    storage.get_all_studies()
    proxy.hang()
    with pytest.raises(StorageError, match=r"no answer from the database .* for 0 s: .*timeout expired"):
        storage.get_all_studies()


def test_who_is_to_stop_and_has_waited_long_enough_waits_no_longer(
    proxy: HangingProxy, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LAST_WORDS_SECONDS", LIMIT)
    storage = opened(proxy.url, answer_limit=10 * LONG, should_stop=proxy._hanging.is_set)
    storage.get_all_studies()
    proxy.hang()
    with pytest.raises(StorageError, match="stopped while waiting for the database"):
        storage.get_all_studies()


def test_a_connection_that_waits_for_nothing_is_left_alone(
    proxy: HangingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(answers, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=answers.time.sleep))
    with closing(connect(proxy.url, limit=10)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        clock.now += 1000
        connection.look()
        cursor.execute("SELECT 2")
        assert cursor.fetchall() == [(2,)]


def test_a_server_that_still_sends_is_not_cut_off(
    proxy: HangingProxy, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(answers, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=answers.time.sleep))
    with closing(connect(proxy.url, limit=10)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        connection.commit()
        proxy.answer_in_pieces()

        def ask() -> BaseException | None:
            try:
                cursor.execute("SELECT repeat('x', 1000)")
            except psycopg2.Error as error:
                return error
            return None

        asked = Asked(ask)
        assert wait_until(lambda: connection._wait is not None and connection._wait.received is not None)
        for _ in range(5):
            before = connection._wait.received
            clock.now += 9
            proxy.pass_piece()
            assert wait_until(lambda before=before: connection._wait.received != before)
            assert not connection._wait.cut
        clock.now += 11
        error = asked.join()
        assert isinstance(error, psycopg2.OperationalError)
        assert "connected, but no answer for 11 s" in str(error)


def test_what_goes_through_all_trials_is_given_more_time(proxy: HangingProxy) -> None:
    engine = unpooled_engine(proxy.url)
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, WatchedConnection)
        assert driver.limit == answers.ANSWER_SECONDS
        with unhurried(connection):
            assert driver.limit == answers.LONG_SECONDS
        assert driver.limit == answers.ANSWER_SECONDS


def connect(url: StorageUrl, limit: float) -> Any:
    parts = sa.make_url(url.secret()).translate_connect_args(username="user", database="dbname")
    return psycopg2.connect(connection_factory=partial(WatchedConnection, limit=limit), **parts)
