"""A CUDA graph's stand-in on a CPU: a tape of every operation, with the numbers and the memory it was recorded with."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """Notes each operation that goes by, the backward pass's and the optimizer's included."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Else what torch.compile made would not run while the tape does."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, (
            "the host waits for the device in a recorded step"
        )
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        """Every operation again, on the same memory, with the same Python numbers; results go where they went."""
        for func, args, kwargs, result in self.operations:
            for new, old in zip(tree_leaves(func(*args, **kwargs)), tree_leaves(result), strict=True):
                if isinstance(old, Tensor) and new.data_ptr() != old.data_ptr():
                    old.data.copy_(new)


class TapeRecorder:
    """Records tapes. What is recorded is computed meanwhile, which counts as the first replay.

    Attributes:
        n_recorded: how many tapes there are.
    """

    def __init__(self, generators: Sequence[torch.Generator] = ()) -> None:
        self.n_recorded = 0

    def compute(self, compute: Callable[[], None]) -> None:
        compute()

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        self.n_recorded += 1
        with Tape() as tape:
            compute()
        replays = iter([lambda: None])
        return lambda: next(replays, tape.replay)()
