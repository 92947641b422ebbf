"""Fixtures for the whole suite: a clean environment, and one real Postgres server a session, shared by its tests."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

from studies.database.embedded import EmbeddedPostgres
from studies.database.storage_url import StorageUrl


def pytest_configure() -> None:
    """Remove a developer's own settings, and threads that would fight over the cores, before torch is imported."""
    for name in [name for name in os.environ if name.startswith("RIGL_STUDY_")]:
        del os.environ[name]
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it for what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # or no test could press Ctrl-C
    # How long an example of a random test takes, or is drawn, says nothing on a machine that does other work as well.
    settings.register_profile("whatever it takes", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("whatever it takes")


@pytest.fixture(autouse=True)
def _no_real_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that forgets to say where its database is must not touch, nor start, the developer's own."""
    monkeypatch.setenv("RIGL_STUDY_HOME", str(tmp_path / "rigl-study-home"))


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Without the handlers that a command set, which write to a stream that is closed by the next test."""
    logger = logging.getLogger("rigl_study")
    handlers, level = logger.handlers, logger.level
    yield
    logger.handlers = handlers
    logger.setLevel(level)


@pytest.fixture(scope="session")
def open_directory() -> Iterator[Path]:
    """A temporary directory other users may enter, which pytest's own is not: root's Postgres runs as `nobody`."""
    directory = Path(tempfile.mkdtemp(prefix="rigl-study-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgres_server(
    open_directory: Path, wait_until: Callable[..., bool], is_alive: Callable[[int], bool]
) -> Iterator[EmbeddedPostgres]:
    """One real server for the session. Nothing in it survives a power cut, which makes it quick."""
    server = EmbeddedPostgres(open_directory / "session", fsync=False)
    server.ensure_running()
    keeper = server.status().keeper_pid
    yield server
    server.stop()
    assert keeper is not None
    assert wait_until(lambda: not is_alive(keeper)), "the session's server left its keeper behind"


@contextmanager
def _database(server: EmbeddedPostgres, template: str = "template1") -> Iterator[StorageUrl]:
    """A new database, which is a copy of another."""
    server_url = sa.make_url(server.ensure_running().secret())
    name = f"test_{uuid4().hex[:12]}"
    _execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield StorageUrl.parse(server_url.set(database=name).render_as_string(hide_password=False))
    _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_postgres_url(postgres_server: EmbeddedPostgres) -> Iterator[StorageUrl]:
    """A new, empty database of its own."""
    with _database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def _postgres_tables(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The name of a database with Optuna's tables: to create them takes longer than most tests."""
    from studies.storage import close_storage, open_storage

    with _database(postgres_server) as url:
        close_storage(open_storage(url))
        yield url.secret().rpartition("/")[2].partition("?")[0]


@pytest.fixture
def postgres_url(postgres_server: EmbeddedPostgres, _postgres_tables: str) -> Iterator[StorageUrl]:
    """A new database of its own, with Optuna's tables and nothing in them."""
    with _database(postgres_server, _postgres_tables) as url:
        yield url


@pytest.fixture(scope="session")
def _sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from studies.storage import close_storage, open_storage

    path = tmp_path_factory.mktemp("tables") / "study.db"
    close_storage(open_storage(StorageUrl.parse(f"sqlite:///{path}")))
    return path


@pytest.fixture
def sqlite_url(_sqlite_tables: Path, tmp_path: Path) -> StorageUrl:
    """A new file of its own, with Optuna's tables and nothing in them."""
    return StorageUrl.parse(f"sqlite:///{shutil.copy(_sqlite_tables, tmp_path)}")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> StorageUrl:
    """Every kind of storage in turn, each of them empty."""
    if request.param == "postgres":
        url: StorageUrl = request.getfixturevalue("empty_postgres_url")
        return url
    return StorageUrl.parse("memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'study.db'}")


def _execute(url: sa.URL, statement: str) -> None:
    parameters = url.translate_connect_args(username="user", database="dbname")
    with closing(psycopg2.connect(**parameters)) as connection:
        connection.autocommit = True  # CREATE DATABASE runs in no transaction
        with connection.cursor() as cursor:
            cursor.execute(statement)


@pytest.fixture
def home(open_directory: Path) -> Iterator[Path]:
    """A home whose path is not the simplest; whatever server runs there is stopped afterwards."""
    home = open_directory / f"été à Zürich {uuid4().hex[:8]}"
    yield home
    EmbeddedPostgres(home, fsync=False).stop()


@pytest.fixture
def own_server(open_directory: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, to be stopped and killed."""
    server = EmbeddedPostgres(open_directory / uuid4().hex, fsync=False)
    server.ensure_running()
    yield server
    server.stop()


@pytest.fixture
def opened() -> Iterator[Callable[..., Any]]:
    """`open_storage`, with all that was opened closed at the end of the test."""
    from studies.storage import close_storage, open_storage  # tests of rigl_core need no Optuna

    with ExitStack() as stack:

        def open_(url: StorageUrl, **options: Any) -> Any:
            storage = open_storage(url, **options)
            stack.callback(close_storage, storage)
            return storage

        yield open_


@pytest.fixture
def start_python() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts Python processes that have `url`, with its secret, which is told them where no `ps` sees it."""
    processes: list[subprocess.Popen[str]] = []

    def start(script: str, url: StorageUrl) -> "subprocess.Popen[str]":
        head = "import sys\nfrom studies.storage import *\nurl = StorageUrl.parse(sys.stdin.readline().strip())\n"
        command = [sys.executable, "-W", "error", "-c", head + script]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, bufsize=1)
        processes.append(process)
        assert process.stdin is not None
        process.stdin.write(url.secret() + "\n")
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., bool]:
    """`wait_until(condition, seconds=120, every=0.01)`: whether the condition, asked so often, came true in time."""

    def wait(condition: Callable[[], object], seconds: float = 120.0, every: float = 0.01) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(every)
        return True

    return wait


@pytest.fixture(scope="session")
def is_alive() -> Callable[[int], bool]:
    """`is_alive(pid)`: whether the process runs; one that is dead but not buried by its parent does not."""

    def ask(pid: int) -> bool:
        found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return found.stdout.strip()[:1] not in ("", "Z")

    return ask
