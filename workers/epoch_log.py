"""Which epochs a worker's log tells of, so that it shows life and stays short."""

import time
from collections.abc import Callable

FIRST_EPOCHS = 3
"Told in any case: whoever starts a worker sees at once that it trains."
SECONDS = 10.0
"Least time between two epochs told later."


class EpochLog:
    """The first epochs that a worker trains are told, and then one every SECONDS at most.

    Arguments:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._n_told = 0
        self._last = 0.0

    def is_due(self) -> bool:
        """Whether to tell of an epoch that ends now; if so, it counts as told."""
        now = self._clock()
        if self._n_told >= FIRST_EPOCHS and now - self._last < SECONDS:
            return False
        self._n_told += 1
        self._last = now
        return True
