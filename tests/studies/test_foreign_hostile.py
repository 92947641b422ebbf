"""Any number and any name that a study of another program may hold: there is a report, and its best is Optuna's."""

import json
import math
import tempfile
import unicodedata
import warnings
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from jsonschema import Draft202012Validator
from optuna.trial import TrialState
from typer.testing import CliRunner

from studies.cli import app
from studies.database.storage_url import StorageUrl
from studies.reporting import contained
from studies.storage import close_storage, open_storage
from studies.summary_schemas import published_schema
from tests.studies.hostile_studies import Hostile, hostile_studies
from tests.studies.quick_reports import draw_no_png, resample_little

SCHEMA = Draft202012Validator(published_schema())


class Page(HTMLParser):
    """A page whose elements are closed in the order in which they were opened."""

    VOID = ("meta", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """An element of an SVG without content."""


def check(study: Hostile, folder: Path) -> None:
    """A report of the study says what it should, in every file."""
    url = f"sqlite:///{folder}/study.db"
    storage = open_storage(StorageUrl.parse(url))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's of such choices
        try:
            trials = study.store(storage).get_trials(deepcopy=False)
        except OverflowError:  # Optuna cannot compare a choice of 10**400 with another trial's
            reject()
        finally:
            close_storage(storage)

    out = folder / "report"
    done = CliRunner().invoke(app, ["report", "--optuna-study", study.name, "--storage", url, "--out", str(out)])

    lines = done.stderr.splitlines()
    assert all(line.startswith("rigl-study: ") for line in lines), done.stderr
    assert not steering(done.stdout + done.stderr)
    failed = [line for line in lines if "could not be made" in line]
    assert done.exit_code == len(failed), done.output
    assert len(lines) == len(failed), done.stderr
    page, told = (out / "report.html").read_text("utf-8"), (out / "report.md").read_text("utf-8")
    assert not steering(page + told)
    assert ("could not be made" in page) == bool(failed)
    found = Page(page)
    assert not found.open
    assert "script" not in found.seen
    for figure in (out / "figures").glob("*.svg"):
        ET.fromstring(figure.read_text("utf-8"))
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    SCHEMA.validate(summary)
    candidates = {
        trial.number: trial.values[0]
        for trial in trials
        if trial.state == TrialState.COMPLETE
        and math.isfinite(trial.values[0])
        and all(limit <= 0 for limit in trial.constraints.values())
    }
    best = summary["best"]
    assert (best is None) == (not candidates)
    if best is None:
        return
    sign = -1 if summary["direction"] == "minimize" else 1
    assert set(best["runs"]) <= set(candidates)
    if summary["counts"]["complete"] and not any("mean of" in line for line in told.splitlines()):
        assert best["number"] == min(candidates, key=lambda number: (-sign * candidates[number], number))


def steering(text: str) -> list[str]:
    """Control characters in a text, but for the ends of its lines."""
    kinds = ("Cc", "Cs", "Zl", "Zp")
    return [c for c in text if c != "\n" and (unicodedata.category(c) in kinds or c in "\u202e\u202d")]


@settings(max_examples=12)
@given(study=hostile_studies())
def test_any_study_has_a_report(study: Hostile) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        draw_no_png(patch)
        resample_little(patch)
        patch.setattr(contained, "CAUGHT", (Exception,))
        check(study, Path(folder))
