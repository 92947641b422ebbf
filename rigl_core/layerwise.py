"""The same pure function of every layer, on several cores at once where the layers live on the CPU."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

GRAIN = 32_768
"""Elements below which torch does not think of threads at all (its GRAIN_SIZE)."""

WORTH_IT = 200_000
"""Weights in all below which handing work to threads costs more than it saves."""


def each_layer(function: Callable[[str], T], weights: Mapping[str, Tensor]) -> dict[str, T]:
    """`function(name)` of each layer, in the order of `weights`.

    On a CPU the layers are shared out between as many threads as torch may use, the largest first; each computes with
    a single one, so that together they are no more than torch itself would take. On a device they are launched in turn.

    Args:
        function: of a layer's name. Pure, and mostly outside the interpreter's lock, as NumPy and torch are.
        weights: the layers, for their sizes and where they live.
    """
    sizes = {name: weight.numel() for name, weight in weights.items()}
    n_threads = min(torch.get_num_threads(), len(sizes))
    on_cpu = all(weight.device.type == "cpu" for weight in weights.values())
    if not on_cpu or n_threads < 2 or sum(sizes.values()) < WORTH_IT:
        return {name: function(name) for name in sizes}
    largest_first = sorted(sizes, key=sizes.__getitem__, reverse=True)
    done = dict(zip(largest_first, _threads(n_threads).map(function, largest_first), strict=True))
    return {name: done[name] for name in sizes}


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    """`n` threads for good, in each of which torch computes with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the number of the process when a thread first computes is the thread's from then on
    try:
        pool = ThreadPoolExecutor(n, thread_name_prefix="layer")
        all_there = Barrier(n)

        def compute() -> None:
            all_there.wait()
            torch.zeros(2 * GRAIN).add_(1.0)

        for begun in [pool.submit(compute) for _ in range(n)]:
            begun.result()
    finally:
        torch.set_num_threads(before)
    return pool
