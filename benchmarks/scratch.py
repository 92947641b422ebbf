"""A Postgres and a folder for one measurement, both gone afterwards: a large campaign takes a gigabyte."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studies.database.embedded import EmbeddedPostgres
from studies.database.storage_url import StorageUrl


@contextmanager
def scratch() -> Iterator[tuple[Path, StorageUrl]]:
    """The folder, and an embedded server in it that need not survive a crash."""
    with tempfile.TemporaryDirectory(prefix="rigl-study-benchmark-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # root's Postgres runs as another user
        server = EmbeddedPostgres(home, fsync=False)
        try:
            yield home, server.ensure_running()
        finally:
            server.stop()
