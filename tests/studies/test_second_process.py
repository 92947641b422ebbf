"""A report that two processes make is the one that one makes; and whatever becomes of the second, it is made."""

import os
import signal
import subprocess
import sys
from multiprocessing import Pipe
from typing import Any

import pytest

from studies import report
from studies.evidence import methods, transfer_section
from studies.report import make_sections
from studies.reporting import second_process
from studies.reporting.second_process import sections_made_apart
from studies.reporting.section import Evidence, Section
from studies.reporting.sections import provenance_section
from tests.studies.evidence_of import evidence_of_case


def ends(known: Evidence) -> Section:
    """A section on which the second process dies, and the first does not."""
    if os.getpgrp() == os.getpid():
        os.kill(os.getpid(), signal.SIGKILL)
    return Section("ends", "", "", (), {"trials": len(known.frame)})


def waits(known: Evidence) -> Section:
    """A section that is never done."""
    signal.pause()
    return Section("waits", "", "", ())


def test_two_processes_make_the_same_report(monkeypatch: pytest.MonkeyPatch) -> None:
    known = evidence_of_case("side_by_side")
    monkeypatch.setattr(report, "SECTIONS", (methods.section, transfer_section.section, provenance_section))
    monkeypatch.setattr(report, "APART", (transfer_section.section,))
    alone = make_sections(known, "paper")
    monkeypatch.setattr(second_process, "LARGE", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert make_sections(known, "paper") == alone
    assert [section.name for section in alone] == ["methods", "transfer", "provenance"]


def test_a_second_process_that_dies_takes_nothing_with_it(caplog: pytest.LogCaptureFixture) -> None:
    known = evidence_of_case("two_complete")
    with sections_made_apart([ends], known, "screen") as made:
        (section,) = made()
    assert section is not None
    assert section.summary == {"trials": len(known.frame)}
    assert "ended early" in caplog.text


def test_a_second_process_ends_with_the_report_that_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    with pytest.raises(KeyboardInterrupt), sections_made_apart([waits], evidence_of_case("two_complete"), "screen"):
        raise KeyboardInterrupt
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_a_second_process_ends_with_a_first_that_was_killed() -> None:
    ours, theirs = Pipe()  # the system closes a dead process's end
    command = [sys.executable, "-m", second_process.__name__, str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    with ours:
        ours.send(([waits], evidence_of_case("two_complete"), "screen"))
    assert process.wait(60) == 1
