"""A report that two processes make is the one that one makes; and whatever becomes of the second, it is made."""

import contextlib
import os
import signal
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from studies import report
from studies.report import make_sections
from studies.reporting import second_process
from studies.reporting.second_process import sections_made_apart
from studies.reporting.sections import pairs_section, parameters_section, provenance_section
from tests.studies import sections_apart
from tests.studies.evidence_of import evidence_of_case

# A section is made from whatever is known: of these, no process has to import what evidence is.
ENDS: Any = sections_apart.ends
WAITS: Any = sections_apart.waits


@pytest.fixture
def fifo(tmp_path: Path) -> Any:
    """What `waits` writes to as it begins."""
    os.mkfifo(tmp_path / "begun")
    return tmp_path / "begun"


def test_two_processes_make_the_same_report(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    known = evidence_of_case("two_complete")
    monkeypatch.setattr(report, "SECTIONS", (pairs_section, parameters_section, provenance_section))
    monkeypatch.setattr(report, "APART", (parameters_section,))
    alone = make_sections(known, "paper")
    monkeypatch.setattr(second_process, "LARGE", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert make_sections(known, "paper") == alone
    assert [section.name for section in alone] == ["verdicts", "parameters", "provenance"]
    assert "ended early" not in caplog.text  # but by two indeed


def test_a_second_process_that_dies_takes_nothing_with_it(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    known: Any = "all"
    with sections_made_apart([ENDS], known, "screen") as made:
        assert made() == ["told all"]
    assert "ended early" in caplog.text
    assert capfd.readouterr().err == ""


def test_a_second_process_ends_with_the_report_that_was_given_up(monkeypatch: pytest.MonkeyPatch, fifo: Any) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    with contextlib.suppress(KeyboardInterrupt), sections_made_apart([WAITS], fifo, "screen"):
        assert fifo.read_text() == "begun"
        raise KeyboardInterrupt
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_a_second_process_ends_with_a_first_that_was_killed(fifo: Any) -> None:
    ours, theirs = Pipe()  # the system closes a dead process's end
    command = [sys.executable, "-m", second_process.__name__, str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    with ours:
        ours.send(([WAITS], fifo, "screen"))
        assert fifo.read_text() == "begun"
    assert process.wait(60) == 1
