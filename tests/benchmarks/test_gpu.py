"""The command that measures GPUs goes its whole way on a CPU, with next to no data."""

import json

import pytest

from benchmarks import gpu


def test_every_figure_is_measured_or_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--quick", "--json"])
    rows = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    missing = {row["line"]: row["note"] for row in rows if row["ours"] is None}
    assert list(missing) == ["wrn_22_2, peak memory of a run"]
    assert "only a GPU's allocator tells" in missing["wrn_22_2, peak memory of a run"]
    assert {"wrn_22_2, 250 epochs", "wrn_22_2 step", "wrn_22_2 step, RigL", "wrn_22_2 topology step"} <= {
        row["line"] for row in rows
    }


def test_without_a_gpu_nothing_is_guessed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    gpu.main([])
    assert "not measured: this machine has no GPU" in capsys.readouterr().out


def test_what_fails_or_comes_too_late_is_a_row_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = gpu.Figures(gpu.Site("cpu", quick=True))

    def fails() -> None:
        raise ValueError("a reason\nin two lines")

    figures.attempt("one", fails)
    monkeypatch.setattr(gpu, "BUDGET", -1.0)
    figures.attempt("two", fails)
    assert [(row.line, row.note) for row in figures.rows] == [
        ("one", "not measured: ValueError: a reason in two lines"),
        ("two", "not measured: no time left"),
    ]
