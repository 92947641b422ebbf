"""Opening a database: which one, by whom its tables are created, and what is refused."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.study import StudyDirection
from optuna.trial import TrialState

from studies.database.embedded import EmbeddedPostgres
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, StorageError, StorageUrlError
from studies.storage import open_storage, resolve_storage, wait_until_reachable
from tests.forked import CONTEXT

MAXIMIZE = [StudyDirection.MAXIMIZE]

Opened = Callable[..., RetryingStorage]


def query(url: StorageUrl, statement: str) -> Any:
    engine = sa.create_engine(url.secret())
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement))
        rows = result.all() if result.returns_rows else None
    engine.dispose()
    return rows


def test_a_study_is_found_again(opened: Opened, storage_url: StorageUrl) -> None:
    storage = opened(storage_url)
    study = optuna.create_study(storage=storage, study_name="first")
    study.enqueue_trial({"x": 0.25})
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    again = storage if storage_url.kind == "memory" else opened(storage_url)
    trials = optuna.load_study(storage=again, study_name="first").trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert trials[0].params == {"x": 0.25}


def test_heartbeats_are_on(opened: Opened, postgres_url: StorageUrl) -> None:
    storage = opened(postgres_url)
    assert storage.get_heartbeat_interval() == 10
    trial = storage.create_new_trial(storage.create_new_study(MAXIMIZE))
    storage.record_heartbeat(trial)
    assert storage._get_stale_trial_ids(1) == []
    query(postgres_url, "UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '31 seconds'")
    assert storage._get_stale_trial_ids(1) == [trial]


@pytest.mark.parametrize(("interval", "grace"), [(0, 30), (-1, 30), (10, 10), (30, 10)])
def test_heartbeat_periods_that_make_no_sense(interval: int, grace: int) -> None:
    with pytest.raises(BadInput, match="shorter"):
        open_storage(StorageUrl.parse("memory://"), heartbeat_interval=interval, grace_period=grace)


def open_at_once(url: StorageUrl, begin: Any, told: Any) -> None:
    begin.wait()
    told.put(len(open_storage(url).get_all_studies()))


def test_eight_processes_may_open_an_empty_database_at_once(empty_postgres_url: StorageUrl) -> None:
    begin, told = CONTEXT.Barrier(8, timeout=120), CONTEXT.Queue()
    processes = [CONTEXT.Process(target=open_at_once, args=(empty_postgres_url, begin, told)) for _ in range(8)]
    for process in processes:
        process.start()
    assert [told.get(timeout=120) for _ in processes] == [0] * 8
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert len(query(empty_postgres_url, "SELECT * FROM alembic_version")) == 1
    assert len(query(empty_postgres_url, "SELECT * FROM version_info")) == 1


def test_tables_that_were_half_created_are_completed(opened: Opened, postgres_url: StorageUrl) -> None:
    opened(postgres_url)
    query(postgres_url, "DROP TABLE alembic_version, trial_heartbeats")
    storage = opened(postgres_url)
    assert storage.get_all_studies() == []


@pytest.mark.parametrize(("version", "advice"), [("v2.6.0.a", "`rigl-study storage upgrade`"), ("v99", "newer Optuna")])
def test_tables_of_another_optuna_version(opened: Opened, postgres_url: StorageUrl, version: str, advice: str) -> None:
    opened(postgres_url)
    query(postgres_url, f"UPDATE alembic_version SET version_num = '{version}'")
    with pytest.raises(StorageError, match=advice) as caught:
        open_storage(postgres_url)
    assert "\n" not in str(caught.value)


def test_few_connections_however_many_threads(
    opened: Opened, postgres_url: StorageUrl, wait_until: Callable[..., bool]
) -> None:
    storage = opened(postgres_url)
    threads = [threading.Thread(target=storage.get_all_studies) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def count() -> int:
        [(found,)] = query(postgres_url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rigl-study'")
        return int(found)

    # What was closed is gone when its server process is, and pools keep theirs.
    assert wait_until(lambda: 1 <= count() <= 2), count()


def test_the_query_of_the_url_goes_before_our_settings(opened: Opened, postgres_url: StorageUrl) -> None:
    mine = StorageUrl.parse(postgres_url.secret() + "&application_name=mine")
    storage = opened(mine)
    storage.get_all_studies()
    [(count,)] = query(postgres_url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mine'")
    assert count >= 1


def test_which_storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RIGL_STUDY_STORAGE", f"sqlite:///{tmp_path}/environment.db")
    assert resolve_storage("memory://").kind == "memory"
    assert resolve_storage(None).path == tmp_path / "environment.db"
    with pytest.raises(StorageUrlError):
        resolve_storage("")


def test_without_any_wish_the_embedded_server_is_started(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, open_directory: Path
) -> None:
    monkeypatch.setenv("RIGL_STUDY_HOME", str(open_directory / "first use"))
    monkeypatch.delenv("RIGL_STUDY_STORAGE", raising=False)
    try:
        assert opened(resolve_storage(None)).get_all_studies() == []
    finally:
        EmbeddedPostgres().stop()


def test_waiting_for_a_database(postgres_url: StorageUrl, tmp_path: Path) -> None:
    wait_until_reachable(postgres_url, 60)
    wait_until_reachable(StorageUrl.parse("memory://"), 0)
    wait_until_reachable(StorageUrl.parse(f"sqlite:///{tmp_path}/study.db"), 0)
    with pytest.raises(StorageError, match="no answer"):
        wait_until_reachable(StorageUrl.parse("postgresql://127.0.0.1:1/study"), 0.1)
