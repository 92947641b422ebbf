"""What `rigl-study train` shows while it trains, and what it says of it at the end."""

import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from rigl_core.methods import METHODS
from rigl_core.outcome import EpochReport
from studies.cli import app
from studies.commands.train import live_bar
from workers.stop import Stop


def report(*, bits: tuple[float, ...] = ()) -> EpochReport:
    return EpochReport(
        epoch=99, n_epochs=250, loss=(2.30152,), val_accuracy=(0.8765,), seconds=1.0, explored=(0.4321,),
        sparsity=(0.9,), inference_flops=(0.1032,), bits_per_character=bits,
    )  # fmt: skip


@pytest.mark.parametrize("bits", [(), (1.98771,)])
def test_the_live_bar_and_its_figures_fit_eighty_columns(bits: tuple[float, ...]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None, legacy_windows=False)
    with live_bar(console, 250) as (on_epoch, on_step):
        on_step(40, 100)
        on_epoch(report(bits=bits))
    file = console.file
    assert isinstance(file, io.StringIO)
    shown = file.getvalue()
    last = shown[shown.rindex("epoch 100/250") :]
    assert "…" not in last
    assert " 40%" in last.splitlines()[0]
    assert last.splitlines()[0].count("━") > 18, "40 % of a bar that takes what room there is"
    flat = " ".join(last.split())
    for part in ("loss 2.3015", "validation 87.65 %", "sparsity 0.9000", "explored 0.432", "FLOPs 0.103×"):
        assert part in flat
    assert ("bits/char 1.9877" in flat) == bool(bits)


def test_no_variable_lets_it_compute_with_fewer_threads_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.single.set_threads", lambda _n: None)
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    monkeypatch.setenv("OMP_DYNAMIC", "true")
    done = CliRunner().invoke(app, ["train", "--dataset", "digits", "--epochs", "1", "--set", "train_size=64"])
    assert done.exit_code == 0, done.stderr
    assert {"OMP_THREAD_LIMIT", "OMP_DYNAMIC"}.isdisjoint(os.environ)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_from_the_command_line(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.single.set_threads", lambda _n: None)  # other tests of this process keep theirs
    short = ("--set", "train_size=256", "--set", "ramp_start=1", "--set", "warmup_steps=0")
    short += ("--epochs", "2", "--delta-t", "1", "--seeds", "0,1")
    done = CliRunner().invoke(app, ["train", "--method", method, "--dataset", "digits", *short, "--json"])
    assert done.exit_code == 0, done.stderr
    first, second = done.stderr.splitlines()
    for part in ("epoch 2/2", "loss ", "validation ", "sparsity ", "explored ", "FLOPs "):
        assert part in second
    assert first.startswith("rigl-study: epoch 1/2")
    told = json.loads(done.stdout)
    assert (told["config"]["method"], told["status"], told["epochs"]) == (method, "complete", 2)
    assert len(told["test_accuracy"]) == len(told["history"][-1]["explored"]) == 2
    n_weights = {"small_dense": 9_440}.get(method, 50_200)  # at 64, 95, 32 and 10 units; 64, 300, 100 and 10
    assert told["n_active"] == (0.1 * n_weights if METHODS[method].sparse else n_weights)


def test_a_stopped_run_says_how_many_of_all_its_epochs_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.single.set_threads", lambda _n: None)
    asked = iter([False] * 3)  # a step an epoch, and twice asked in each
    monkeypatch.setattr(Stop, "is_set", lambda _stop: next(asked, True))
    monkeypatch.setattr(Stop, "reason", "SIGINT")
    short = ("--set", "train_size=16", "--epochs", "2", "--set", "train_multiplier=2")
    done = CliRunner().invoke(app, ["train", "--dataset", "digits", *short])
    assert done.exit_code == 130
    assert "stopped by SIGINT after 2 of 4 epochs; nothing was kept" in done.stderr


def test_a_run_that_goes_on_sweeps_what_a_killed_one_left_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.single.set_threads", lambda _n: None)
    (tmp_path / ".run.pt.0123abcd").write_bytes(b"half")
    short = ("--dataset", "digits", "--epochs", "1", "--set", "train_size=256")
    done = CliRunner().invoke(app, ["train", *short, "--checkpoint", str(tmp_path / "run.pt")])
    assert done.exit_code == 0, done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
