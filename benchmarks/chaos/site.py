"""The scene: one campaign, its database, its checkpoint disk, and its workers."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from studies.campaigns import create_campaign
from studies.database.embedded import EmbeddedPostgres
from studies.database.embedded_files import locate
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage
from workers.pool import WorkerSettings

FAKETIME = tuple(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
HEARTBEAT, GRACE = 1, 8  # seconds; a busy machine may well hold a beat back for five
DISK_MEGABYTES = 64


def make_spec(name: str, points: int, epochs: int) -> StudySpec:
    """A grid of so many points of LeNet-300-100 on synthetic images; an epoch is a fraction of a second."""
    return StudySpec.model_validate(
        {
            "name": name,
            "fixed": {
                "model": "lenet_300_100",
                "dataset": "synthetic",
                "dataset_options": {"height": 8, "width": 8, "n_train": 1024, "n_eval": 256},
                "epochs": epochs,
                "batch_size": 64,
                "delta_t": 10,
            },
            "search": {"lr": [0.001 * (i + 1) for i in range(points)]},
            "strategy": {"sampler": "grid", "seeds": [0]},
        }
    )


@dataclass
class Worker:
    """A process of the nursery, and what was done to it."""

    pid: int
    slot: int
    log: Path
    killed: bool = False
    told_to_stop: bool = False
    code: int | None = None
    descriptors: list[int] = field(default_factory=list)

    def signal(self, number: int) -> bool:
        """Send it a signal; False if it has ended by itself meanwhile."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def said(self) -> str:
        """All it wrote so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Nursery:
    """A process that forks workers whose clocks are `skew` seconds wrong."""

    def __init__(self, skew: float) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        if skew:
            # Only the wall clock is wrong, as it is on a real machine.
            environment |= {
                "LD_PRELOAD": str(FAKETIME[0]),
                "FAKETIME": f"{skew:+.0f}s",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        command = [sys.executable, "-m", "benchmarks.chaos.nursery"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env=environment, start_new_session=True
        )
        self._started: deque[int] = deque()
        self._news = threading.Condition()
        self.codes: dict[int, int] = {}
        self.skew = float(self._line()[1]) - time.time()
        threading.Thread(target=self._listen, daemon=True).start()

    def _line(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def _listen(self) -> None:
        while words := self._line():
            with self._news:
                if words[0] == "started":
                    self._started.append(int(words[1]))
                else:
                    self.codes[int(words[1])] = int(words[2])
                self._news.notify_all()

    def start(self, settings: WorkerSettings, log: Path) -> int:
        """Fork a worker; its process."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"settings": settings.to_json(), "log": str(log)}) + "\n")
        with self._news:
            if not self._news.wait_for(lambda: self._started, 60):
                raise RuntimeError("the nursery started no worker for a minute")
            return self._started.popleft()

    def close(self) -> None:
        """Kill its workers, and end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


class Disk:
    """Where the checkpoints are. As root a file system of its own, which can be filled; otherwise a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "chaos", str(folder)]
        self.is_mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self.means = (
            f"tmpfs of {DISK_MEGABYTES} MiB" if self.is_mounted else "folder made read-only (no root, no mount)"
        )

    def fill(self) -> None:
        """From now on nothing can be written."""
        if not self.is_mounted:
            for folder in (self.folder, *(path for path in self.folder.rglob("*") if path.is_dir())):
                folder.chmod(0o500)
            return
        with contextlib.suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(1 << 14))

    def free(self) -> None:
        """Undo `fill`."""
        if self.is_mounted:
            (self.folder / "filler").unlink(missing_ok=True)
            return
        for folder in (self.folder, *(path for path in self.folder.rglob("*") if path.is_dir())):
            folder.chmod(0o700)

    def close(self) -> None:
        """Give it back."""
        self.free()
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


class Site:
    """Database, disk and workers of one campaign. Use `open_site`."""

    def __init__(self, folder: Path, skew: float) -> None:
        self.folder = folder
        self.server = EmbeddedPostgres(folder / "home", fsync=False)
        # The workers know only the URL, so that they cannot start the server.
        self.url = StorageUrl.parse(self.server.ensure_running().secret())
        self.disk = Disk(folder / "checkpoints")
        (folder / "logs").mkdir()
        skews = (skew / 2, -skew / 2, 0.0) if skew else (0.0,)
        self.nurseries = [Nursery(one) for one in skews]
        self.workers: list[Worker] = []
        self.is_up = True

    def create(self, spec: StudySpec) -> str:
        """Store the campaign; the name of its one study."""
        storage = open_storage(self.url)
        (queue,) = create_campaign(storage, spec)
        close_storage(storage)
        return queue.name

    def start(self, slot: int, campaign: str, *, plain: bool = False) -> Worker:
        """Start the worker of a slot; the first two have wrong clocks, unless `plain`."""
        settings = WorkerSettings(
            storage=self.url.secret(),
            campaigns=(campaign,),
            checkpoint_dir=str(self.disk.folder),
            device="cpu",
            index=slot,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            poll_seconds=0.3,
        )
        nursery = self.nurseries[-1] if plain else self.nurseries[min(slot, len(self.nurseries) - 1)]
        log = self.folder / "logs" / f"{len(self.workers)}.log"
        worker = Worker(nursery.start(settings, log), slot, log)
        self.workers.append(worker)
        return worker

    def alive(self) -> list[Worker]:
        """The workers that have not ended, after taking note of those that have."""
        for nursery in self.nurseries:
            for worker in self.workers:
                worker.code = nursery.codes.get(worker.pid, worker.code)
        return [worker for worker in self.workers if worker.code is None]

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query, by a connection that is not the workers'."""
        connection = psycopg2.connect(self._dsn(), application_name="chaos")
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(query, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def _dsn(self) -> str:
        """The URL as the driver knows it, without SQLAlchemy's name of the driver."""
        return self.url.secret().replace("postgresql+psycopg2://", "postgresql://")

    def stop_server(self, *, fast: bool) -> None:
        """Stop Postgres: fast (open transactions are rolled back) or immediate (as in a crash)."""
        pid = int((locate(self.server.home).data / "postmaster.pid").read_text().partition("\n")[0])
        self.is_up = False
        os.kill(pid, signal.SIGINT if fast else signal.SIGQUIT)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.02)

    def start_server(self) -> None:
        """Start it again, on the same port."""
        self.server.ensure_running()
        self.is_up = True

    def close(self) -> None:
        """End whatever is left."""
        for nursery in self.nurseries:
            nursery.close()
        self.disk.close()
        self.server.ensure_running()
        self.server.stop()


@contextlib.contextmanager
def open_site(skew: float) -> Iterator[Site]:
    """A new site; everything of it is gone afterwards, however the body ends."""
    folder = Path(tempfile.mkdtemp(prefix="rigl-chaos-"))
    folder.chmod(0o755)  # root's Postgres runs as another user
    site = None
    try:
        site = Site(folder, skew)
        yield site
    finally:
        if site is not None:
            site.close()
        shutil.rmtree(folder)
