"""The command that measures GPUs goes its whole way on a CPU, with next to no data."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import session as session_of_parts
from benchmarks.gpu.session import OutOfTime, Session, within
from benchmarks.gpu.site import Site
from benchmarks.rows import Row
from rigl_core.errors import BadInput

PARTS = tuple(gpu.parts_of(Site("cpu", quick=True), Session(0.0)))
FOR_GPUS = {"waiting", "wrn-memory", "wrn-run-compiled"}


@pytest.mark.parametrize(
    "parts",
    [("ceilings", "recorded", "masks", "wrn-topology", *FOR_GPUS), pytest.param(PARTS, marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_every_part_is_measured_or_says_why_not(
    parts: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    gpu.main(["--device", "cpu", "--quick", "--out", str(out), "--only", ",".join(parts)])
    kept = json.loads(out.read_text())
    assert not kept["errors"]
    missing = {row["line"] for row in kept["rows"] if row["ours"] is None}
    assert missing == FOR_GPUS
    found = {row["line"]: row["ours"] for row in kept["rows"]}
    assert {"wrn_22_2 topology step", "Bandwidth of a copy"} <= found.keys()
    assert found["wrn_22_2: places where masks differ from the CPU's"] == 0
    assert all(ours == 0 for line, ours in found.items() if line.startswith("Recorded vs computed"))
    assert "wrn_22_2 topology step" in capsys.readouterr().out


def test_without_a_gpu_nothing_is_guessed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main([])
    assert "not measured: this machine has no GPU" in capsys.readouterr().out


def test_a_part_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--only", "wrn-steps,wrn-stops"])
    assert "no part wrn-stops; there are: ceilings" in capsys.readouterr().err


def test_what_fails_or_comes_too_late_costs_no_other_part(tmp_path: Path) -> None:
    def fails() -> None:
        raise ValueError("a reason\nin two lines")

    def lasts() -> None:
        while True:
            time.sleep(0.01)

    out = tmp_path / "figures.json"
    session = Session(60.0, out)
    session.row(Row(line="zero", ours=1.0))
    assert not session.attempt("one", 60.0, fails)
    assert session.attempt("two", 0.05, lasts)
    kept = out.read_text()
    assert 'raise ValueError("a reason' in json.loads(kept)["errors"]["one"]
    spent = Session(0.0, kept=kept)  # in a process after this one
    assert spent.attempt("three", 9.0, fails)
    assert [(row.line, row.note) for row in spent.rows] == [
        ("zero", ""),
        ("one", "not measured: ValueError: a reason in two lines"),
        ("two", "not measured: its 0 s were over"),
        ("three", "not measured: no time left"),
    ]


def test_a_limit_leaves_the_alarm_of_others_alone() -> None:
    def one_in_the_other() -> None:
        with within(0.1):
            with within(60.0):
                pass
            while True:
                time.sleep(0.01)

    with pytest.raises(OutOfTime, match="its 0 s"):
        one_in_the_other()


def test_a_part_that_tries_many_things_is_out_of_time_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_of_parts, "RINGS_AGAIN", 30.0)
    interrupted = []

    def tries_on() -> None:
        assert signal.getitimer(signal.ITIMER_REAL)[1] == 30.0
        while True:
            try:
                try:
                    if interrupted:
                        signal.raise_signal(signal.SIGALRM)  # as that does, at a moment when this cannot miss it
                    time.sleep(60.0)
                except Exception:
                    interrupted.append("as a failure")
            except BaseException:  # as a destructor would
                if interrupted:
                    raise
                interrupted.append("once")

    session = Session(60.0)
    assert session.attempt("one", 0.05, tries_on)
    assert interrupted == ["once"]
    assert [row.note for row in session.rows] == ["not measured: its 0 s were over"]


def test_what_cannot_be_done_here_is_no_failure() -> None:
    def asks_too_much() -> None:
        raise BadInput("--compile needs a C compiler, and there is none; train without, or install gcc.")

    session = Session(60.0)
    assert session.attempt("one", 9.0, asks_too_much)
    assert not session.errors
    assert session.rows[0].note.startswith("not measured: --compile needs a C compiler")


def test_after_a_failure_a_new_process_measures_what_is_left_in_the_time_that_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks() -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    measured: list[str] = []
    parts = {
        "before": (9.0, lambda: measured.append("before")),
        "breaks": (9.0, breaks),
        "after": (9.0, lambda: measured.append("after")),
    }
    monkeypatch.setattr(gpu, "parts_of", lambda site, session: parts)
    monkeypatch.setattr(gpu, "prepare_process", lambda execution, device: None)
    site, out = Site("cuda", quick=True), tmp_path / "new folder" / "figures.json"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    session = Session(60.0, out)

    def release(site: Site) -> None:
        if session.errors:
            breaks()

    monkeypatch.setattr(Site, "release", release)
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: started.append(arguments))
    gpu._measure_and_print(session, site, [], out)
    assert measured == ["before"]
    (command,) = started
    assert command[:3] == [sys.executable, "-m", "benchmarks.gpu"]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Site, "release", lambda site: None)
    gpu.main(command[3:])
    assert measured == ["before", "after"]
    assert [row["line"] for row in json.loads(out.read_text())["rows"]] == ["breaks"]
    told = capsys.readouterr().out
    assert 0 < int(re.findall(r"^after \((\d+) s left\)", told, re.M)[0]) <= 60

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(command[3:])
    assert "breaks" in (told := capsys.readouterr().out)
    assert "not measured: the GPU cannot be used any more" in told
