"""What 200 trials leave behind in a worker: memory and open files. `python -m benchmarks.growth`.

A real worker process works off a study of tiny trials on a Postgres of its own, and is looked at from outside whenever
another trial is complete. The first quarter does not count: libraries load and caches fill.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Row, show
from studies.campaigns import create_campaign
from studies.database.embedded import EmbeddedPostgres
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage
from workers.pool import WorkerSettings

TRIALS = 200
MEBIBYTES_MAY_GROW = 5.0


@dataclass(frozen=True)
class Sample:
    """A worker after so many trials."""

    trials: int
    mebibytes: float
    descriptors: int


@dataclass(frozen=True)
class Growth:
    """From the second quarter of the trials to the last one, medians of the samples."""

    mebibytes: float
    descriptors: float
    at_the_end: Sample

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Growth":
        """Compare."""
        n = samples[-1].trials
        early = [sample for sample in samples if n / 4 < sample.trials <= n / 2]
        late = [sample for sample in samples if sample.trials > 3 * n / 4]
        return cls(
            statistics.median(s.mebibytes for s in late) - statistics.median(s.mebibytes for s in early),
            statistics.median(s.descriptors for s in late) - statistics.median(s.descriptors for s in early),
            samples[-1],
        )


def plan(n_trials: int) -> StudySpec:
    """So many trials of two epochs, drawn and pruned by what reads the other trials."""
    return StudySpec.model_validate(
        {
            "name": "growth",
            "fixed": {
                "model": "lenet_300_100",
                "dataset": "synthetic",
                "dataset_options": {"height": 8, "width": 8, "n_train": 128, "n_eval": 32},
                "epochs": 2,
                "batch_size": 64,
                "delta_t": 1,
            },
            "search": {"lr": {"low": 0.01, "high": 0.1, "log": True}, "alpha": {"low": 0.1, "high": 0.6}},
            "strategy": {"sampler": "tpe", "n_trials": n_trials, "seeds": [0], "pruner": "median"},
        }
    )


def watch(url: StorageUrl, folder: Path, n_trials: int = TRIALS) -> list[Sample]:
    """Let a worker do so many trials; it as it was after each, as far as it was seen."""
    storage = open_storage(url)
    (queue,) = create_campaign(storage, plan(n_trials))
    settings = WorkerSettings(storage=url.secret(), checkpoint_dir=str(folder), device="cpu", poll_seconds=0.1)
    worker = subprocess.Popen(
        [sys.executable, "-m", "workers"], stdin=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    )
    samples: list[Sample] = []
    try:
        assert worker.stdin is not None
        worker.stdin.write(settings.to_json() + "\n")
        worker.stdin.flush()
        while worker.poll() is None:
            counts = queue.counts()
            done = counts.complete + counts.pruned
            if done > (samples[-1].trials if samples else 0):
                try:
                    samples.append(Sample(done, *_look(worker.pid)))
                except OSError:  # it has just ended
                    break
            time.sleep(0.02)
        if worker.wait(30) != 0:
            raise AssertionError(f"the worker ended with {worker.returncode}")
    finally:
        if worker.poll() is None:
            worker.kill()
        worker.communicate()
        close_storage(storage)
    return samples


def _look(pid: int) -> tuple[float, int]:
    """Resident memory that belongs to this process alone, in MiB, and its open files."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    private = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return private / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def measure() -> list[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory(prefix="rigl-study-benchmark-") as folder:
        Path(folder).chmod(0o755)  # root's Postgres runs as another user
        server = EmbeddedPostgres(Path(folder) / "home", fsync=False)
        try:
            found = Growth.of(watch(server.ensure_running(), Path(folder) / "checkpoints"))
        finally:
            server.stop()
    last = found.at_the_end
    line, note = f"growth of a worker over {last.trials} trials", "from the second quarter of them to the last"
    memory = Row(
        line=f"{line}: memory",
        ours=found.mebibytes,
        unit="MiB",
        goal=f"≤ {MEBIBYTES_MAY_GROW:g} MiB",
        note=f"{note}; {last.mebibytes:.0f} MiB at the end",
    )
    files = Row(
        line=f"{line}: open files",
        ours=found.descriptors,
        goal="0",
        note=f"{note}; {last.descriptors} at the end",
    )
    return [memory, files]


if __name__ == "__main__":
    show(measure, __doc__)
