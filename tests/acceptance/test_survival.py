"""Real workers, real training, a real Postgres, and everything that can happen to them in the middle of a trial."""

import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from rigl_core.train import TrainOutcome
from studies.campaigns import create_campaign, set_control
from studies.database.embedded import EmbeddedPostgres
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage
from studies.tickets import TicketQueue
from tests.acceptance.site import SPEC, Site, assert_equal
from tests.held import LONG, wait_until
from workers.pool import run_workers
from workers.stop import Stop


def test_a_killed_workers_trial_is_finished_by_another(site: Site, undisturbed: TrainOutcome) -> None:
    dead = site.start_held_worker()
    site.wait_until_held()
    dead.kill()
    site.let_go()
    assert site.start_worker().wait(LONG) == 0
    killed, successor = site.trials()
    assert killed.state == TrialState.FAIL
    assert f":{dead.pid}:" in killed.user_attrs["error"]
    assert_equal(successor, undisturbed)
    assert successor.user_attrs["attempt"] == 2
    assert successor.user_attrs["epochs_recomputed"] == 0, "it went on from the checkpoint"
    counts = site.queue.counts()
    assert (counts.complete, counts.retried, counts.failed, counts.waiting) == (1, 1, 0, 0)
    kept = sorted(file.name for file in site.checkpoints.rglob("*.pt"))
    assert kept == ["1.masks.pt"], "the final masks, and no checkpoint"


def test_a_worker_that_was_frozen_and_wakes_up_changes_nothing(site: Site, undisturbed: TrainOutcome) -> None:
    frozen = site.start_held_worker()
    site.wait_until_held()
    frozen.send_signal(signal.SIGSTOP)
    heir = site.start_worker()
    assert heir.wait(LONG) == 0
    before = site.trials()
    site.let_go()
    frozen.send_signal(signal.SIGCONT)
    assert frozen.wait(LONG) == 0
    assert site.trials() == before
    assert [trial.state for trial in before] == [TrialState.FAIL, TrialState.COMPLETE]
    assert_equal(before[1], undisturbed)


def test_sigterm_gives_the_ticket_back(site: Site, undisturbed: TrainOutcome) -> None:
    worker = site.start_held_worker()
    site.wait_until_held()
    worker.terminate()
    assert worker.wait(LONG) == 0
    (trial,) = site.trials()
    assert trial.state == TrialState.WAITING
    assert trial.system_attrs["given_back"] == "SIGTERM"
    assert len(list(site.checkpoints.rglob("*.pt"))) == 1
    assert site.start_worker().wait(LONG) == 0
    (trial,) = site.trials()
    assert_equal(trial, undisturbed)
    assert (trial.user_attrs["attempt"], trial.user_attrs["epochs_recomputed"]) == (1, 0)


def test_a_worker_whose_parent_is_gone_gives_the_ticket_back(site: Site) -> None:
    worker = site.start_held_worker()
    site.wait_until_held()
    worker.hang_up()
    assert worker.wait(LONG) == 0
    assert site.trials()[0].system_attrs["given_back"] == "the parent process is gone"


def test_stop_takes_running_trials_back_and_resume_lets_them_go_on(site: Site, undisturbed: TrainOutcome) -> None:
    worker = site.start_held_worker()
    site.wait_until_held()
    set_control(site.storage, "survival", "stop")
    assert worker.wait(LONG) == 0
    assert site.trials()[0].state == TrialState.WAITING
    set_control(site.storage, "survival", "run")
    assert site.start_worker().wait(LONG) == 0
    assert_equal(site.trials()[0], undisturbed)


def test_the_database_is_stopped_for_ten_seconds(
    mortal_server: EmbeddedPostgres, tmp_path: Path, undisturbed: TrainOutcome
) -> None:
    url = StorageUrl.parse(mortal_server.ensure_running().secret())
    # Longer than a worker that waits for the database may need to beat again: it tries every 5 seconds at the latest.
    site = Site(url, tmp_path, grace=60)
    try:
        site.start_held_worker()
        site.start_held_worker()
        site.wait_until_held()
        close_storage(site.storage)
        assert mortal_server.stop()
        site.let_go()
        time.sleep(10)
        assert [worker.poll() for worker in site.workers] == [None, None]
        mortal_server.ensure_running()
        silence(site)  # as if the grace period had passed meanwhile
        assert [worker.wait(LONG) for worker in site.workers] == [0, 0]
        (trial,) = site.trials()
        assert_equal(trial, undisturbed)
        assert (trial.user_attrs["attempt"], trial.user_attrs["epochs_recomputed"]) == (1, 0)
    finally:
        site.close()


def test_after_a_restart_of_the_server_workers_have_time_to_say_that_they_live(
    mortal_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    url = StorageUrl.parse(mortal_server.ensure_running().secret())
    site = Site(url, tmp_path, grace=LONG)
    impatient = open_storage(url, heartbeat_interval=1, grace_period=2)
    try:
        assert site.queue.claim("somebody") is not None
        silence(site)
        close_storage(site.storage)
        close_storage(impatient)
        mortal_server.stop()
        mortal_server.ensure_running()
        assert site.queue.sweep() == 0
        queue = TicketQueue.open(impatient, site.queue.name)
        wait_until(lambda: queue.sweep() == 1)
    finally:
        close_storage(impatient)
        site.close()


def silence(site: Site) -> None:
    """Let all beats be an hour older than they are."""
    assert isinstance(site.storage, RetryingStorage)
    with site.storage.rdb.engine.begin() as connection:
        connection.execute(sa.text("UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '1 hour'"))


def test_the_second_sigterm_ends_a_worker_at_once(
    mortal_server: EmbeddedPostgres, tmp_path: Path, undisturbed: TrainOutcome
) -> None:
    site = Site(StorageUrl.parse(mortal_server.ensure_running().secret()), tmp_path)
    try:
        # By itself it would end after eight seconds, for which the test may stand still.
        worker = site.start_held_worker(before=f"import workers.stop; workers.stop.LAST_WORDS_SECONDS = {LONG}")
        site.wait_until_held()
        close_storage(site.storage)
        assert mortal_server.stop()  # so that the worker cannot give the ticket back, and waits
        worker.terminate()
        wait_until(lambda: catches_no_more(worker.pid))
        worker.terminate()
        assert worker.wait(LONG / 2) == -signal.SIGTERM
        mortal_server.ensure_running()
        assert site.trials()[0].state == TrialState.RUNNING
        assert site.start_worker().wait(LONG) == 0
        assert_equal(site.trials()[1], undisturbed)
    finally:
        site.close()


def catches_no_more(pid: int) -> bool:
    """Whether the first SIGTERM has been handled: from then on the next one is not caught (proc(5), SigCgt)."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return not int(line.split()[1], 16) & 1 << (signal.SIGTERM - 1)


def test_a_pool_of_workers_does_everything_once(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {**SPEC, "name": "pool", "fixed": {**SPEC["fixed"], "epochs": 1}, "search": {"lr": [0.1, 0.2, 0.3, 0.4]}}  # type: ignore[dict-item]
    (queue,) = create_campaign(site.storage, StudySpec.model_validate(spec))
    seen: set[str] = set()

    def look() -> None:
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                    if parent == str(os.getpid()):
                        seen.add((process / "cmdline").read_text() + (process / "environ").read_text())
                except OSError:  # it has just ended
                    continue

    monkeypatch.setenv("RIGL_STUDY_STORAGE", site.url.secret())
    with (tmp_path / "log").open("w") as log:
        code = run_workers(site.settings(campaigns=("pool",)), 2, Stop(), output=log, on_progress=look)
    assert code == 0
    assert queue.counts().complete == 4
    assert any("workers" in text for text in seen)
    password = site.url.secret().split(":")[2].partition("@")[0]
    assert not any(password in text for text in seen), "visible to whoever lists processes"
    assert password not in (tmp_path / "log").read_text()


def test_a_stopped_pool_ends_well(postgres_url: StorageUrl, tmp_path: Path) -> None:
    stop = Stop()

    def stop_in_mid_trial() -> None:
        if 2 in site.trials()[0].intermediate_values:
            stop.request("test")

    endless = {**SPEC["fixed"], "epochs": 1_000_000}  # not over before the pool looks, however quick the machine is
    with closing(Site(postgres_url, tmp_path, fixed=endless)) as site, (tmp_path / "log").open("w") as log:
        assert run_workers(site.settings(), 2, stop, output=log, on_progress=stop_in_mid_trial) == 0
        assert site.trials()[0].state == TrialState.WAITING


def test_a_pool_tells_what_is_wrong(site: Site, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        assert run_workers(site.settings(campaigns=("survivor",)), 2, Stop(), output=log) == 2
    told = (tmp_path / "log").read_text().splitlines()
    assert sorted(told) == [f'[worker {i}] no campaign "survivor" is stored. Did you mean survival?' for i in range(2)]
