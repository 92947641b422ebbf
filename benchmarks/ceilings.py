"""What a device can do at most, and what a step asks of it: bytes moved and operations done."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def wait(device: str) -> None:
    """Until the device has done all it was given."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def milliseconds(compute: Callable[[], object], device: str, times: int, rounds: int = 5) -> float:
    """Of one call, the median over rounds of so many calls, after one round that does not count."""
    found = []
    for _ in range(rounds + 1):
        wait(device)
        began = time.perf_counter()
        for _ in range(times):
            compute()
        wait(device)
        found.append(1e3 * (time.perf_counter() - began) / times)
    return sorted(found[1:])[rounds // 2]


def bandwidth(device: str, mib: int) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.ones(mib * 2**18, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / (milliseconds(lambda: target.copy_(source), device, 5) / 1e3)


def arithmetic(device: str, size: int, dtype: torch.dtype) -> float:
    """FLOP a second of a product of square matrices."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / (milliseconds(lambda: a @ b, device, 3) / 1e3)


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of what each operation reads and writes; views move nothing.

    Attributes:
        bytes: so far. Caches spare some of them, so that a step can do better than its traffic over the bandwidth.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and func is not torch.ops.aten.empty.memory_format:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def traffic(compute: Callable[[], object]) -> int:
    """Bytes that the operations of one call read and write."""
    seen = Traffic()
    with seen:
        compute()
    return seen.bytes
