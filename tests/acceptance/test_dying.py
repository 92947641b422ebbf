"""Each way of dying on the page docs/operating.md, with real workers, and what it leaves behind."""

import re
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from optuna.trial import TrialState

from rigl_core.train import TrainOutcome
from studies.campaigns import create_campaign
from studies.database.embedded import EmbeddedPostgres
from studies.database.storage_url import StorageUrl
from studies.death import MAX_DEATHS
from studies.spec import SPEC_VERSION, StudySpec
from studies.storage import close_storage
from tests.acceptance.site import SPEC, Site, assert_equal
from tests.forked import Command
from tests.held import LONG, wait_until
from workers.pool import SAID_WHY

FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def test_a_worker_told_to_stop_in_an_outage_does_not_wait_for_its_end(
    mortal_server: EmbeddedPostgres, tmp_path: Path, undisturbed: TrainOutcome
) -> None:
    site = Site(StorageUrl.parse(mortal_server.ensure_running().secret()), tmp_path)
    try:
        worker = site.start_held_worker()
        site.wait_until_held()
        close_storage(site.storage)
        assert mortal_server.stop()
        worker.terminate()
        assert worker.wait(LONG) == 1, "long before the 300 seconds of its patience"
        told = site.said(worker).splitlines()[-1]
        assert "stopped while waiting for the database" in told
        mortal_server.ensure_running()
        assert site.trials()[0].state == TrialState.RUNNING
        assert site.start_worker().wait(LONG) == 0
        killed, successor = site.trials()
        assert killed.state == TrialState.FAIL
        assert_equal(successor, undisturbed)
        assert successor.user_attrs["epochs_recomputed"] == 0, "it had written a checkpoint first"
    finally:
        site.close()


def test_when_the_disk_is_full_training_goes_on_from_the_previous_checkpoint(
    site: Site, undisturbed: TrainOutcome
) -> None:
    worker = site.start_held_worker()
    site.wait_until_held()
    # No file of this process may grow beyond 100 kB: what a full disk does to it, and only to it.
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    site.allow(8)
    site.wait_until_held()
    assert site.said(worker).count("cannot write the checkpoint") == 3
    worker.terminate()
    assert worker.wait(LONG) == 0
    (trial,) = site.trials()
    assert trial.state == TrialState.WAITING
    assert [path.name for path in site.checkpoints.rglob("*") if path.is_file()] == ["0.pt"], "the previous one"
    assert site.start_worker().wait(LONG) == 0
    (trial,) = site.trials()
    assert_equal(trial, undisturbed)
    assert trial.user_attrs["epochs_recomputed"] == 3


def test_a_checkpoint_folder_that_is_gone_costs_no_trial(site: Site, undisturbed: TrainOutcome) -> None:
    worker = site.start_held_worker()
    site.wait_until_held()
    shutil.rmtree(site.checkpoints)
    site.checkpoints.write_text("not a folder: a volume that is not mounted any more")
    site.let_go()
    assert worker.wait(LONG) == 0
    assert_equal(site.trials()[0], undisturbed)
    assert "cannot write the checkpoint" in site.said(worker)
    assert "Traceback" not in site.said(worker)


def test_a_trial_whose_checkpoint_is_lost_with_its_worker_starts_over(site: Site, undisturbed: TrainOutcome) -> None:
    worker = site.start_held_worker()
    site.wait_until_held()
    shutil.rmtree(site.checkpoints)
    worker.kill()
    assert site.start_worker().wait(LONG) == 0
    assert_equal(site.trials()[1], undisturbed)
    assert site.trials()[1].user_attrs["epochs_recomputed"] == 5


@pytest.fixture
def memory_limit() -> Iterator[Path]:
    """A control group whose processes have a gigabyte together, and are killed by the kernel beyond."""
    root = Path("/sys/fs/cgroup")
    group = (root / "memory" if (root / "memory").is_dir() else root) / f"rigl-study-test-{uuid4().hex[:8]}"
    limit = "memory.limit_in_bytes" if group.parent.name == "memory" else "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text("1000000000")
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def test_a_worker_that_the_kernel_kills_for_its_memory(
    site: Site, memory_limit: Path, tmp_path: Path, undisturbed: TrainOutcome
) -> None:
    sign = tmp_path / "leak"
    leak = (
        "import os, threading, time\n"
        f"open({str(memory_limit / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
        "def leak():\n"
        f"    while not os.path.exists({str(sign)!r}): time.sleep(0.01)\n"
        "    hog = []\n"
        "    while True: hog.append(b'x' * 10_000_000)\n"
        "threading.Thread(target=leak, daemon=True).start()\n"
    )
    worker = site.start_held_worker(before=f"exec({leak!r})")
    site.wait_until_held()
    sign.touch()
    assert worker.wait(LONG) == -signal.SIGKILL
    assert site.start_worker().wait(LONG) == 0
    killed, successor = site.trials()
    assert f":{worker.pid}:" in killed.user_attrs["error"]
    assert_equal(successor, undisturbed)
    assert successor.user_attrs["epochs_recomputed"] == 0


@pytest.mark.parametrize(
    ("worker_version", "advice"),
    [(SPEC_VERSION + 1, "finish it with the version that created it"), (SPEC_VERSION - 1, "update rigl-study here")],
)
def test_a_worker_of_another_version_leaves_the_ticket_waiting(site: Site, worker_version: int, advice: str) -> None:
    before = f"import studies.attributes; studies.attributes.SPEC_VERSION = {worker_version}"
    worker = site.start_worker(before=before, campaigns=("survival",))
    assert worker.wait(LONG) == 1
    (line,) = site.said(worker).splitlines()
    assert f"is stored in format {SPEC_VERSION} and this rigl-study reads format {worker_version}; {advice}" in line
    assert site.trials()[0].state == TrialState.WAITING


def test_a_worker_that_runs_for_ever_says_once_what_it_cannot_work_on(site: Site) -> None:
    study_id = site.storage.get_study_id_from_name(site.queue.name)
    site.storage.set_study_user_attr(study_id, "spec_version", SPEC_VERSION + 1)
    worker = site.start_worker(forever=True)
    wait_until(lambda: "update rigl-study here" in site.said(worker))
    time.sleep(1)  # several looks
    quick = {**SPEC, "name": "later", "fixed": {**SPEC["fixed"], "epochs": 1}}  # type: ignore[dict-item]
    (queue,) = create_campaign(site.storage, StudySpec.model_validate(quick))
    wait_until(lambda: queue.counts().complete == 1)
    worker.terminate()
    assert worker.wait(LONG) == 0
    assert site.said(worker).count("update rigl-study here") == 1
    assert site.trials()[0].state == TrialState.WAITING


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed (Debian: faketime)")
def test_workers_whose_clocks_are_an_hour_apart(postgres_url: StorageUrl, tmp_path: Path) -> None:
    site = Site(postgres_url, tmp_path, grace=60, search={"lr": [0.1, 0.2]})
    try:
        before = datetime.now() - timedelta(seconds=2)
        for offset in ("+1800s", "-1800s"):
            fake = {"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
            site.start_by_itself(fake, "import time; print('clock', time.time(), file=__import__('sys').stderr)")
        assert [worker.wait(LONG) for worker in site.workers] == [SAID_WHY, SAID_WHY]
        after = datetime.now() + timedelta(seconds=2)
        clocks = [float(re.findall(r"clock ([\d.]+)", site.said(worker))[0]) for worker in site.workers]
        assert 3500 < clocks[0] - clocks[1] < 3700, "the clocks were wrong indeed"
        found = site.trials()
        assert [(trial.state, trial.user_attrs["attempt"]) for trial in found] == [(TrialState.COMPLETE, 1)] * 2
        for trial in found:
            assert trial.datetime_start is not None
            assert trial.datetime_complete is not None
            assert before < trial.datetime_start < trial.datetime_complete < after
    finally:
        site.close()


def test_a_trial_that_kills_its_workers_is_failed_and_show_says_why(site: Site) -> None:
    deadly = "import os, workers.objective; workers.objective.train = lambda *_, **__: os._exit(9)"
    for _ in range(MAX_DEATHS):
        assert site.start_worker(before=deadly).wait(LONG) == 9
    assert site.start_worker().wait(LONG) == 0
    counts = site.queue.counts()
    assert (counts.waiting, counts.running, counts.failed, counts.retried) == (0, 0, 1, MAX_DEATHS - 1)
    study = site.queue.name.partition("/")[2]
    show = ("show", "survival", f"{study}/{MAX_DEATHS - 1}")
    shown = Command(*show, variables={"RIGL_STUDY_STORAGE": site.url.secret()}).finish()
    (error,) = (line for line in shown.stdout.splitlines() if line.startswith("error"))
    assert "died" in error
    assert "none an epoch further; it is not tried again (poison)" in error
