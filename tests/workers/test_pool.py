"""The pool of worker processes: who is started again after a crash, when, and what the pool's exit code tells."""

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from optuna.trial import TrialState

from studies.campaigns import create_campaign
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage
from tests.held import allow, popen_of_held_workers
from workers import pool
from workers.pool import WorkerSettings, run_workers
from workers.stop import Stop

SETTINGS = WorkerSettings(storage="memory://", checkpoint_dir="nowhere", forever=True)
KILL_MYSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
UNTIL_TOLD = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); signal.pause()"
DONE = f"raise SystemExit({pool.SAID_WHY})"
FAILS = f"raise SystemExit({pool.SAID_WHY + 1})"


class Programs:
    """Stands in for `pool._start`: each worker that is started runs the next of these programs, the last for ever."""

    def __init__(self, *programs: str) -> None:
        self.programs = list(programs)
        self.started: list[float] = []
        self.workers: list[subprocess.Popen[str]] = []

    def __call__(self, settings: WorkerSettings, output: IO[str] | int) -> "subprocess.Popen[str]":
        program = self.programs.pop(0) if len(self.programs) > 1 else self.programs[0]
        self.started.append(pool.time.monotonic())
        command = [sys.executable, "-c", program]
        self.workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stderr=output, text=True))
        return self.workers[-1]


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(pool, "LONGEST_PAUSE", 0.4)
    monkeypatch.setattr(pool, "PROGRESS_SECONDS", 0.01)


class Clock:
    """Stands in for the pool's `time`: its seconds pass when the test says so, however slow the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_crashed_worker_is_started_again_after_ever_longer_pauses_and_soon_if_it_had_worked_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    programs, clock, stop = Programs(*[KILL_MYSELF] * 8, UNTIL_TOLD), Clock(), Stop()
    monkeypatch.setattr(pool, "_start", programs)
    monkeypatch.setattr(pool, "time", clock)
    monkeypatch.setattr(pool, "PROGRESS_SECONDS", 0.001)

    def look() -> None:
        worker = programs.workers[-1]
        if worker.poll() is not None:
            clock.now += 0.5
        elif len(programs.started) == 9:
            clock.now += pool.LONGEST_PAUSE + 1
            worker.kill()
            worker.wait()
        elif len(programs.started) == 10:
            stop.request("test")

    with caplog.at_level(logging.WARNING, "rigl_study.worker"):
        run_workers(SETTINGS, 1, stop, on_progress=look)

    assert "worker 0 was killed by signal 9 (Killed)" in caplog.text
    pauses = [float(record.args[2]) for record in caplog.records if isinstance(record.args, tuple)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 1]
    between = [after - before for before, after in zip(programs.started, programs.started[1:], strict=False)]
    assert between[:8] == pauses[:8]
    assert between[8] == pool.LONGEST_PAUSE + 1 + pauses[8]


def test_each_worker_is_told_which_it_is_and_which_others_are_of_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[WorkerSettings] = []

    def start(settings: WorkerSettings, output: IO[str] | int) -> "subprocess.Popen[str]":
        told.append(settings)
        return Programs(DONE)(settings, output)

    monkeypatch.setattr(pool, "_start", start)
    monkeypatch.setattr("workers.devices.cores_available", lambda: 12)
    for _ in range(2):
        assert run_workers(replace(SETTINGS, forever=False), 3, Stop()) == 0
    assert [settings.index for settings in told] == [0, 1, 2, 0, 1, 2]
    assert {settings.threads for settings in told} == {4}
    one, other = ({settings.pool for settings in told[i : i + 3]} for i in (0, 3))
    assert len(one) == len(other) == 1
    assert one != other
    assert "" not in one | other


def test_a_pool_ends_as_its_worst_worker_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_start", Programs(DONE, FAILS, DONE))
    assert run_workers(replace(SETTINGS, forever=False), 3, Stop()) == 1


def test_a_worker_that_fails_when_it_is_to_stop_is_not_forgiven(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    fails = f"""
import pathlib, signal, sys
signal.signal(signal.{pool.PASSED_ON.name}, lambda *_: sys.exit({pool.SAID_WHY + 2}))
pathlib.Path({str(ready)!r}).touch()
signal.pause()
"""
    monkeypatch.setattr(pool, "_start", Programs(fails))
    monkeypatch.setattr(pool, "PROGRESS_SECONDS", 0.01)
    stop = Stop()

    def look() -> None:
        if ready.exists():
            stop.request("test")

    assert run_workers(SETTINGS, 1, stop, on_progress=look) == 2


@pytest.mark.parametrize("program", [UNTIL_TOLD, KILL_MYSELF], ids=["while it runs", "between two workers"])
def test_a_pool_only_looks_now_and_then(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_start", Programs(program))
    monkeypatch.setattr(pool, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(pool, "PROGRESS_SECONDS", 0.1)
    stop, looks = Stop(), list[float]()

    def look() -> None:
        looks.append(time.monotonic())
        if len(looks) == 6:
            stop.request("test")

    run_workers(SETTINGS, 1, stop, on_progress=look)
    assert looks[5] - looks[0] >= 0.35, "six looks, and at most one pause between them was cut short by a worker's end"


def test_a_worker_process_gets_its_settings_where_nobody_else_can_read_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/sh\necho "$@"\nenv >&2\ncat\n')
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    monkeypatch.setenv("RIGL_STUDY_STORAGE", "postgresql://me:secret@db.example/rigl")
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    monkeypatch.setenv("OMP_DYNAMIC", "true")
    settings = replace(SETTINGS, storage="postgresql://me:secret@db.example/rigl", campaigns=("a", "b"), threads=3)
    with (tmp_path / "seen").open("w") as seen:
        worker = pool._start(settings, seen)
        assert os.getsid(worker.pid) == worker.pid, "Ctrl-C in the terminal is not for it"
        assert worker.stdin is not None
        worker.stdin.close()
        worker.wait()
    arguments, *environment, line = (tmp_path / "seen").read_text().splitlines()
    assert arguments == "-P -m workers", "no module of the current folder is run instead"
    assert not [variable for variable in environment if "secret" in variable]
    assert {"OMP_NUM_THREADS=3", "MKL_NUM_THREADS=3"} <= set(environment)
    assert not [variable for variable in environment if variable.startswith(("OMP_THREAD_LIMIT", "OMP_DYNAMIC"))]
    assert WorkerSettings.from_json(line) == settings


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(12, "Cannot allocate memory")])
def test_a_pool_that_cannot_go_on_leaves_no_worker_behind(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Programs(UNTIL_TOLD)

    def start(settings: WorkerSettings, output: IO[str] | int) -> "subprocess.Popen[str]":
        if isinstance(error, OSError) and settings.index == 1:
            raise error
        return programs(settings, output)

    def pressed(n_alive: int) -> None:
        assert n_alive == 2
        raise error

    monkeypatch.setattr(pool, "_start", start)
    with pytest.raises(type(error)):
        run_workers(SETTINGS, 2, Stop(), on_alive=pressed)
    assert [worker.poll() for worker in programs.workers] == [-signal.SIGKILL] * len(programs.workers)


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    ("program", "forever", "code"), [(KILL_MYSELF, False, 137), ("raise SystemExit(3)", True, 3), (DONE, True, 0)]
)
def test_who_is_not_started_again(monkeypatch: pytest.MonkeyPatch, program: str, forever: bool, code: int) -> None:
    programs = Programs(program)
    monkeypatch.setattr(pool, "_start", programs)
    settings = WorkerSettings(storage="memory://", checkpoint_dir="nowhere", forever=forever)

    assert run_workers(settings, 2, Stop()) == code
    assert len(programs.started) == 2


LOSE_PATIENCE = f"raise SystemExit({pool.TRY_AGAIN})"


@pytest.mark.usefixtures("short_pauses")
def test_who_lost_patience_is_started_again_while_others_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    programs = Programs(LOSE_PATIENCE, UNTIL_TOLD)
    monkeypatch.setattr(pool, "_start", programs)
    stop = Stop()

    def look() -> None:
        if len(programs.started) == 3:
            stop.request("test")

    assert run_workers(SETTINGS, 2, stop, on_progress=look) == 0
    assert "worker 0 has lost its patience; it is started again" in caplog.text


@pytest.mark.usefixtures("short_pauses")
def test_who_lost_its_gpu_is_started_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    programs = Programs(f"raise SystemExit({pool.GPU_FAILED})", UNTIL_TOLD)
    monkeypatch.setattr(pool, "_start", programs)
    stop = Stop()

    def look() -> None:
        if len(programs.started) == 2:
            stop.request("test")

    assert run_workers(SETTINGS, 1, stop, on_progress=look) == 0
    assert "worker 0 has lost its GPU; it is started again" in caplog.text


@pytest.mark.parametrize("forever", [True, False])
def test_a_pool_that_lost_patience_as_a_whole_ends(monkeypatch: pytest.MonkeyPatch, forever: bool) -> None:
    monkeypatch.setattr(pool, "FIRST_PAUSE", 3600.0)
    programs = Programs(LOSE_PATIENCE)
    monkeypatch.setattr(pool, "_start", programs)

    assert run_workers(replace(SETTINGS, forever=forever), 2, Stop()) == 1
    assert len(programs.started) == 2


def test_a_real_worker_says_that_it_lost_patience(tmp_path: Path) -> None:
    settings = WorkerSettings(storage="postgresql://me@127.0.0.1:1/db", checkpoint_dir=str(tmp_path))
    environment = {**os.environ, "RIGL_STUDY_PATIENCE": "0"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "workers"]
    with subprocess.Popen(command, stdin=pipe, stderr=pipe, text=True, env=environment) as worker:
        assert worker.stdin is not None
        assert worker.stderr is not None
        worker.stdin.write(settings.to_json() + "\n")
        worker.stdin.flush()  # and open until it ends: it would think that its parent is gone
        assert "no answer from the database postgresql://me@127.0.0.1:1/db for 0 s" in worker.stderr.read()
    assert worker.returncode == pool.TRY_AGAIN


def test_a_stop_between_two_workers_ends_the_pool_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_start", Programs(KILL_MYSELF))
    monkeypatch.setattr(pool, "FIRST_PAUSE", 3600.0)
    stop = Stop()
    looks = 0

    def look(n_alive: int) -> None:
        nonlocal looks
        looks += n_alive == 0
        if looks == 3:  # at the first the pool may not know yet that it has ended
            stop.request("test")

    assert run_workers(SETTINGS, 1, stop, on_alive=look) == 0


def test_a_machine_without_room_for_another_process_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, short_pauses: None, caplog: pytest.LogCaptureFixture
) -> None:
    programs = Programs(KILL_MYSELF, UNTIL_TOLD)
    attempts = 0

    def start(settings: WorkerSettings, output: IO[str] | int) -> "subprocess.Popen[str]":
        nonlocal attempts
        attempts += 1
        if attempts in (2, 3):
            raise OSError(12, "Cannot allocate memory")
        return programs(settings, output)

    monkeypatch.setattr(pool, "_start", start)
    stop = Stop()

    def look() -> None:
        if len(programs.started) == 2:
            stop.request("test")

    run_workers(SETTINGS, 1, stop, on_progress=look)

    assert attempts == 4
    assert caplog.text.count("worker 0 cannot be started: Cannot allocate memory") == 2


def test_a_real_worker_that_is_killed_is_replaced_and_its_trial_finished(
    postgres_url: StorageUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(tmp_path / "allowed", 2)
    monkeypatch.setattr(subprocess, "Popen", popen_of_held_workers(tmp_path / "allowed"))
    spec = {
        "name": "crash",
        "fixed": {
            "model": "lenet_300_100",
            "dataset": "synthetic",
            "dataset_options": {"height": 8, "width": 8, "n_train": 2048, "n_eval": 64},
            "epochs": 4,
            "delta_t": 10,
        },
        "search": {"lr": [0.1]},
        "strategy": {"sampler": "grid", "seeds": [0]},
    }
    storage = open_storage(postgres_url, heartbeat_interval=1, grace_period=4)
    (queue,) = create_campaign(storage, StudySpec.model_validate(spec))
    study = storage.get_study_id_from_name(queue.name)
    stop, killed = Stop(), []

    def look() -> None:
        trials = storage.get_all_trials(study)
        if not killed and 1 in trials[0].intermediate_values:
            killed.append(int(trials[0].system_attrs["claim"].split(":")[1]))
            os.kill(killed[0], signal.SIGKILL)
            allow(tmp_path / "allowed", 4)
        if queue.counts().is_done:
            stop.request("test")

    settings = WorkerSettings(
        storage=postgres_url.secret(),
        checkpoint_dir=str(tmp_path),
        device="cpu",
        forever=True,
        heartbeat_interval=1,
        grace_period=4,
        poll_seconds=0.2,
    )
    with (tmp_path / "log").open("w") as log:
        assert run_workers(settings, 1, stop, output=log, on_progress=look) == 0

    dead, heir = storage.get_all_trials(study)
    close_storage(storage)
    assert (dead.state, heir.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert f":{killed[0]}:" not in heir.system_attrs["claim"]


DIES = "import os, signal; os.kill(os.getpid(), signal.{})"


@pytest.mark.parametrize("forever", [True, False])
@pytest.mark.parametrize(
    ("program", "told", "code"),
    [
        (DIES.format("SIGKILL"), "was killed by signal 9 (Killed) (out of memory?)", 137),
        (DIES.format("SIGSEGV"), "was killed by signal 11 (Segmentation fault)", 139),
        (DIES.format("SIGBUS"), "was killed by signal 7 (Bus error)", 135),
        ("import os; os.abort()", "was killed by signal 6 (Aborted)", 134),
        ("import os; os._exit(3)", "ended with exit code 3 and did not say why", 3),
        ("import os; os._exit(0)", "ended with exit code 0 and did not say why", 1),
    ],
)
def test_how_a_worker_ended_that_could_not_say_it_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    program: str,
    told: str,
    code: int,
    forever: bool,
) -> None:
    monkeypatch.setattr(pool, "_start", Programs(program))
    monkeypatch.setattr(pool, "FIRST_PAUSE", 3600.0)
    stop = Stop()

    def look() -> None:
        if forever and caplog.records:
            stop.request("test")

    n_workers = 1 if forever else 2
    ended = run_workers(replace(SETTINGS, forever=forever), n_workers, stop, on_progress=look)
    lines = [record.getMessage() for record in caplog.records]
    starts_again = forever and code > 128
    assert ended == (0 if starts_again else code)
    what_next = "; it is started again in" if starts_again else "; if it had a trial, that is taken over after 30 s"
    assert sorted(line.partition(what_next)[0] for line in lines) == [f"worker {i} {told}" for i in range(n_workers)]
    assert all(what_next in line for line in lines)


@pytest.mark.parametrize("program", [DONE, FAILS, LOSE_PATIENCE, DIES.format("SIGTERM")])
def test_of_a_worker_that_said_why_it_ended_or_was_stopped_early_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, program: str
) -> None:
    monkeypatch.setattr(pool, "_start", Programs(program))
    stop = Stop()
    if "SIGTERM" in program:
        stop.request("test")
    run_workers(replace(SETTINGS, forever=False), 1, stop)
    assert not caplog.records


@pytest.mark.parametrize("name", ["workers", "studies"])
def test_a_module_of_the_current_folder_is_not_run_instead_of_a_worker(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{name}.py").write_text("print('another program')")
    monkeypatch.chdir(tmp_path)
    settings = replace(SETTINGS, forever=False, checkpoint_dir=str(tmp_path))
    with (tmp_path / "log").open("w") as log:
        assert run_workers(settings, 1, Stop(), output=log) == 0, "there is nothing to do in an empty database"
    assert (tmp_path / "log").read_text() == ""
