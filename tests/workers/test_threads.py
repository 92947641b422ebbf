"""A trial that is taken over by a worker with another number of threads ends with the same bits: real processes."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from rigl_core.execution import Execution
from rigl_core.runtime import computing_with
from rigl_core.train import train
from studies.campaigns import create_campaign
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage
from tests.held import allow, held_after, popen_of_held_workers
from workers import pool
from workers.pool import WorkerSettings, run_workers
from workers.stop import Stop

SPEC: dict[str, Any] = {
    "name": "threads",
    "fixed": {
        "model": "lenet_300_100",
        "dataset": "synthetic",
        "dataset_options": {"channels": 1, "height": 28, "width": 28, "n_train": 1024, "n_eval": 64},
        "epochs": 3,
        "delta_t": 3,
    },
    "search": {"lr": [0.1]},
    "strategy": {"sampler": "grid", "seeds": [0]},
}


def test_an_heir_with_more_cores_computes_with_the_threads_of_its_predecessor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = StorageUrl.parse(f"sqlite:///{tmp_path / 'study.db'}")
    storage = open_storage(url)
    (queue,) = create_campaign(storage, StudySpec.model_validate(SPEC))
    allowed, stop = tmp_path / "allowed", Stop()
    allow(allowed, 1)
    settings = WorkerSettings(
        storage=url.secret(), checkpoint_dir=str(tmp_path), device="cpu", precision="float32", poll_seconds=0.2
    )

    def stop_in_the_second_epoch() -> None:
        if held_after(allowed, 1).exists():
            stop.request("test")

    monkeypatch.setattr(pool, "threads_per_worker", lambda _n: 1)
    with monkeypatch.context() as first:
        first.setattr(subprocess, "Popen", popen_of_held_workers(allowed))
        assert run_workers(settings, 1, stop, on_progress=stop_in_the_second_epoch) == 0
    assert queue.counts().waiting == 1
    monkeypatch.setattr(pool, "threads_per_worker", lambda _n: 2)
    assert run_workers(settings, 1, Stop()) == 0

    (trial,) = storage.get_all_trials(storage.get_study_id_from_name(queue.name))
    close_storage(storage)
    assert trial.state is TrialState.COMPLETE
    assert trial.user_attrs["environment"]["threads"] == "1"
    assert "attempts_differ" not in trial.user_attrs["environment"]
    with computing_with(1):
        undisturbed = train(
            queue.plan.config({"lr": 0.1}),
            on_epoch=lambda _report: False,
            should_stop=lambda: False,
            execution=Execution(precision="float32"),
        )
    assert tuple(trial.user_attrs["loss"]) == undisturbed.loss
    assert tuple(trial.user_attrs["test_accuracy"]) == undisturbed.test_accuracy
    curve = {report.epoch: report.mean_val_accuracy for report in undisturbed.history}
    assert trial.intermediate_values == curve
