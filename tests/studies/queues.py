"""Studies, results and dead workers for the tests of the queue and of everything that stands on it."""

from typing import Any

import sqlalchemy as sa
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial

from studies.database.engines import unpooled_engine
from studies.database.retrying_storage import RetryingStorage
from studies.spec import StudyPlan, StudySpec
from studies.ticket import Ticket
from studies.tickets import TicketQueue
from studies.trial import TrialResult

GRACE = 600
"""Seconds, of the storages of tests/studies/conftest.py: whoever has beaten in a test is alive to its end, however long
that takes. The dead have been silent for an hour, on a server that has been up for years (`_up_for_years`)."""

REFERENCE = {"lr": 0.1, "alpha": 0.3, "delta_t": 100, "anneal": "cosine"}


def make_plan(**strategy: Any) -> StudyPlan:
    """A study of three tickets, with every kind of search dimension."""
    spec = {
        "name": "campaign",
        "fixed": {"dataset": "digits", "epochs": 9},
        "search": {
            "lr": {"low": 0.01, "high": 0.3, "log": True},
            "alpha": {"low": 0.1, "high": 0.65, "step": 0.1},
            "delta_t": {"low": 50, "high": 1000, "step": 50},
            "anneal": ["cosine", "constant"],
        },
        "strategy": {"sampler": "random", "n_trials": 3, "seeds": [0, 1], **strategy},
    }
    return StudySpec.model_validate(spec).plans()[0]


def make_result(value: float = 0.5, seeds: tuple[int, ...] = (0,)) -> TrialResult:
    """What a trial tells that reached `value` with every seed."""
    return TrialResult(
        seeds=seeds,
        val_accuracy=(value,) * len(seeds),
        test_accuracy=(0.0,) * len(seeds),
        loss=(0.0,) * len(seeds),
        inference_flops=1.0,
        train_flops=1.0,
        dense_flops=1.0,
        n_parameters=1,
        n_active=1,
        realised_sparsity=0.9,
        epochs=2,
        seconds=0.0,
    )


def trials(storage: BaseStorage, queue: TicketQueue) -> list[FrozenTrial]:
    """All trials of the queue's study, as stored."""
    return storage.get_all_trials(storage.get_study_id_from_name(queue.name))


def claim(queue: TicketQueue, worker: str = "w") -> Ticket:
    """The next ticket; there must be one."""
    ticket = queue.claim(worker)
    assert ticket is not None
    return ticket


def silence(storage: RetryingStorage) -> None:
    """Let all that run have been silent for an hour."""
    past = (
        "timezone('UTC', now()) - interval '1 hour'"
        if storage.url.kind == "postgresql"
        else "datetime('now', '-1 hour')"
    )
    with storage.rdb.engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE trial_heartbeats SET heartbeat = {past}"))


def sweep(storage: RetryingStorage, queue: TicketQueue) -> int:
    """Let all that run be found dead."""
    silence(storage)
    return queue.sweep()


def lose_next_commit(rdb: RDBStorage, *, stored: bool) -> None:
    """Close the connection in the middle of the next COMMIT: after the server has stored it, or before."""

    def lose(connection: sa.Connection) -> None:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        if stored:
            driver.commit()
        driver.close()

    sa.event.listen(rdb.engine, "commit", lose, once=True)


def waiting_for_a_lock(storage: RetryingStorage) -> int:
    """How many connections to the database wait for another's lock now."""
    with unpooled_engine(storage.url).begin() as connection:  # the storage's own may all be taken, by those who wait
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return connection.scalar(sa.text(waiting)) or 0
