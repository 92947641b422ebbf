"""Mutual exclusion between processes and threads, on every kind of storage."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage

from studies.database.engines import unpooled_engine
from studies.database.locks import exclusive, lock
from studies.database.retrying import Retrier
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.errors import StorageError

Opened = Callable[..., RetryingStorage]
StartPython = Callable[[str, StorageUrl], "subprocess.Popen[str]"]

HOLD = """
storage = open_storage(url)
with exclusive(storage, "key"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def is_taken(url: StorageUrl, key: str = "key") -> bool:
    """Whether somebody holds the lock, by one look at it."""
    at_once = Retrier(url, patience=0, should_stop=lambda: True)
    try:
        with lock(url, key, at_once):
            return False
    except StorageError as error:
        if "stopped while waiting for other processes" not in str(error):
            raise
        return True


@pytest.fixture
def shared_url(storage_url: StorageUrl) -> StorageUrl:
    if storage_url.kind == "memory":
        pytest.skip("lives in one process")
    return storage_url


def test_threads_take_turns(opened: Opened, storage_url: StorageUrl) -> None:
    storage = opened(storage_url)
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(3):
            with exclusive(storage, "key"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 12


def test_processes_exclude_each_other_until_one_is_killed(
    opened: Opened, start_python: StartPython, shared_url: StorageUrl
) -> None:
    storage = opened(shared_url)
    process = start_python(HOLD, shared_url)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert is_taken(shared_url)
    process.kill()
    with exclusive(storage, "key"):
        assert is_taken(shared_url)
    assert not is_taken(shared_url)


def test_it_is_free_again_after_an_error(opened: Opened, storage_url: StorageUrl) -> None:
    storage = opened(storage_url)
    with pytest.raises(KeyError), exclusive(storage, "key"):
        raise KeyError
    with exclusive(storage, "key"):  # else this would wait for ever
        pass


def test_keys_are_independent(opened: Opened, postgres_url: StorageUrl) -> None:
    storage = opened(postgres_url)
    with exclusive(storage, "one"):
        assert is_taken(postgres_url, "one")
        assert not is_taken(postgres_url, "two")


def test_a_server_that_cuts_off_idle_transactions_leaves_the_lock_alone(postgres_url: StorageUrl) -> None:
    impatient = f"{postgres_url.secret()}&options=-c%20idle_in_transaction_session_timeout%3D100"
    retrier = Retrier(postgres_url, patience=0)
    with lock(StorageUrl.parse(impatient), "key", retrier):
        with unpooled_engine(postgres_url).connect() as other:
            other.execute(sa.text("SELECT pg_sleep(0.5)"))
        assert is_taken(postgres_url)


def test_a_signal_ends_the_wait(opened: Opened, start_python: StartPython, shared_url: StorageUrl) -> None:
    process = start_python(HOLD, shared_url)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    stop = threading.Event()
    storage = opened(shared_url, should_stop=stop.is_set)
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(StorageError, match="stopped while waiting"), exclusive(storage, "key"):
        pass


def test_only_what_open_storage_returned(tmp_path: Path) -> None:
    storage = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    with pytest.raises(TypeError, match="RDBStorage"), exclusive(storage, "key"):
        pass
    storage.engine.dispose()


def test_a_sqlite_file_whose_folder_takes_no_lock_is_told_so(tmp_path: Path) -> None:
    url = StorageUrl.parse(f"sqlite:///{tmp_path}/away/study.db")  # or on what is mounted for reading only
    told = r"cannot be changed: .*study\.db\.lock: No such file or directory"
    with pytest.raises(StorageError, match=told), lock(url, "key", Retrier(url, patience=0)):
        pass
