"""What `status` and `list` read by themselves is what Optuna reads, in a few statements, without Optuna."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from benchmarks.status import campaign, fill
from studies.campaigns import create_campaign, delete_campaign, list_campaigns, set_control, study_rows
from studies.database.overview_rdb import read_studies
from studies.database.storage_url import StorageUrl
from studies.errors import StorageError
from studies.overview import status_of, summaries


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """All statements of every engine, as they are executed."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(sa.Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_it_is_what_optuna_reads(kind: str, request: pytest.FixtureRequest, tmp_path: Any, opened: Any) -> None:
    url = StorageUrl.parse(f"sqlite:///{tmp_path}/s.db")
    if kind == "postgres":
        url = request.getfixturevalue("postgres_url")
    assert read_studies(url, 0) == [], "of an empty database, whose tables are made"
    storage = opened(url)
    queues = create_campaign(storage, campaign(12, 3, "one"))
    create_campaign(storage, campaign(2, 1, "two"))
    set_control(storage, "two", "pause")
    for number in range(3):
        ticket = queues[0].claim("w")
        assert ticket is not None
        if number < 2:
            ticket.fail("why not")
    queues[0].retry(0)
    study_id = storage.get_study_id_from_name("one/rigl-s0.52-erk")
    trial = storage.create_new_trial(study_id)
    storage.set_trial_state_values(trial, TrialState.COMPLETE, [0.75])

    rows = read_studies(url, 0)
    assert summaries(rows) == list_campaigns(storage)
    assert [line.name for line in summaries(rows)] == ["one", "two"]
    for name in ("one", "two"):
        assert status_of(rows, name) == status_of(study_rows(storage), name)
    first, second, _ = status_of(rows, "one")["studies"]
    assert (first["waiting"], first["running"], first["failed"], first["retried"]) == (2, 1, 1, 1)
    assert second["best"] == 0.75


def test_the_number_of_statements_does_not_grow(postgres_url: StorageUrl, statements: list[str]) -> None:
    fill(postgres_url, 200)
    statements.clear()
    few = status_of(read_studies(postgres_url, 0), "large")
    n_few = len(statements)
    engine = sa.create_engine(postgres_url.secret())
    with engine.begin() as connection:  # ten times as many trials in each study
        connection.exec_driver_sql(
            "INSERT INTO trials (number, study_id, state) SELECT number + 10 * n, study_id, state "
            "FROM trials, generate_series(1, 9) AS n"
        )
    engine.dispose()
    statements.clear()
    many = status_of(read_studies(postgres_url, 0), "large")
    assert many["studies"][0]["waiting"] == 10 * few["studies"][0]["waiting"] == 10
    assert len(statements) == n_few <= 8


def test_status_loads_no_optuna_and_nothing_of_the_trials(postgres_url: StorageUrl) -> None:
    fill(postgres_url, 200)
    script = (
        "import sys\nfrom studies.cli import app\ntry:\n    app(['status', 'large', '--json', '--storage', "
        "sys.stdin.read()])\nexcept SystemExit:\n"
        "    heavy = ('optuna', 'alembic', 'numpy', 'pandas')\n"
        "    print(*(name for name in heavy if name in sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, input=postgres_url.secret(), capture_output=True, text=True, check=True)
    assert done.stderr == "\n"
    assert sum(study["complete"] for study in json.loads(done.stdout)["studies"]) == 120


def test_tables_of_another_version_are_refused(postgres_url: StorageUrl, opened: Callable[..., Any]) -> None:
    opened(postgres_url)
    engine = sa.create_engine(postgres_url.secret())
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    engine.dispose()
    with pytest.raises(StorageError, match="rigl-study storage upgrade"):
        read_studies(postgres_url, 0)


def test_a_campaign_that_is_deleted_meanwhile_is_seen_as_it_was(postgres_url: StorageUrl, opened: Any) -> None:
    """Half of it would be told as a campaign without trials, which is complete."""
    storage = opened(postgres_url)
    create_campaign(storage, campaign(12, 3, "one"))
    deleted: list[int] = []

    def delete(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "SELECT study_id, state, count" in statement and not deleted:
            deleted.append(0)
            deleted[0] = delete_campaign(storage, "one")

    sa.event.listen(sa.Engine, "before_cursor_execute", delete)
    try:
        seen = summaries(read_studies(postgres_url, 0))
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", delete)
    assert deleted == [3]
    assert [(line.state, line.counts.waiting) for line in seen] == [("waiting", 12)]
    assert read_studies(postgres_url, 0) == []
