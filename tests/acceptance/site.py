"""A database with one study, and real workers, for the tests of what happens to them."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from rigl_core.train import TrainOutcome
from studies.campaigns import create_campaign
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage
from studies.tickets import TicketQueue
from tests.forked import Worker
from tests.held import allow, held_after, program, wait_until
from workers.pool import WorkerSettings

HEARTBEAT, GRACE = 1, 5  # seconds; a busy machine may well hold a beat back for three

SPEC = {
    "name": "survival",
    "fixed": {
        "model": "lenet_300_100",
        "dataset": "synthetic",
        "dataset_options": {"height": 8, "width": 8, "n_train": 2048, "n_eval": 64},
        "epochs": 18,
        "delta_t": 10,
    },
    "search": {"lr": [0.1]},
    "strategy": {"sampler": "grid", "seeds": [0, 1]},
}
AnyWorker = Worker | subprocess.Popen[str]


class Site:
    """A database with one study, and workers as processes."""

    def __init__(self, url: StorageUrl, folder: Path, *, grace: int = GRACE, **changes: Any) -> None:
        self.url, self.folder, self.checkpoints, self.grace = url, folder, folder / "checkpoints", grace
        self.storage: BaseStorage = open_storage(url, heartbeat_interval=HEARTBEAT, grace_period=grace)
        self.queue: TicketQueue = create_campaign(self.storage, StudySpec.model_validate({**SPEC, **changes}))[0]
        self.workers: list[AnyWorker] = []
        self._allowed = folder / "allowed"

    def settings(self, **changes: Any) -> WorkerSettings:
        settings: dict[str, Any] = {
            "storage": self.url.secret(),
            "checkpoint_dir": str(self.checkpoints),
            "device": "cpu",
            "heartbeat_interval": HEARTBEAT,
            "grace_period": self.grace,
            "poll_seconds": 0.2,
        }
        return WorkerSettings(**{**settings, **changes})

    def start_worker(self, before: str = "", **changes: Any) -> Worker:
        """A worker process; `before` is Python that it runs first."""
        worker = Worker(self.settings(index=len(self.workers) + 1, **changes), self._log(), before)
        self.workers.append(worker)
        return worker

    def start_held_worker(self, before: str = "", **changes: Any) -> Worker:
        """A worker process that trains five epochs, and then only what it is allowed or until it is to stop."""
        if not self._allowed.exists():
            self.allow(5)
        held = f"import tests.held as held; held.hold_training({str(self._allowed)!r})"
        return self.start_worker(f"{before}\n{held}", **changes)

    def allow(self, epochs: int) -> None:
        """Let held workers train so many epochs."""
        allow(self._allowed, epochs)

    def let_go(self) -> None:
        """Let held workers train to the end."""
        self.allow(1000)

    def wait_until_held(self) -> None:
        """Until a worker has trained and told the epochs it is allowed, and written a checkpoint after the last."""
        epochs = self._allowed.read_text()
        wait_until(lambda: held_after(self._allowed, int(epochs)).exists())
        self.wait_for_epoch(int(epochs) - 1)

    def start_by_itself(self, environment: Mapping[str, str], before: str) -> "subprocess.Popen[str]":
        """A worker process that is not forked, so that it can have an environment from its first instruction."""
        with self._log().open("w") as log:
            worker = subprocess.Popen(
                program("workers", before),
                stdin=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environment},
            )
        self.workers.append(worker)
        assert worker.stdin is not None
        worker.stdin.write(self.settings(index=len(self.workers)).to_json() + "\n")
        worker.stdin.flush()
        return worker

    def _log(self) -> Path:
        return self.folder / f"worker-{len(self.workers)}.log"

    def said(self, worker: AnyWorker) -> str:
        """What it wrote so far."""
        log = self.folder / f"worker-{self.workers.index(worker)}.log"
        return log.read_text() if log.exists() else ""

    def trials(self) -> list[FrozenTrial]:
        return self.storage.get_all_trials(self.storage.get_study_id_from_name(self.queue.name))

    def wait_for_epoch(self, epoch: int, number: int = 0) -> None:
        wait_until(lambda: len(self.trials()) > number and epoch in self.trials()[number].intermediate_values)

    def owner(self, number: int = 0) -> AnyWorker:
        """Who has claimed the trial: HOST:PID:RANDOM:TOKEN."""
        pid = int(self.trials()[number].system_attrs["claim"].split(":")[1])
        return next(worker for worker in self.workers if worker.pid == pid)

    def close(self) -> None:
        for worker in self.workers:
            if isinstance(worker, Worker):
                worker.close()
            else:
                worker.kill()
                worker.communicate()
        close_storage(self.storage)


def assert_equal(trial: FrozenTrial, undisturbed: TrainOutcome) -> None:
    """The trial ended as if nothing had happened."""
    assert trial.state == TrialState.COMPLETE
    told = trial.user_attrs
    assert told["val_accuracy"] == list(undisturbed.val_accuracy)
    assert told["test_accuracy"] == list(undisturbed.test_accuracy)
    assert told["loss"] == list(undisturbed.loss)
    assert told["layer_sparsity"] == undisturbed.layer_sparsity
    reported = [trial.intermediate_values[epoch] for epoch in range(undisturbed.epochs)]
    assert reported == [report.mean_val_accuracy for report in undisturbed.history]
