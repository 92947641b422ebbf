"""The commands that train, as processes of their own, on scikit-learn's digits and SQLite."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from studies.database.storage_url import StorageUrl
from studies.storage import close_storage, open_storage
from tests.forked import Command
from tests.held import allow, program

SPEC = """
name = "tiny"
[fixed]
dataset = "digits"
epochs = 2
delta_t = 5
[pairs]
sparsity = 0.5
distribution = ["uniform", "erk"]
[search]
lr = [0.05, 0.1]
[strategy]
sampler = "grid"
seeds = [0]
reference = { lr = 0.1 }
"""
RIGL_STUDY = [sys.executable, "-m", "studies"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, sqlite_url: StorageUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_STORAGE", str(sqlite_url))
    Path("tiny.toml").write_text(SPEC)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return Command(*arguments).finish()


def counts() -> list[tuple[int, int]]:
    studies = json.loads(run("status", "tiny", "--json").stdout)["studies"]
    return [(study["waiting"] + study["running"], study["complete"]) for study in studies]


def stopped_after(line: str, arguments: list[str], signum: int, epochs: int = 1) -> tuple[int, str]:
    """Exit code and remaining stderr of a command that gets a signal when it says `line`.

    Until then it, or each of its workers, trains only so many epochs.
    """
    pipe, allowed = subprocess.PIPE, Path("allowed").absolute()
    allow(allowed, epochs)
    hold = f"held.hold_training({str(allowed)!r}, 'workers.single')" if arguments[0] == "train" else ""
    hold = hold or f"held.hold_workers({str(allowed)!r})"
    command = [*program("studies", hold), *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        for told in process.stderr:
            if line in told:
                break
        process.send_signal(signum)
        rest = process.stderr.read()
    return process.returncode, rest


def test_run_goes_on_where_it_was_stopped_and_reports_when_all_is_done() -> None:
    command = ["run", "tiny.toml", "--out", "out"]
    code, rest = stopped_after("begins", command, signal.SIGINT)

    assert code == 130
    assert "stopped by SIGINT" in rest
    assert not Path("out").exists()
    assert counts() == [(2, 0), (2, 0)]

    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 trials" in done.stderr
    report = Path("out/report.html").absolute()
    assert done.stdout.splitlines()[-1] == f"report: {report}"
    assert {path.name for path in report.parent.iterdir()} >= {"report.html", "report.md", "trials.csv", "summary.json"}
    assert counts() == [(0, 2), (0, 2)]

    again = run(*command)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert "begins" not in again.stderr


def test_work_gives_back_and_exits_0_when_stopped() -> None:
    assert run("create", "tiny.toml").returncode == 0
    code, rest = stopped_after("begins", ["work", "--checkpoints", "kept"], signal.SIGTERM)

    assert code == 0
    acknowledged, *_, stopped = [line for line in rest.splitlines() if "SIGTERM" in line]
    assert acknowledged.startswith("rigl-study: SIGTERM: trials in progress are being given back; a second one")
    assert "stopped by SIGTERM; trials in progress were given back" in stopped
    assert counts() == [(2, 0), (2, 0)]
    assert json.loads(run("status", "tiny", "--json").stdout)["state"] == "waiting"


def test_work_ends_after_max_trials_and_a_failing_worker_shows_in_the_exit_code() -> None:
    assert run("create", "tiny.toml").returncode == 0
    assert run("work", "tiny", "--max-trials", "1").returncode == 0
    assert sum(complete for _, complete in counts()) == 1

    done = run("work", "--device", "cuda:99")
    assert done.returncode == 2
    assert "cuda:99" in done.stderr


def test_work_says_at_once_that_a_campaign_is_held() -> None:
    assert run("create", "tiny.toml").returncode == 0
    assert run("stop", "tiny").returncode == 0
    done = run("work")
    assert done.returncode == 0
    held = [i for i, line in enumerate(done.stderr.splitlines()) if "campaign tiny is stopped" in line]
    assert held == [0], "before workers are started, and once"


def test_train_goes_on_from_its_checkpoint_to_the_same_result() -> None:
    command = ["train", "--dataset", "digits", "--delta-t", "5", "--epochs", "30", "--json"]
    kept = [*command, "--checkpoint", "run.pt"]
    code, rest = stopped_after("epoch 2/30", kept, signal.SIGINT, epochs=2)

    assert code == 130
    assert "the same command goes on from run.pt" in rest
    resumed, straight = run(*kept), run(*command)
    assert (resumed.returncode, straight.returncode) == (0, 0), resumed.stderr + straight.stderr
    first, second, *_ = resumed.stderr.splitlines()
    at = int(first.removeprefix("rigl-study: resumed at epoch ").removesuffix("/30"))
    assert at == 3, "two are done"
    assert second.startswith(f"rigl-study: epoch {at}/30"), "nothing is told twice"
    assert len(straight.stderr.splitlines()) == 30
    one, other = (json.loads(done.stdout) for done in (resumed, straight))
    assert one["config"] == other["config"]
    assert one["status"] == other["status"] == "complete"
    assert one["val_accuracy"] == other["val_accuracy"]
    assert one["test_accuracy"] == other["test_accuracy"]


def test_train_refuses_what_is_no_checkpoint_of_this_run() -> None:
    command = ["train", "--dataset", "digits", "--delta-t", "5", "--epochs", "1", "--checkpoint"]
    assert run(*command, "run.pt").returncode == 0
    Path("text").write_text("hello")
    for arguments, told in (
        ([*command, "run.pt", "--lr", "0.05"], "another configuration: lr is 0.1 there and 0.05 here"),
        ([*command, "text"], "text is damaged or not a checkpoint"),
        ([*command, "."], '"." is a folder; name a file'),
        (["train", "--set", f"epochs=1{400 * '0'}"], "more than 1e+308"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
    nowhere = run(*command, "text/run.pt")  # refused before anything is trained
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert f'"text/run.pt" lies below {Path("text").resolve()}, which is not a folder' in nowhere.stderr
    assert nowhere.stderr.count("\n") == 1
    again = run(*command, "run.pt")
    assert again.stderr == "rigl-study: all epochs (1) are in the checkpoint\n"


def test_a_terminal_gets_a_live_display_with_the_workers_words_above() -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*RIGL_STUDY, "run", "tiny.toml"],
        stdout=subprocess.PIPE,
        stderr=child,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"},
    )
    os.close(child)
    shown = b"".join(iter(_reader(parent), b""))
    os.close(parent)

    assert process.stdout is not None
    assert b"report: " in process.stdout.read()
    process.stdout.close()
    assert process.wait() == 0
    assert b"[worker 0]" in shown
    assert b"4 of 4 trials" in shown
    assert b"\x1b[3" not in shown  # no colours: NO_COLOR is set
    assert shown.rstrip().endswith(b"\x1b[?25h")  # the cursor is back


def _reader(terminal: int) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return os.read(terminal, 65536)
        except OSError:  # the last process that had the terminal has ended
            return b""

    return read


def test_the_dashboard_answers_on_this_machine_until_ctrl_c() -> None:
    assert run("create", "tiny.toml").returncode == 0
    command = [*RIGL_STUDY, "dashboard", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            (address,) = re.findall(r"dashboard on (http://127\.0\.0\.1:\d+/)", said)
            with urllib.request.urlopen(f"{address}api/studies") as answer:
                assert b"tiny/rigl-s0.5-uniform" in answer.read()
            taken = run("dashboard", "--port", address.rpartition(":")[2].strip("/"))
        finally:  # else a failure would wait for it for ever
            process.send_signal(signal.SIGINT)
        rest = process.stderr.read()

    assert (process.returncode, rest) == (0, "")
    assert taken.returncode == 2
    assert "choose another --port" in taken.stderr


def test_work_goes_on_beside_a_held_campaign_of_another_version() -> None:
    assert run("create", "tiny.toml", "--name", "newer").returncode == 0
    assert run("pause", "newer").returncode == 0
    storage = open_storage(StorageUrl.parse(os.environ["RIGL_STUDY_STORAGE"]))
    for study in storage.get_all_studies():
        storage.set_study_user_attr(
            study._study_id, "spec", study.user_attrs["spec"].replace('"strategy":{', '"strategy":{"novel":1,')
        )
    close_storage(storage)
    assert run("create", "tiny.toml").returncode == 0
    done = run("work", "--max-trials", "1")
    assert done.returncode == 0, done.stderr
    assert "campaign newer is paused" in done.stderr
    assert "another version of rigl-study" in done.stderr
    assert sum(complete for _, complete in counts()) == 1
