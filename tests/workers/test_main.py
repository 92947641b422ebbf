"""What a worker does before its first ticket."""

from pathlib import Path

import pytest
from optuna.storages import BaseStorage

from rigl_core import runtime
from studies.errors import DeviceFailed
from tests.workers.real_tickets import make_queue
from workers import __main__ as worker
from workers.pool import WorkerSettings
from workers.stop import Stop


def test_a_device_that_computes_nothing_is_given_no_ticket(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ticket would be claimed by one process after the other, and given up after the third."""

    def fails(device: str) -> None:
        raise DeviceFailed(f"the device stopped computing: {device}")

    queue = make_queue(storage)
    monkeypatch.setattr(worker, "open_storage", lambda *_, **__: storage)
    monkeypatch.setattr(worker.log_format, "note", lambda **_: None)
    monkeypatch.setattr(runtime, "set_threads", lambda n: None)
    monkeypatch.setattr(runtime, "check_computes", fails)
    settings = WorkerSettings(storage="memory://", checkpoint_dir=str(tmp_path), device="cpu")
    with pytest.raises(DeviceFailed, match="stopped computing: cpu"):
        worker.work(settings, Stop())
    counts = queue.counts()
    assert (counts.waiting, counts.running, counts.failed) == (1, 0, 0)
