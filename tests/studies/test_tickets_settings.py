"""The queue on servers whose administrator has set defaults of his own."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from studies.attributes import FIXED_PARAMS_ATTR
from studies.database.engines import unpooled_engine
from studies.database.storage_url import StorageUrl
from studies.database.transactions import Transaction
from studies.database.trial_store import trial_store
from studies.tickets import TicketQueue
from tests.studies.queues import claim, make_plan, trials, waiting_for_a_lock

Opened = Callable[..., Any]


def set_default(url: StorageUrl, name: str, value: str) -> None:
    """For every connection to the database that is made from now on."""
    with unpooled_engine(url).begin() as connection:
        database = connection.scalar(sa.text("SELECT current_database()"))
        connection.execute(sa.text(f"ALTER DATABASE {database} SET {name} = '{value}'"))


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_whatever_isolation_is_the_default_no_two_tickets_get_one_number(
    level: str, postgres_url: StorageUrl, opened: Opened, wait_until: Callable[..., bool]
) -> None:
    set_default(postgres_url, "default_transaction_isolation", level)
    one, other = opened(postgres_url), opened(postgres_url)
    queue = TicketQueue.create(one, make_plan(n_trials=2))
    for _ in range(2):
        claim(queue).fail("both are to be retried")
    begun = threading.Event()

    def append_slowly(transaction: Transaction) -> int:
        first = transaction.append(queue.study_id, [{FIXED_PARAMS_ATTR: {}}])
        begun.set()
        assert wait_until(lambda: waiting_for_a_lock(one) == 1)
        return first

    slow = threading.Thread(target=lambda: trial_store(one).run(append_slowly))
    slow.start()
    assert begun.wait(20)
    TicketQueue.open(other, queue.name).retry(0)  # looks at the study before it waits for its lock
    slow.join()
    assert [trial.number for trial in trials(one, queue)] == [0, 1, 2, 3]


def test_a_server_that_rounds_what_it_tells_changes_no_configuration(postgres_url: StorageUrl, opened: Opened) -> None:
    set_default(postgres_url, "extra_float_digits", "0")
    storage = opened(postgres_url)
    queue = TicketQueue.create(storage, make_plan(n_trials=1))
    first = claim(queue)
    assert float(f"{first.spec.config.lr:.15g}") != first.spec.config.lr, "it has a digit to lose"
    first.report(0, 0.1 + 0.2)
    first.give_back("stopping")
    assert claim(queue).spec.config == first.spec.config
    assert trials(storage, queue)[0].intermediate_values == {0: 0.1 + 0.2}


@pytest.mark.parametrize(("default", "ours"), [("off", "on"), ("remote_write", "remote_write")])
def test_what_is_told_to_be_stored_survives_a_crash_of_the_server(
    default: str, ours: str, postgres_url: StorageUrl, opened: Opened
) -> None:
    set_default(postgres_url, "synchronous_commit", default)
    with opened(postgres_url).rdb.engine.begin() as connection:
        assert connection.scalar(sa.text("SHOW synchronous_commit")) == ours
