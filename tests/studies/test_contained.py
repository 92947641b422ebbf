"""A figure or section that fails costs itself only, and is told on the page, on stderr and by the exit code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from studies import foreign_finding, foreign_report
from studies.cli import app
from studies.database.storage_url import StorageUrl
from studies.evidence import importance_section
from studies.foreign import load_foreign
from studies.frame import load_frame, load_provenance
from studies.report import render_report
from studies.reporting import contained, trial_figures
from studies.reporting.section import Section, Text
from studies.storage import close_storage, open_storage
from tests.studies.sample_campaign import make_spec, realistic, store
from tests.studies.test_foreign import MIXED, make_study

pytestmark = pytest.mark.usefixtures("svg_only")


@pytest.fixture(autouse=True)
def _contained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contained, "CAUGHT", (Exception,))


def broken(*_arguments: object, **_more: object) -> Any:
    raise ValueError("out of order")


def test_a_campaigns_report_has_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec()
    storage = store(spec, realistic(spec, n_trials=6))
    trials = load_frame(storage, spec.name), load_provenance(storage, spec.name)
    whole = render_report(*trials)
    monkeypatch.setattr(trial_figures, "panels", broken)
    monkeypatch.setattr(importance_section, "importances", broken)
    files = render_report(*trials)

    assert set(whole) - set(files) == {"figures/parameters.svg", "figures/curves.svg"}
    assert files["trials.csv"] == whole["trials.csv"]
    for name in ("report.html", "report.md"):
        assert str(files[name]).count("could not be made (ValueError: out of order)") == 3
    summary, before = json.loads(files["summary.json"]), json.loads(whole["summary.json"])
    assert summary["pairs"] == before["pairs"]
    assert summary["evidence"] == {key: told for key, told in before["evidence"].items() if key != "importance"}


def test_the_command_says_once_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    storage = open_storage(StorageUrl.parse(url))
    make_study(MIXED, storage=storage)
    close_storage(storage)
    monkeypatch.setattr(trial_figures, "panels", broken)
    arguments = ["report", "--optuna-study", "other/svm", "--storage", url, "--out", str(tmp_path / "report")]
    done = CliRunner().invoke(app, arguments)

    assert done.exit_code == 1
    assert done.stdout.startswith("The best of 3 (trial 1: C 3")
    assert done.stderr == (
        'rigl-study: The figure "parameters" could not be made (ValueError: out of order). All trials are in '
        "trials.csv.\n"
    )
    assert json.loads((tmp_path / "report" / "summary.json").read_text())["best"]["number"] == 1


def test_a_gain_that_cannot_be_computed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_finding, "estimate_gain", broken)
    trials = [({"C": 1.0 + i, "units": 64}, float(i)) for i in range(12)]
    finding = foreign_finding.find(load_foreign(make_study(trials), "other/svm", 5))
    page = str(foreign_report.render_foreign(finding)["report.html"])

    assert finding.gain is None
    assert "How much of that is luck cannot be told: it could not be computed." in page
    assert "The gain could not be made (ValueError: out of order)" in page


def test_a_summary_that_json_cannot_hold_is_a_failure() -> None:
    @contained.section("odd", "Odd")
    def make() -> Section:
        return Section("odd", "Odd", "Odd", (), {"infinite": float("inf")})

    made = make()
    assert made is not None
    (text,) = made.blocks
    assert isinstance(text, Text)
    assert text.role == "failed"


def test_an_overflow_is_no_number() -> None:
    found = contained.attempt("A sum", lambda: np.array([1e308, 1e308]).sum() * np.float64(10))
    assert isinstance(found, Text)
    assert "overflow" in found.text
