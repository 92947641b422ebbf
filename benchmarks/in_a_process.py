"""What is measured of a whole process: `python -m benchmarks.in_a_process NAME ...` prints one number."""

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

MIB = 2**20


def run(*arguments: str) -> float:
    """Measure in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.in_a_process", *arguments]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def first_step() -> float:
    """Seconds from a worker's start to the end of its first training step, after imports.

    What PyTorch imports only when an optimizer is made counts. A step is that of one network; the trial trains three.
    """
    import rigl_core.train  # noqa: F401 - before the clock starts
    import workers.objective  # noqa: F401
    from rigl_core.replica import Replica
    from studies.campaigns import create_campaign
    from studies.database.storage_url import StorageUrl
    from studies.spec import StudySpec
    from studies.storage import close_storage, open_storage
    from workers.__main__ import work
    from workers.pool import WorkerSettings
    from workers.stop import Stop

    with tempfile.TemporaryDirectory() as folder:
        url = StorageUrl.parse(f"sqlite:///{folder}/study.db")
        storage = open_storage(url)
        fixed = {"model": "wrn_22_2", "dataset": "synthetic", "recipe": "cifar10", "epochs": 1}
        create_campaign(
            storage,
            StudySpec.model_validate(
                {
                    "name": "first-step",
                    "fixed": fixed,
                    "pairs": {"sparsity": [0.9], "distribution": ["erk"]},
                    "search": {"lr": [0.1]},
                    "strategy": {"sampler": "grid"},
                }
            ),
        )
        close_storage(storage)
        stop, ended = Stop(), []
        train_step = Replica.train_step

        def timed(self: Replica, *step: int) -> object:
            change = train_step(self, *step)
            ended.append(time.perf_counter())
            stop.request("measured")
            return change

        Replica.train_step = timed  # type: ignore[assignment, method-assign]
        threads = len(os.sched_getaffinity(0))
        place = WorkerSettings.storage_of(url)
        settings = WorkerSettings(
            storage=place["storage"],
            home=place["home"],
            checkpoint_dir=f"{folder}/checkpoints",
            device="cpu",
            threads=threads,
        )
        began = time.perf_counter()
        work(settings, stop)
        return ended[0] - began


def peak(model: str, method: str) -> float:
    """MiB at most while training, above what the imports and the data take. A topology step is among the steps."""
    from rigl_core.config import TrainConfig
    from rigl_core.data.task import load_task
    from rigl_core.execution import Execution
    from rigl_core.plan import make_plan
    from rigl_core.replica import Replica

    config = TrainConfig.model_validate(
        {
            "recipe": "cifar10",
            "model": model,
            "dataset": "synthetic",
            "dataset_options": {"n_train": 256, "n_eval": 8},
            "method": method,
            "sparsity": 0.9,
            "delta_t": 2,
            "epochs": 100,
            "batch_size": 128 if model == "wrn_22_2" else 16,  # as it is trained; and where weights count for most
        }
    )
    data = load_task(config)
    gc.collect()
    before = resident()
    replica = Replica(config, data, 0, 1000, make_plan(Execution(), "cpu"))
    for step in range(4):
        replica.train_step(step // 2, step % 2, step)
    return resident_at_most() - before


def resident_at_most() -> float:
    """MiB of this program in memory at most. Not `getrusage`, which a program inherits from whatever started it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def resident() -> float:
    """MiB of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    measures: dict[str, Callable[..., float]] = {"first_step": first_step, "peak": peak}
    print(measures[name](*rest))
