"""Which implementation of `studies.transactions` goes with a storage."""

from optuna.storages import BaseStorage, InMemoryStorage

from studies.retrying_storage import RetryingStorage
from studies.transactions import TrialStore
from studies.transactions_memory import MemoryStore
from studies.transactions_rdb import RdbStore


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
