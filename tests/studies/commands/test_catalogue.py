"""`rigl-study data`: several data sets at once."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rigl_core.data import find
from rigl_core.errors import DataUnavailable
from studies.cli import app


def test_one_data_set_that_is_not_to_be_had_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, data_dir: Path | None) -> str:
        if name == "cifar10":
            raise DataUnavailable("there is no network.")
        return "here"

    monkeypatch.setattr(find, "fetch", fetch)
    done = CliRunner().invoke(app, ["data", "fetch", "cifar10", "digits"])

    assert (done.exit_code, done.stdout) == (1, "here\n")
    assert done.stderr.splitlines() == ["rigl-study: there is no network.", "rigl-study: digits is in order"]


def test_an_unknown_data_set_is_refused_before_any_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(find, "fetch", lambda name, _: asked.append(name) or "here")
    done = CliRunner().invoke(app, ["data", "fetch", "digits", "digitz"])

    assert (done.exit_code, done.stdout) == (2, "")
    assert 'Did you mean "digits"?' in done.stderr
    assert asked == []
