"""A trial whose checkpoint is there, and which this machine cannot go on from, is left to another one."""

import errno
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from rigl_core.checkpoint import load_checkpoint, save_checkpoint
from studies.errors import DataUnavailable
from tests.workers.real_tickets import StopAfter, claim, make_queue, stored
from workers.loop import run_worker
from workers.objective import run_ticket
from workers.stop import Stop


def refuse(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Let this method of paths fail, as if checkpoints were another user's; root may do all with whatever there is."""
    own = getattr(Path, method)

    def refused(path: Path, *arguments: Any, **options: Any) -> Any:
        if ".pt" in path.name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return own(path, *arguments, **options)

    monkeypatch.setattr(Path, method, refused)


@pytest.mark.parametrize("method", ["open", "exists"])
def test_a_checkpoint_that_cannot_be_read_here_is_left_to_others(
    method: str, storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue(storage)
    run = partial(run_ticket, checkpoint_dir=tmp_path)
    assert run(claim(queue), StopAfter(20)) == "given_back"
    (checkpoint,) = tmp_path.rglob("*.pt")
    content = checkpoint.read_bytes()
    with monkeypatch.context() as here:
        refuse(here, method)
        with pytest.raises(
            DataUnavailable, match=rf"Permission denied.*so far: 2.*to begin it anew, remove {checkpoint}"
        ):
            run_worker([queue], run, Stop())
    assert (checkpoint.read_bytes(), queue.counts().waiting) == (content, 1)
    assert run_worker([queue], run, Stop()) == 1, "as before"
    (trial,) = storage.get_all_trials(queue.study_id)
    assert (trial.state, trial.user_attrs["epochs_recomputed"]) == (TrialState.COMPLETE, 0)


def test_a_ticket_that_was_never_trained_is_not_left_to_others(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = claim(make_queue(storage))
    checkpoint = tmp_path / f"{ticket.checkpoint_key}.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"of a campaign that somebody else has deleted")
    refuse(monkeypatch, "read_bytes")
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "complete"


def test_half_written_files_that_cannot_be_removed_cost_no_checkpoint(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue = make_queue(storage)
    assert run_ticket(claim(queue), StopAfter(20), checkpoint_dir=tmp_path) == "given_back"
    again = claim(queue)
    (tmp_path / f"{again.folder}/.{again.number}.pt.0123abcd").write_bytes(
        b"of another user, in a folder where each may only remove their own"
    )
    refuse(monkeypatch, "unlink")
    assert run_ticket(again, Stop(), checkpoint_dir=tmp_path) == "complete"
    assert "cannot remove what was left beside" in caplog.text
    assert stored(storage, again).user_attrs["epochs_recomputed"] == 0


def test_what_a_gpu_began_is_left_to_gpus(storage: BaseStorage, tmp_path: Path) -> None:
    """As after an update of the driver, when a worker finds no GPU any more; the reverse is soon trained again."""
    queue = make_queue(storage)
    run = partial(run_ticket, checkpoint_dir=tmp_path)
    assert run(claim(queue), StopAfter(20)) == "given_back"
    (checkpoint,) = tmp_path.rglob("*.pt")
    config = queue.plan.config({"lr": 0.2})
    save_checkpoint(checkpoint, config, {**load_checkpoint(checkpoint, config), "device": "cuda"})
    content = checkpoint.read_bytes()
    with pytest.raises(DataUnavailable, match="it was begun on cuda, and this is cpu"):
        run_worker([queue], run, Stop())
    assert (checkpoint.read_bytes(), queue.counts().waiting) == (content, 1)
