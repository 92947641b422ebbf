"""How many connections workers have, what happens when the server has no more, and PgBouncer in between."""

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from optuna.storages import BaseStorage

from benchmarks.chaos.samples import ports_of
from benchmarks.connections import RESULT
from benchmarks.pgbouncer import PROGRAM, pgbouncer
from studies.campaigns import create_campaign
from studies.database.embedded import EmbeddedPostgres
from studies.database.engines import POOL_SIZE
from studies.database.locks import exclusive, lock
from studies.database.retrying import Retrier
from studies.database.storage_url import StorageUrl
from studies.errors import StorageError
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage
from studies.tickets import TicketQueue
from tests.forked import Worker
from tests.held import LONG, allow, held_after, program, wait_until
from workers.heartbeat import Heartbeat
from workers.pool import WorkerSettings

SPEC: dict[str, Any] = {
    "name": "connections",
    "fixed": {
        "model": "lenet_300_100",
        "dataset": "synthetic",
        "dataset_options": {"height": 8, "width": 8, "n_train": 512, "n_eval": 64},
        "epochs": 3,
        "delta_t": 2,
    },
    "search": {"lr": [0.05, 0.1, 0.2, 0.3, 0.4, 0.5]},
    "strategy": {"sampler": "grid", "seeds": [0], "pruner": "median", "reference": {"lr": 0.1}},
}


OURS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'rigl-study'"


class Watch:
    """Counts the connections of our workers to one database, again and again."""

    def __init__(self, url: StorageUrl) -> None:
        self.counts: list[int] = []
        self._url, self._done = url, threading.Event()
        self._thread = threading.Thread(target=self._look_on)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look_on(self) -> None:
        with closing(connect(self._url)) as connection, connection.cursor() as cursor:
            while not self._done.wait(0.01):
                cursor.execute(OURS)
                self.counts.append(cursor.fetchone()[0])


def connect(url: StorageUrl) -> Any:
    connection = psycopg2.connect(
        **sa.make_url(url.secret()).translate_connect_args(username="user", database="dbname")
    )
    connection.autocommit = True
    return connection


def ask(url: StorageUrl, query: str) -> Any:
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        (found,) = cursor.fetchone()
        return found


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts a worker process."""
    workers: list[Worker] = []

    def start(url: StorageUrl, before: str = "") -> Worker:
        settings = WorkerSettings(
            storage=url.secret(),
            checkpoint_dir=str(tmp_path),
            device="cpu",
            heartbeat_interval=1,
            grace_period=20,
            poll_seconds=0.2,
        )
        workers.append(Worker(settings, tmp_path / f"worker-{len(workers)}.log", before))
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


def create(storage: BaseStorage, **changes: Any) -> TicketQueue:
    (queue,) = create_campaign(storage, StudySpec.model_validate({**SPEC, **changes}))
    return queue


def test_a_worker_has_two_connections_at_most(
    postgres_url: StorageUrl,
    opened: Callable[..., Any],
    start_worker: Callable[..., Worker],
    tmp_path: Path,
) -> None:
    storage = opened(postgres_url)
    queue = create(storage)
    close_storage(storage)
    allowed = tmp_path / "allowed"
    allow(allowed, 1)
    hold = f"import tests.held as held; held.hold_training({str(allowed)!r})"
    with Watch(postgres_url) as watch:
        workers = [start_worker(postgres_url, hold) for _ in range(2)]
        wait_until(lambda: max(watch.counts, default=0) >= 2)  # so both are seen, however quick they are
        allow(allowed, 1000)
        assert [worker.wait(LONG) for worker in workers] == [0, 0]
    assert max(watch.counts) <= POOL_SIZE * len(workers)
    assert queue.counts().complete + queue.counts().pruned == 6


def test_the_command_keeps_no_connection_beside_its_workers(
    postgres_url: StorageUrl, opened: Callable[..., Any], tmp_path: Path
) -> None:
    storage = opened(postgres_url)
    create(storage)
    close_storage(storage)
    allowed = tmp_path / "allowed"
    allow(allowed, 1)
    command = program("studies", f"held.hold_workers({str(allowed)!r})")
    command += ["work", "--device", "cpu", "--checkpoints", str(tmp_path)]
    environment = {**os.environ, "RIGL_STUDY_STORAGE": postgres_url.secret()}
    with Watch(postgres_url) as watch, (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stderr=log)
        try:
            wait_until(held_after(allowed, 1).exists)
            wait_until(lambda: "of 6 trials" in (tmp_path / "log").read_text())
            wait_until(lambda: not ports_of([process.pid]))  # the log of progress has one only for a moment
        finally:
            allow(allowed, 1000)
            code = process.wait(LONG)
    assert code == 0, (tmp_path / "log").read_text()
    assert max(watch.counts) <= POOL_SIZE + 1, "the worker's, and for a moment that of the log of progress"


def swarm(url: StorageUrl, name: str, n_clients: int, before_the_end: Callable[[], None] = lambda: None) -> None:
    """Clients in threads that claim, beat, report and complete until nothing waits, and then end together."""
    together = threading.Barrier(n_clients, before_the_end, timeout=LONG)
    errors: list[BaseException] = []

    def client(index: int) -> None:
        storage = open_storage(url, heartbeat_interval=1, grace_period=30)
        try:
            queue = TicketQueue.open(storage, name)
            while (ticket := queue.claim(f"client:{index}")) is not None:
                with Heartbeat(ticket) as heartbeat:
                    ticket.report(0, 0.5)
                    heartbeat.look()
                    ticket.beat()
                    ticket.complete(RESULT)
                queue.sweep()
            together.wait()
        except BaseException as error:
            errors.append(error)
        finally:
            close_storage(storage)

    threads = [threading.Thread(target=client, args=[i]) for i in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


SWARM: dict[str, Any] = {"name": "swarm", "search": {"lr": [i / 100 for i in range(1, 61)]}}


def test_a_swarm_has_two_connections_a_client_at_most(postgres_url: StorageUrl, opened: Callable[..., Any]) -> None:
    storage = opened(postgres_url)
    queue = create(storage, **SWARM, strategy={"sampler": "grid", "seeds": [0]})
    close_storage(storage)
    with Watch(postgres_url) as watch:
        swarm(postgres_url, queue.name, 10, lambda: wait_until(lambda: max(watch.counts, default=0) >= 10))
    assert max(watch.counts) <= POOL_SIZE * 10
    assert queue.counts().complete == 60


FULL = r"too many clients|connection slots"


def take_all(url: StorageUrl) -> list[Any]:
    """All the connections that the server has left."""
    taken = []
    while True:
        try:
            taken.append(connect(url))
        except psycopg2.OperationalError as error:
            if re.search(FULL, str(error)) is None:
                raise
            return taken


def test_workers_wait_while_the_server_has_no_connection_left(
    own_server: EmbeddedPostgres,
    opened: Callable[..., Any],
    start_worker: Callable[..., Worker],
) -> None:
    url = StorageUrl.parse(own_server.ensure_running().secret())  # without the home: as one of another machine
    storage = opened(url)
    queue = create(storage)
    close_storage(storage)
    wait_until(lambda: ask(url, OURS) == 0)  # or one that is just being closed leaves its place to the worker
    hog = take_all(url)
    worker = start_worker(url)
    wait_until(lambda: "is away, waiting" in worker.said())
    assert worker.poll() is None
    assert re.search(FULL, worker.said())
    for connection in hog:
        connection.close()
    assert worker.wait(LONG) == 0
    assert queue.counts().complete + queue.counts().pruned == 6


@pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_everything_works_through_pgbouncer(
    mode: Any,
    empty_postgres_url: StorageUrl,
    opened: Callable[..., Any],
    start_worker: Callable[..., Worker],
) -> None:
    # Fewer server connections than clients have: by transaction they share them. By session each keeps its own.
    with pgbouncer(empty_postgres_url, mode, pool_size=4 if mode == "transaction" else 20) as through:
        made = []

        def make() -> None:
            made.append(opened(through))

        makers = [threading.Thread(target=make) for _ in range(4)]  # who creates the tables holds an advisory lock
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join()
        assert len(made) == 4
        storage = made[0]
        at_once = Retrier(through, patience=0, should_stop=lambda: True)
        with (
            exclusive(storage, "one"),
            pytest.raises(StorageError, match="waiting for other processes"),
            lock(through, "one", at_once),
        ):
            pass
        for one in made[1:]:
            close_storage(one)
        trained, told = create(storage), create(storage, **SWARM, strategy={"sampler": "grid", "seeds": [0]})
        close_storage(storage)
        swarm(through, told.name, 8)
        assert told.counts().complete == 60
        close_storage(storage)
        workers = [start_worker(through) for _ in range(2)]
        assert [worker.wait(LONG) for worker in workers] == [0, 0]
        assert trained.counts().complete + trained.counts().pruned == 6
        # A lock that was taken on one connection and let go on another would stay.
        wait_until(lambda: ask(empty_postgres_url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0)
        close_storage(storage)
