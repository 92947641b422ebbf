"""A report that two processes make is the one that one makes; and whatever becomes of the second, it is made."""

import os
import signal

import pytest

from studies import evidence, report
from studies.evidence import transfer_section
from studies.report import make_sections
from studies.reporting import second_process
from studies.reporting.second_process import sections_made_apart
from studies.reporting.section import Evidence, Section
from studies.reporting.sections import pairs_section, provenance_section
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
    monkeypatch.setattr(report, "SECTIONS", (pairs_section, transfer_section.section, provenance_section))
    monkeypatch.setattr(evidence, "MODELLED", (transfer_section.section,))
    alone = make_sections(known, "paper")
    monkeypatch.setattr(second_process, "LARGE", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert make_sections(known, "paper") == alone
    assert [section.name for section in alone] == ["verdicts", "transfer", "provenance"]


def test_a_second_process_that_dies_takes_nothing_with_it(caplog: pytest.LogCaptureFixture) -> None:
    known = evidence_of_case("two_complete")
    with sections_made_apart([ends], known, "screen") as made:
        (section,) = made()
    assert section is not None
    assert section.summary == {"trials": len(known.frame)}
    assert "ended early" in caplog.text


def test_a_second_process_ends_with_the_report_that_was_given_up() -> None:
    children = set(os.listdir("/proc"))
    with pytest.raises(KeyboardInterrupt), sections_made_apart([waits], evidence_of_case("two_complete"), "screen"):
        raise KeyboardInterrupt
    left = [pid for pid in set(os.listdir("/proc")) - children if pid.isdigit() and _is_ours(pid)]
    assert left == []


def _is_ours(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline") as command:
            return "second_process" in command.read()
    except OSError:
        return False
