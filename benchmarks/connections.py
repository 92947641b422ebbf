"""Many workers on one Postgres: the queue's throughput and latency, directly and through PgBouncer.

Clients are threads of this process, each with a storage of its own as a worker has, that claim, report and complete
trials without training them. Both ways take turns; medians of the rounds. `python -m benchmarks.connections`.
"""

import argparse
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import sqlalchemy as sa

from benchmarks.pgbouncer import PROGRAM, pgbouncer
from studies.campaigns import create_campaign
from studies.database.embedded import EmbeddedPostgres
from studies.database.embedded_files import ServerFiles, programs
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage, wait_until_reachable
from studies.tickets import TicketQueue
from studies.trial import TrialResult

ROUNDS = 3
TICKETS_PER_CLIENT = 2
POOL_SIZE = 20
MAX_CONNECTIONS = 450

RESULT = TrialResult(
    seeds=(0,),
    val_accuracy=(0.5,),
    test_accuracy=(0.5,),
    loss=(1.5,),
    inference_flops=0.25,
    train_flops=0.5,
    dense_flops=1000.0,
    n_parameters=300,
    n_active=30,
    realised_sparsity=0.9,
    layer_sparsity={"fc1": 0.9},
    epochs=1,
    seconds=1.0,
    environment={"device": "cpu"},
)


@dataclass(frozen=True)
class Measured:
    """One round: trials a second, seconds of one claim + report + complete, connections, MiB of the server."""

    per_second: float
    median: float
    p95: float
    connections: int
    mebibytes: float


@contextmanager
def server() -> Iterator[StorageUrl]:
    """A Postgres of its own that takes many connections, durable as in earnest."""
    with tempfile.TemporaryDirectory(prefix="rigl-study-") as folder:
        Path(folder).chmod(0o755)
        embedded = EmbeddedPostgres(Path(folder))
        url = StorageUrl.parse(embedded.ensure_running().secret())
        files = ServerFiles(embedded.status().data.parent, "nobody" if os.geteuid() == 0 else None)
        embedded.stop()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": sa.make_url(url.secret()).port,
            "unix_socket_directories": "",
            "max_connections": MAX_CONNECTIONS,
        }
        command = [str(programs(files) / "postgres"), "-D", str(files.data)]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        process = subprocess.Popen(command, user=files.user, stderr=subprocess.DEVNULL)
        try:
            wait_until_reachable(url, 30)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def execute(url: StorageUrl, statement: str) -> list[tuple[object, ...]]:
    """Run one statement on a connection of its own; its rows."""
    parameters = sa.make_url(url.secret()).translate_connect_args(username="user", database="dbname")
    connection = psycopg2.connect(**parameters)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def plan(name: str, n_tickets: int) -> StudySpec:
    """A grid of so many points."""
    return StudySpec.model_validate(
        {
            "name": name,
            "fixed": {"model": "lenet_300_100", "dataset": "synthetic", "epochs": 1},
            "search": {"delta_t": list(range(1, n_tickets + 1))},
            "strategy": {"sampler": "grid", "seeds": [0]},
        }
    )


def measure(direct: StorageUrl, through: StorageUrl, name: str, n_clients: int) -> Measured:
    """Let `n_clients` work a new campaign off."""
    planner = open_storage(direct)
    n_tickets = n_clients * TICKETS_PER_CLIENT
    study = create_campaign(planner, plan(name, n_tickets))[0].name
    close_storage(planner)
    seconds: list[float] = []
    start, done = threading.Barrier(n_clients + 1), threading.Barrier(n_clients + 1)
    errors: list[BaseException] = []

    def client(index: int) -> None:
        storage = open_storage(through)
        try:
            queue = TicketQueue.open(storage, study)
            start.wait()
            while True:
                began = time.perf_counter()
                ticket = queue.claim(f"client:{index}")
                if ticket is None:
                    break
                ticket.report(0, 0.5)
                ticket.complete(RESULT)
                seconds.append(time.perf_counter() - began)
        except BaseException as error:
            errors.append(error)
            start.abort()
        finally:
            done.wait()
            close_storage(storage)

    threads = [threading.Thread(target=client, args=[i]) for i in range(n_clients)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    samples: list[tuple[int, float]] = []
    while done.n_waiting < n_clients:
        samples.append(look(direct))
        time.sleep(0.2)
    elapsed = time.perf_counter() - began
    done.wait()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    if len(seconds) != n_tickets:
        raise AssertionError(f"{len(seconds)} of {n_tickets} trials were done")
    ordered = sorted(seconds)
    return Measured(
        per_second=n_tickets / elapsed,
        median=statistics.median(ordered),
        p95=ordered[int(0.95 * len(ordered))],
        connections=max(count for count, _ in samples),
        mebibytes=max(size for _, size in samples),
    )


def look(url: StorageUrl) -> tuple[int, float]:
    """Connections of the queue's clients, and MiB of all processes of the server (shared pages counted once)."""
    rows = execute(url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'rigl-study'")
    (main,) = execute(url, "SELECT pg_catalog.pg_read_file('postmaster.pid')")[0]
    postmaster = int(str(main).split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return len(rows), sum(map(_pss, [postmaster, *map(int, children)])) / 1024


def _pss(pid: int) -> int:
    """Proportional set size of a process in KiB; 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main() -> None:
    """Measure both ways for each number of clients and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    if PROGRAM is None:
        print("connections: not measured, PgBouncer is not installed")
        return
    print(
        f"Connections: claim + report + complete, {TICKETS_PER_CLIENT} trials a client, medians of {arguments.rounds}"
    )
    print(f"{'clients':>7} {'way':12} {'trials/s':>9} {'median ms':>10} {'p95 ms':>8} {'connections':>12} {'MiB':>6}")
    with server() as direct, pgbouncer(direct, "transaction", pool_size=POOL_SIZE) as pooled:
        for n_clients in arguments.clients:
            found: dict[str, list[Measured]] = {"direct": [], "PgBouncer": []}
            for round_number in range(arguments.rounds):
                for way, url in (("direct", direct), ("PgBouncer", pooled)):
                    name = f"c{n_clients}-{way.lower()}-{round_number}"
                    found[way].append(measure(direct, url, name, n_clients))
            for way, rounds in found.items():
                middle = [statistics.median(getattr(m, field) for m in rounds) for field in Measured.__annotations__]
                print(
                    f"{n_clients:7} {way:12} {middle[0]:9.1f} {1e3 * middle[1]:10.0f} {1e3 * middle[2]:8.0f} "
                    f"{middle[3]:12.0f} {middle[4]:6.0f}",
                    flush=True,
                )
            ratio = [p.per_second / d.per_second for d, p in zip(found["direct"], found["PgBouncer"], strict=True)]
            print(f"{n_clients:7} throughput through PgBouncer / direct: {statistics.median(ratio):.2f}", flush=True)


if __name__ == "__main__":
    main()
