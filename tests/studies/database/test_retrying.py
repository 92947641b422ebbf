"""Outages: what is waited for, how long, what is said about it, and what is not worth waiting for."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.study import StudyDirection

from studies.database.embedded import EmbeddedPostgres
from studies.database.retrying import Retrier, patience_from_environment
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, StorageError
from studies.storage import open_storage
from tests.held import LONG

MAXIMIZE = [StudyDirection.MAXIMIZE]
CANARY = "hunter2canary"
NOBODY_LISTENS = f"postgresql://ann:{CANARY}@127.0.0.1:1/study"

Opened = Callable[..., RetryingStorage]
WaitUntil = Callable[..., bool]


def plain(url: StorageUrl) -> StorageUrl:
    """The URL as somebody would type it, who knows nothing of an embedded server."""
    return StorageUrl.parse(url.secret())


def shut_down(server: EmbeddedPostgres, wait_until: WaitUntil) -> None:
    """As an administrator would: the server goes though clients are connected."""
    keeper = server.status().keeper_pid
    assert keeper is not None
    os.kill(keeper, signal.SIGTERM)
    assert wait_until(lambda: not server.status().running)


def test_a_call_rides_out_a_restart(
    opened: Opened, own_server: EmbeddedPostgres, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    url = own_server.ensure_running()
    storage = opened(plain(url), patience=60)
    storage.create_new_study(MAXIMIZE, "before")
    shut_down(own_server, wait_until)
    found: list[str] = []
    caller = threading.Thread(target=lambda: found.extend(s.study_name for s in storage.get_all_studies()))
    caller.start()
    assert wait_until(lambda: "is away" in caplog.text)
    assert own_server.ensure_running() == url  # on the same port, so that clients find it
    caller.join(LONG)
    assert found == ["before"]
    messages = [record.getMessage() for record in caplog.records if record.name == "rigl_study.storage"]
    assert ["is away" in messages[0], "is back" in messages[-1]] == [True, True]
    assert len(messages) == 2
    assert all(sa.make_url(url.secret()).password not in message for message in messages)


@pytest.mark.parametrize("method", ["create_new_study", "create_new_trial", "record_heartbeat", "set_trial_user_attr"])
def test_calls_that_write_ride_it_out_too(
    opened: Opened, own_server: EmbeddedPostgres, wait_until: WaitUntil, method: str
) -> None:
    storage = opened(own_server.ensure_running(), patience=60)
    study = storage.create_new_study(MAXIMIZE, "s")
    trial = storage.create_new_trial(study)
    arguments = {
        "create_new_study": (MAXIMIZE, "t"),
        "create_new_trial": (study,),
        "record_heartbeat": (trial,),
        "set_trial_user_attr": (trial, "key", 1),
    }
    shut_down(own_server, wait_until)
    getattr(storage, method)(*arguments[method])  # starts the server again: the URL leads to an embedded one
    assert len(storage.get_all_studies()) == (2 if method == "create_new_study" else 1)
    assert len(storage.get_all_trials(study)) == (2 if method == "create_new_trial" else 1)


def test_a_connection_that_is_lost_between_two_statements_is_an_outage(
    postgres_url: StorageUrl, opened: Opened
) -> None:
    storage = opened(postgres_url)
    study = storage.create_new_study(MAXIMIZE, "one")
    for _ in range(2):
        storage.create_new_trial(study)
    reader = opened(postgres_url)
    lost: list[str] = []

    def lose(connection: sa.Connection, cursor: Any, statement: str, *_rest: Any) -> None:
        if "FROM trial_params" in statement and not lost:
            lost.append(statement)
            cursor.execute("SELECT pg_backend_pid()")
            [pid] = cursor.fetchone()
            with storage.rdb.engine.begin() as other:
                other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    sa.event.listen(reader.rdb.engine, "before_cursor_execute", lose)
    # Optuna takes an OperationalError for SQLite's and goes on in the same transaction, which then is none any more.
    assert [trial.number for trial in reader.get_all_trials(study)] == [0, 1]
    assert lost


def test_patience_ends(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds if threading.current_thread() is threading.main_thread() else 0

    clock = SimpleNamespace(monotonic=lambda: now, sleep=sleep)  # or a first try may take longer than all patience
    monkeypatch.setattr("studies.database.retrying.time.monotonic", clock.monotonic)
    monkeypatch.setattr("studies.database.retrying.time.sleep", clock.sleep)
    with pytest.raises(StorageError, match=r"no answer .* for 300 s: .*RIGL_STUDY_PATIENCE") as caught:
        open_storage(StorageUrl.parse(NOBODY_LISTENS), patience=300)
    assert 300 <= now < 310, "and one last wait"
    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)
    assert CANARY not in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"password": CANARY}, "password authentication failed"), ({"database": "nowhere"}, "does not exist")],
)
def test_a_refusal_is_not_waited_for(postgres_url: StorageUrl, change: dict[str, str], complaint: str) -> None:
    url = sa.make_url(postgres_url.secret()).set(**change).render_as_string(hide_password=False)
    with pytest.raises(StorageError, match=f"refused: .*{complaint}") as caught:
        open_storage(StorageUrl.parse(url), patience=300)
    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_sqlite_file_in_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="refused"):
        open_storage(StorageUrl.parse(f"sqlite:///{tmp_path}/nowhere/study.db"))


def test_a_signal_ends_the_wait(wait_until: WaitUntil) -> None:
    stop = threading.Event()
    errors: list[str] = []

    def call() -> None:
        try:
            open_storage(StorageUrl.parse(NOBODY_LISTENS), patience=300, should_stop=stop.is_set)
        except StorageError as error:
            errors.append(str(error))

    caller = threading.Thread(target=call)
    caller.start()
    stop.set()
    caller.join(LONG)
    assert len(errors) == 1
    assert errors[0].startswith("stopped while waiting")


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_patience_must_be_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RIGL_STUDY_PATIENCE", text)
    with pytest.raises(BadInput, match="RIGL_STUDY_PATIENCE"):
        patience_from_environment()


def test_patience_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert patience_from_environment() == 300
    monkeypatch.setenv("RIGL_STUDY_PATIENCE", "1.5")
    assert patience_from_environment() == 1.5


def test_other_errors_are_nobodys_outage() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise KeyError("no such trial")

    with pytest.raises(KeyError):
        Retrier(StorageUrl.parse("memory://"), patience=300)(fail)
    assert len(calls) == 1
