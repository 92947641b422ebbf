"""`rigl-study report --json`: on stdout what summary.json holds, and nothing else."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from typer.testing import CliRunner

from studies import foreign_report, report
from studies.cli import app
from studies.database.storage_url import StorageUrl
from studies.storage import close_storage, open_storage
from tests.studies.sample_campaign import REFERENCE, make_spec, store
from tests.studies.sample_cases import OTHER, done

pytestmark = pytest.mark.usefixtures("svg_only")


@pytest.fixture(autouse=True)
def _first_screens_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SECTIONS", ())
    monkeypatch.setattr(foreign_report, "EVIDENCE", ())


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database with the campaigns one and other, and the study svm of another program."""
    url = StorageUrl.parse(f"sqlite:///{tmp_path_factory.mktemp('stored') / 'study.db'}")
    storage = open_storage(url)
    for name in ("one", "other"):
        store(make_spec(name), [[done(REFERENCE, 0.85, 0.84), done(OTHER, 0.86, 0.85)]], storage)
    study = optuna.create_study(storage=storage, study_name="svm")
    study.add_trial(create_trial(params={"C": 1.0}, distributions={"C": FloatDistribution(0, 2)}, value=0.5))
    close_storage(storage)
    return str(url)


@pytest.mark.parametrize(
    ("about", "key", "value"),
    [
        (["one"], "campaign", "one"),
        (["one", "other"], "compares", ["one", "other"]),
        (["--optuna-study", "svm"], "optuna_study", "svm"),
    ],
)
def test_it_prints_the_summary_and_nothing_else(
    about: list[str], key: str, value: object, stored: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["report", *about, "--json", "--storage", stored, "--out", str(tmp_path / "out")])

    assert (done.exit_code, done.stderr) == (0, f"rigl-study: report: {tmp_path / 'out' / 'report.html'}\n")
    assert done.stdout == (tmp_path / "out" / "summary.json").read_text()
    assert json.loads(done.stdout)[key] == value


def test_it_prints_the_same_from_the_files_of_a_report(stored: str, tmp_path: Path) -> None:
    first = CliRunner().invoke(app, ["report", "one", "--json", "--storage", stored, "--out", str(tmp_path / "out")])
    trials = str(tmp_path / "out" / "trials.csv")
    again = CliRunner().invoke(app, ["report", "--from", trials, "--json", "--out", str(tmp_path / "again")])

    assert again.exit_code == 0
    assert again.stdout == first.stdout
