"""A study leaves the database as if it had never been there."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from optuna.storages._rdb import models

from studies.campaigns import create_campaign, delete_campaign
from studies.database.retrying_storage import RetryingStorage
from studies.database.transactions import Transaction
from studies.database.trial_store import trial_store
from studies.spec import StudySpec
from studies.ticket import Report
from studies.tickets import TicketQueue
from tests.studies.database.test_other_trials import watched
from tests.studies.queues import claim, make_plan, make_result, waiting_for_a_lock

TABLES: list[sa.Table] = models.BaseModel.metadata.sorted_tables


def campaign(name: str, n_trials: int = 4) -> StudySpec:
    spec = make_plan(n_trials=n_trials).spec
    return spec.model_copy(update={"name": name})


def trained(storage: RetryingStorage, name: str, n_trials: int = 4) -> TicketQueue:
    """A study with a trial of each kind; the last runs."""
    (queue,) = create_campaign(storage, campaign(name, n_trials))
    for end in ("complete", "prune", "fail"):
        ticket = claim(queue)
        ticket.tell([Report(epoch, 0.5) for epoch in range(3)])
        ticket.fail("an error") if end == "fail" else getattr(ticket, end)(make_result())
    queue.retry(2)
    claim(queue).beat()
    return queue


def rows(storage: RetryingStorage) -> dict[str, int]:
    """How many rows each of Optuna's tables has."""
    with storage.rdb.engine.begin() as connection:
        return {table.name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in TABLES}


def test_nothing_of_it_is_left_and_nothing_of_others_is_missing(database: RetryingStorage) -> None:
    other = trained(database, "other")
    before = rows(database)
    told = database.get_all_trials(other.study_id)
    trained(database, "campaign")
    added = {name for name, n in rows(database).items() if n > before[name]}
    assert added == {table.name for table in TABLES} - {"version_info"}
    delete_campaign(database, "campaign")
    assert rows(database) == before
    assert database.get_all_trials(other.study_id) == told
    with pytest.raises(KeyError):
        trial_store(database).run(lambda transaction: transaction.delete_study(other.study_id + 1))


def test_more_trials_are_no_more_statements(database: RetryingStorage) -> None:
    counts = []
    for n_trials in (4, 40):
        trained(database, "campaign", n_trials)
        with watched(database) as traffic:
            delete_campaign(database, "campaign")
        counts.append(len(traffic))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_who_is_about_to_report_is_waited_for(database: RetryingStorage, wait_until: Callable[..., bool]) -> None:
    queue = trained(database, "campaign")
    deleted = threading.Event()

    def delete() -> None:
        delete_campaign(database, "campaign")
        deleted.set()

    thread = threading.Thread(target=delete)

    def report_slowly(transaction: Transaction) -> None:
        trial = transaction.lock(running)
        thread.start()
        assert wait_until(lambda: waiting_for_a_lock(database) == 1)
        assert not deleted.is_set()
        trial.report({5: 0.5})
        transaction.append(queue.study_id, [{"retry_of": trial.number}])

    running = database.get_all_trials(queue.study_id)[-1]._trial_id
    trial_store(database).run(report_slowly)
    thread.join()
    assert {name: n for name, n in rows(database).items() if n} == {"version_info": 1}
