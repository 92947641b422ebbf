"""What a worker reads of other trials: as Optuna reads them, and no finished one twice."""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from studies.database.other_trials import EPOCHS_AT_ONCE, CompletedReports
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.database.trial_store import trial_store
from studies.errors import TicketLost
from studies.ticket import Report, Ticket
from studies.tickets import TicketQueue
from tests.studies.queues import claim, make_plan, make_result, sweep

BEGUN = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)


class Traffic:
    """How many statements were sent, and how many rows they brought."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.rows = 0

    def __len__(self) -> int:
        return len(self.statements)


@contextmanager
def watched(storage: RetryingStorage) -> Iterator[Traffic]:
    traffic = Traffic()

    def note(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):  # which SQLite is told as a statement
            traffic.statements.append(statement)
        if statement.lstrip().startswith("SELECT") and cursor.rowcount > 0:  # SQLite's driver does not tell
            traffic.rows += cursor.rowcount

    sa.event.listen(storage.rdb.engine, "after_cursor_execute", note)
    yield traffic
    sa.event.remove(storage.rdb.engine, "after_cursor_execute", note)


def as_samplers_see(trial: FrozenTrial) -> tuple[Any, ...]:
    """What is promised of a trial (`TrialStore.begun`)."""
    is_running, is_pruned = trial.state == TrialState.RUNNING, trial.state == TrialState.PRUNED
    last = trial.last_step if is_pruned else None
    return (
        trial.number,
        trial.state,
        list(trial.params.items()),
        trial.distributions,
        trial.values,
        trial.system_attrs if is_running else {},
        None if last is None else (last, trial.intermediate_values[last]),
    )


def test_what_a_study_sees_is_its_own(database: RetryingStorage) -> None:
    names = ("a", "b")
    mine, others = (
        TicketQueue.create(database, make_plan().spec.model_copy(update={"name": name}).plans()[0]) for name in names
    )
    for queue, value in ((others, 0.9), (mine, 0.5), (others, 0.8)):  # whose trials lie among one another
        ticket = claim(queue)
        ticket.report(0, value)
        ticket.complete(make_result(value))
    claim(others)
    store = trial_store(database)
    assert [trial.value for trial in store.begun(mine.study_id)] == [0.5]
    assert [trial.value for trial in store.begun(others.study_id)] == [0.9, 0.8, None]
    with database.rdb.engine.begin() as connection:
        assert list(CompletedReports(mine.study_id).at(connection, 0).values) == [0.5]
        assert list(CompletedReports(others.study_id).at(connection, 0).values) == [0.8, 0.9]


@pytest.mark.parametrize("seed", range(3))
def test_what_samplers_see_is_what_optuna_reads(database: RetryingStorage, seed: int) -> None:
    draw = random.Random(seed)
    queue = TicketQueue.create(database, make_plan(n_trials=12, sampler="tpe", pruner="asha"))
    study_id = database.get_study_id_from_name(queue.name)
    running: list[Ticket] = []
    while queue.counts().waiting or running:
        if draw.random() < 0.4 and len(running) < 4 and queue.counts().waiting:
            running.append(claim(queue))
        elif running:
            ticket = running.pop(draw.randrange(len(running)))
            ticket.report(0, draw.random())
            how = draw.choice(["complete", "complete", "prune", "fail", "give_back"])
            if how in ("complete", "prune"):
                assert getattr(ticket, how)(make_result(draw.random()))
            else:
                assert getattr(ticket, how)("told to")
        seen = [as_samplers_see(trial) for trial in queue._store.begun(study_id)]
        assert seen == [as_samplers_see(t) for t in database.rdb.get_all_trials(study_id) if t.state in BEGUN]


def test_a_finished_trial_is_read_once(postgres_url: StorageUrl, opened: Callable[..., Any]) -> None:
    database = opened(postgres_url)
    queue = TicketQueue.create(database, make_plan(n_trials=300, sampler="tpe"))
    for _ in range(40):
        claim(queue).complete(make_result(0.5))
    first, held = claim(queue), claim(queue)
    with watched(database) as traffic:
        claim(queue)
    assert traffic.rows < 60, "the two that run and the ticket itself, and nothing of the forty"
    assert first.give_back("later")
    for _ in range(5):
        claim(queue).complete(make_result(0.5))
    held.complete(make_result(0.5))
    study_id = database.get_study_id_from_name(queue.name)
    assert len(queue._store.begun(study_id)) == 47
    with watched(database) as traffic:
        assert len(queue._store.begun(study_id)) == 47
    assert traffic.rows < 60, "only those from the first that still runs"


def test_what_a_finished_trial_reported_is_read_once(postgres_url: StorageUrl, opened: Callable[..., Any]) -> None:
    database = opened(postgres_url)
    queue = TicketQueue.create(database, make_plan(n_trials=60, pruner="median"))
    for _ in range(40):
        earlier = claim(queue)
        earlier.tell([Report(epoch, 0.5) for epoch in range(4)])
        earlier.complete(make_result(0.5))
    ticket = claim(queue)
    for epoch in range(2):  # nothing is pruned after the first
        ticket.report(epoch, 0.6)
    with watched(database) as traffic:
        ticket.report(2, 0.6)
    assert traffic.rows < 20, "its own, and nothing of the forty"


@pytest.mark.parametrize("n_finished", [0, 1, 40])
def test_what_a_trial_asks_does_not_depend_on_how_many_there_were(database: RetryingStorage, n_finished: int) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=n_finished + 3, sampler="tpe", pruner="median"))
    for _ in range(n_finished):
        earlier = claim(queue)
        for epoch in range(4):
            earlier.report(epoch, 0.5)
        earlier.complete(make_result(0.5))
    claim(queue).report(0, 0.5)
    with watched(database) as claimed:
        ticket = claim(queue)
    assert len(claimed) <= 18
    for epoch in range(3):
        ticket.report(epoch, 0.6)
    with watched(database) as reported:
        ticket.report(3, 0.6)
    # Lock, look whose it is, store the value and how much was trained, look for complete trials; their values, if new.
    assert len(reported) <= 5 + (n_finished > 0)
    with watched(database) as again:
        assert ticket.beat()
    assert len(again) <= 3
    with watched(database) as told:
        ticket.complete(make_result(0.6))
    assert len(told) <= 5
    with watched(database) as swept:
        assert queue.sweep() == 0
    assert len(swept) == 1


@pytest.mark.parametrize("seed", range(3))
def test_what_pruners_see_is_what_optuna_reads(database: RetryingStorage, seed: int) -> None:
    draw = random.Random(seed)
    n_epochs = 2 * EPOCHS_AT_ONCE + 5
    queue = TicketQueue.create(database, make_plan(n_trials=12, pruner="median"))
    study_id = database.get_study_id_from_name(queue.name)
    seen = CompletedReports(study_id)
    running: list[Ticket] = []
    while queue.counts().waiting or running:
        if draw.random() < 0.5 and len(running) < 4 and queue.counts().waiting:
            running.append(claim(queue))
        elif running:
            ticket = running.pop(draw.randrange(len(running)))
            values = [
                draw.choice([draw.random(), math.nan, math.inf, -math.inf]) for _ in range(draw.randrange(1, n_epochs))
            ]
            ticket.tell([Report(epoch, value) for epoch, value in enumerate(values)])
            assert draw.choice([ticket.complete, ticket.prune])(make_result(draw.random()))
        complete = [t for t in database.rdb.get_all_trials(study_id) if t.state == TrialState.COMPLETE]
        for epoch in draw.sample(range(n_epochs), 3):
            with database.rdb.engine.begin() as connection:
                completed = seen.at(connection, epoch)
            values = [t.intermediate_values[epoch] for t in complete if epoch in t.intermediate_values]
            in_order = sorted(values, key=lambda value: (math.isnan(value), value))
            assert completed.n_trials == len(complete)
            np.testing.assert_array_equal(completed.values, in_order)


def test_epochs_to_come_are_read_along(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan(n_trials=4, pruner="median"))
    for _ in range(2):
        earlier = claim(queue)
        earlier.tell([Report(epoch, 0.5) for epoch in range(2 * EPOCHS_AT_ONCE)])
        earlier.complete(make_result(0.5))
    ticket = claim(queue)
    ticket.report(0, 0.6)  # nothing is pruned yet
    n_statements = []
    for epoch in range(1, EPOCHS_AT_ONCE + 2):
        with watched(database) as traffic:
            ticket.report(epoch, 0.6)
        n_statements.append(len(traffic))
    least = min(n_statements)
    assert [n - least for n in n_statements] == [1, *[0] * (EPOCHS_AT_ONCE - 1), 1]


@pytest.mark.parametrize("pruner", ["none", "asha", "hyperband"])
def test_where_the_pruner_needs_nothing_nothing_is_read(database: RetryingStorage, pruner: str) -> None:
    queue = TicketQueue.create(database, make_plan(pruner=pruner))
    ticket = claim(queue)
    ticket.report(3, 0.5)  # a rung
    with watched(database) as traffic:
        ticket.report(4, 0.5)
    assert len(traffic) == 4


def test_several_epochs_are_one_transaction(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan())
    ticket = claim(queue)
    with watched(database) as traffic:
        ticket.tell([Report(epoch, 0.1 * epoch) for epoch in range(9)])
    assert len(traffic) == 4
    stored = database.rdb.get_all_trials(database.get_study_id_from_name(queue.name))[0]
    assert stored.intermediate_values == {epoch: 0.1 * epoch for epoch in range(9)}
    assert stored.system_attrs["epochs_trained"] == 9


def test_a_trial_that_is_taken_back_stores_none_of_several_epochs(database: RetryingStorage) -> None:
    queue = TicketQueue.create(database, make_plan())
    ticket = claim(queue)
    assert sweep(database, queue) == 1
    with pytest.raises(TicketLost):
        ticket.tell([Report(0, 0.5), Report(1, 0.5)])
    assert database.rdb.get_all_trials(database.get_study_id_from_name(queue.name))[0].intermediate_values == {}
