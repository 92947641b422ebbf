"""`rigl-study report --live`: written anew when something has changed, and a last time however it ends."""

import math
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from typer.testing import CliRunner

from studies import report
from studies.cli import app
from studies.commands import report as command
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.storage import close_storage, open_storage
from tests.studies.sample_campaign import REFERENCE, Told, make_spec, store
from tests.studies.sample_cases import OTHER

SPEC = make_spec("live")
TRIALS = [Told(REFERENCE, "running", curve=[0.4]), Told(dict(OTHER), "pruned", curve=[math.nan, 0.3])]
RUNNING = 0
RELOADS = f'<meta http-equiv="refresh" content="{command.LIVE_SECONDS}">'

Event = Callable[[BaseStorage], object]


@dataclass
class Followed:
    """`rigl-study report live --live` in a folder of its own.

    Attributes:
        url: of the database.
        folder: of the report.
        waited: seconds that the loop asked to wait for, each time.
    """

    url: StorageUrl
    folder: Path
    waited: list[float]

    @property
    def page(self) -> Path:
        return self.folder / "report.html"

    def run(self, monkeypatch: pytest.MonkeyPatch, *events: Event) -> Any:
        """Run the command; what happens to its database while it waits are the `events`, one after another."""
        follow, left = command.follow_campaign, iter(events)

        def follow_events(database: BaseStorage, name: str, options: command.ReportOptions) -> None:
            def happen(seconds: float) -> None:
                self.waited.append(seconds)
                next(left)(database)

            follow(database, name, options, pause=happen)

        monkeypatch.setattr(command, "follow_campaign", follow_events)
        finished = CliRunner().invoke(
            app, ["report", "live", "--live", "--storage", str(self.url), "--out", str(self.folder)]
        )
        assert len(self.waited) == len(events)
        assert all(seconds >= command.LIVE_SECONDS for seconds in self.waited)
        return finished


@pytest.fixture
def followed(sqlite_url: StorageUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Followed:
    monkeypatch.setattr(report, "SECTIONS", ())  # the first screen and the trials show that it is new
    storage = open_storage(sqlite_url)
    store(SPEC, [TRIALS], storage)
    close_storage(storage)
    return Followed(sqlite_url, tmp_path / "report", [])


def trial_id(database: BaseStorage) -> int:
    study = database.get_study_id_from_name(SPEC.plans()[0].name)
    return database.get_trial_id_from_study_id_trial_number(study, RUNNING)


def fail(database: BaseStorage) -> None:
    database.set_trial_state_values(trial_id(database), TrialState.FAIL)


def interrupt(_database: BaseStorage) -> None:
    signal.raise_signal(signal.SIGINT)


def test_it_is_written_anew_when_something_has_changed(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    page = followed.page

    def nothing(_database: BaseStorage) -> None:
        assert RELOADS in page.read_text()
        page.write_text("as it was")

    def an_epoch(database: BaseStorage) -> None:
        assert page.read_text() == "as it was"
        database.set_trial_intermediate_value(trial_id(database), 1, 0.625)

    def the_end(database: BaseStorage) -> None:
        assert RELOADS in page.read_text()
        assert '"1":0.625' in page.with_name("trials.csv").read_text().replace('""', '"')
        fail(database)

    finished = followed.run(monkeypatch, nothing, an_epoch, the_end)

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert finished.stdout.count(f"report: {page}\n") == 3
    assert "1 trial of 2 failed" in page.read_text()
    assert RELOADS not in page.read_text()


def test_ctrl_c_ends_it_with_a_page_that_stays(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = followed.run(monkeypatch, interrupt)

    assert (finished.exit_code, finished.stderr) == (130, "rigl-study: interrupted\n")
    assert "1 running" in followed.page.read_text()
    assert RELOADS not in followed.page.read_text()


def go_away(database: BaseStorage, *, times: int) -> None:
    """Let the next statements fail as they do while a server restarts."""
    assert isinstance(database, RetryingStorage)
    left = iter(range(times))

    def refuse(*_: object) -> None:
        if next(left, None) is not None:
            raise sa.exc.OperationalError("SELECT 1", {}, Exception("the server is shutting down"))

    sa.event.listen(database.rdb.engine, "before_cursor_execute", refuse)


def test_it_rides_out_a_database_that_is_away(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = followed.run(monkeypatch, lambda database: go_away(database, times=2), fail)

    assert finished.exit_code == 0
    assert [("is away" in line, "is back" in line) for line in finished.stderr.splitlines()] == [
        (True, False),
        (False, True),
    ]
    assert "1 trial of 2 failed" in followed.page.read_text()


def test_it_ends_where_the_database_stays_away(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGL_STUDY_PATIENCE", "0")
    finished = followed.run(monkeypatch, lambda database: go_away(database, times=10**6))

    assert finished.exit_code == 1
    assert finished.stderr.count("\n") == 1
    assert "the server is shutting down" in finished.stderr
    assert "1 running" in followed.page.read_text()
    assert RELOADS not in followed.page.read_text()
