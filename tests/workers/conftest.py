import pytest
from optuna.storages import BaseStorage

from studies.database.storage_url import StorageUrl
from studies.storage import open_storage


@pytest.fixture
def storage() -> BaseStorage:
    """A storage of this process alone."""
    return open_storage(StorageUrl.parse("memory://"))
