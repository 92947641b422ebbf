"""Which implementation of `studies.database.transactions` goes with a storage."""

from optuna.storages import BaseStorage, InMemoryStorage

from studies.database.retrying_storage import RetryingStorage
from studies.database.transactions import TrialStore
from studies.database.transactions_memory import MemoryStore
from studies.database.transactions_rdb import RdbStore


def trial_store(storage: BaseStorage) -> TrialStore:
    """The transactions of a storage.

    Raises:
        TypeError: it is not one that `open_storage` returned.
    """
    if isinstance(storage, RetryingStorage):
        return RdbStore(storage.rdb, storage.retrier)
    if isinstance(storage, InMemoryStorage):
        return MemoryStore(storage)
    raise TypeError(f"not a storage of open_storage: {type(storage).__name__}")
