"""The chaos harness in short: every kind of trouble once or twice, every number checked."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from benchmarks.chaos.__main__ import parse
from benchmarks.chaos.site import FAKETIME

ROOT = Path(__file__).parents[2]
SHORT = {
    "points": 14,
    "epochs": 30,  # long enough for a fast machine to be killed in the middle of some
    "workers": 3,
    "kills": 3,
    "restarts": 2,
    "freezes": 1,
    "preemptions": 1,
    "outage": 2,
}
COMMAND = [sys.executable, "-m", "benchmarks.chaos", "--clock-skew", "3600" if FAKETIME else "0"]


@pytest.mark.timeout(600)
def test_every_kind_of_trouble_at_once() -> None:
    options = [word for name, value in SHORT.items() for word in (f"--{name}", str(value))]
    done = subprocess.run([*COMMAND, *options, "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["violations"] == []
    assert done.returncode == 0
    figures = told["figures"]
    assert figures["points complete exactly once"] == "14 of 14"
    assert figures["values equal to an undisturbed run's, bit for bit"] == "14 of 14"
    assert figures["workers killed at a ticket (SIGKILL)"] >= 3
    assert figures["Postgres stopped, fast / immediate"] == "1 / 1"
    assert figures["tickets taken from them meanwhile"] == 1
    assert figures["late words discarded"] >= 1


def test_an_interrupted_run_leaves_nothing(open_directory: Path) -> None:
    folder = open_directory / uuid4().hex  # of this run alone: another process of the suite may run chaos, too
    folder.mkdir(mode=0o755)
    run = subprocess.Popen(
        [*COMMAND, "--clock-skew", "0", "--points", "500"],  # not over before it is interrupted
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert run.stderr is not None
    so_far = ""
    while "complete" not in so_far:
        so_far += (read := run.stderr.read(1))
        assert read, so_far
    assert list(folder.glob("rigl-chaos-*"))
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=240)
    assert run.returncode == 130
    assert "everything is cleaned up" in said
    assert "Traceback" not in said
    assert list(folder.glob("rigl-chaos-*")) == []


@pytest.mark.parametrize(
    ("options", "told"), [(["--workers", "1"], "--workers 1: at least 2"), (["--points", "0"], "are 1 or more")]
)
def test_bad_input_is_told_in_one_line(options: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["--clock-skew", "0", *options])
    assert end.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
