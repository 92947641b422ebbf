"""Storages for the tests of studies."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from optuna.storages import BaseStorage

from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.evidence import importance, transfer
from studies.reporting.figure_style import STYLES
from studies.storage import close_storage, open_storage
from tests.studies.queues import GRACE


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals that are rough but quick: most tests look at what is said of them, not at their width."""
    monkeypatch.setattr(importance, "RESAMPLES", 5)
    monkeypatch.setattr(importance, "SHADOWS", 6)
    monkeypatch.setattr(transfer, "RESAMPLES", 16)


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
    """Figures without their PNG, which takes as long again as the rest of them."""
    monkeypatch.setitem(STYLES, "screen", replace(STYLES["screen"], files=()))
