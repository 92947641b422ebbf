"""Storages for the tests of studies."""

from collections.abc import Iterator
from datetime import datetime

import pytest
import sqlalchemy as sa
from optuna.storages import BaseStorage

from studies.database import trial_tables
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.reporting import contained
from studies.storage import close_storage, open_storage
from tests.studies.queues import GRACE
from tests.studies.quick_reports import draw_no_png, resample_little


@pytest.fixture(autouse=True)
def _few_resamples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rough and quick, but for the slow tests, which count how often the real numbers are right."""
    if request.node.get_closest_marker("slow") is None:
        resample_little(monkeypatch)


@pytest.fixture(autouse=True)
def _nothing_is_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a report that fails is a fault to see, but for the tests of just that."""
    monkeypatch.setattr(contained, "CAUGHT", ())


@pytest.fixture(autouse=True)
def _up_for_years(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's server came up just now, after which it gives workers the grace period to say that they live."""
    years_ago = {**trial_tables.UP_SINCE, "postgresql": sa.literal(datetime(2000, 1, 1))}
    monkeypatch.setattr(trial_tables, "UP_SINCE", years_ago)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def storage(request: pytest.FixtureRequest) -> Iterator[BaseStorage]:
    """Every kind of storage in turn."""
    memory = request.param == "memory"
    url = StorageUrl.parse("memory://") if memory else request.getfixturevalue(f"{request.param}_url")
    storage = open_storage(url, heartbeat_interval=1, grace_period=GRACE)
    yield storage
    close_storage(storage)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[RetryingStorage]:
    """A storage that knows who is dead, which memory does not."""
    url = request.getfixturevalue(f"{request.param}_url")
    storage = open_storage(url, heartbeat_interval=1, grace_period=GRACE)
    assert isinstance(storage, RetryingStorage)
    yield storage
    close_storage(storage)


@pytest.fixture
def svg_only(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_no_png(monkeypatch)
