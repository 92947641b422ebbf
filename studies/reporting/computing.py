"""How a report is computed: with linear algebra on one core, and without looks for garbage that is not there."""

import contextlib
import gc
from collections.abc import Iterator

from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector of cyclic garbage; a decorator, too.

    It would go through the millions of objects that a large campaign consists of again and again, for a tenth of the
    time of a report, and find next to nothing: trials have no cycles, and figures few. All other memory is given back
    as always, when the last reference to it goes.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def computing() -> Iterator[None]:
    """Uncollected, and with linear algebra without threads.

    The matrices are small, so threads cost more than they save; and on a machine with other cores they would add up in
    another order, to other bytes.
    """
    with threadpool_limits(1, user_api="blas"), uncollected():
        yield
