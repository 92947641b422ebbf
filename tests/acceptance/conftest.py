"""Fixtures of the tests with real workers.

Nothing here imports torch when it is loaded, which is before tests/conftest.py limits torch to one thread.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.pgbouncer import kept_port
from studies.database.embedded import EmbeddedPostgres
from studies.database.storage_url import StorageUrl


@pytest.fixture(scope="session")
def undisturbed() -> Any:
    """How the trial of `tests.acceptance.site.SPEC` ends when nothing happens: a `TrainOutcome`."""
    from rigl_core.train import train
    from studies.spec import StudySpec
    from tests.acceptance.site import SPEC

    config = StudySpec.model_validate(SPEC).plans()[0].config({"lr": 0.1})
    return train(config, on_epoch=lambda _: False, should_stop=lambda: False)


@pytest.fixture(scope="session")
def keep_port() -> Iterator[Callable[[], int]]:
    """`keep_port()`: a port for a server of the tests, see `benchmarks.pgbouncer.kept_port`."""
    with ExitStack() as kept:
        yield lambda: kept.enter_context(kept_port())


@pytest.fixture
def site(postgres_url: StorageUrl, tmp_path: Path) -> Iterator[Any]:
    """A `Site` of the test's own."""
    from tests.acceptance.site import Site

    site = Site(postgres_url, tmp_path)
    yield site
    site.close()


@pytest.fixture
def mortal_server(open_directory: Path, tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own. Workers know only its URL, and cannot start it."""
    server = EmbeddedPostgres(open_directory / tmp_path.name, fsync=False)
    server.ensure_running()
    yield server
    server.ensure_running()
    server.stop()
