"""Steps that are recorded once and then replayed: a CUDA graph in place of a thousand launches by the interpreter.

What is recorded reads and writes fixed places in memory. Whatever may differ from step to step (the batch, the learning
rate) or from trial to trial (weights, masks, seeds) must therefore be a value in such a place; what is a number in the
program (momentum, batch size) is recorded as it is.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

WARM_UP = 2
"""So often a step is computed before it is recorded: libraries choose algorithms, the optimizer makes its state."""

Step = Callable[[Tensor], None]
"""Given the indices of a batch, int64 (N,). They are always in the same place for the same N."""


class Recorder(Protocol):
    """What can record a computation on a device."""

    def compute(self, compute: Callable[[], None]) -> None:
        """Compute it now, in the circumstances in which it will be recorded."""

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        """What computes `compute` again at every call; nothing counts as computed before the first."""


class CudaRecorder:
    """Records CUDA graphs, which share their memory: one is replayed after the other, and none needs what another left.

    Args:
        generators: all that recorded computations draw from, at least one, on the device; each replay draws the
            numbers that come next.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators
        self._device = generators[0].device
        self._pool: Any = None
        # Not the default one, which nothing can be recorded on: what libraries keep for each stream is then there.
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def compute(self, compute: Callable[[], None]) -> None:
        """Compute it on the stream that recordings are made on, after all that was launched before."""
        with torch.cuda.device(self._device):
            usual = torch.cuda.current_stream()
            self._stream.wait_stream(usual)
            with torch.cuda.stream(self._stream):
                compute()
            usual.wait_stream(self._stream)

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        """Record `compute`; nothing is computed meanwhile."""
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                compute()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RuntimeError(f"a step cannot be recorded ({error}); --deterministic trains without") from error
        self._pool = graph.pool()
        return graph.replay


RecorderOf = Callable[[Sequence[torch.Generator]], Recorder]
"""Given all generators that recorded computations draw from."""


class RecordedSteps:
    """Steps by name and batch size, each computed WARM_UP times, then recorded, and replayed from then on.

    Args:
        recorder: of the device.
        parameters: those to which a step gives gradients; after a replay they have those of the recorded step.

    Attributes:
        seconds: spent on recording so far.
    """

    def __init__(self, recorder: Recorder, parameters: Sequence[nn.Parameter]) -> None:
        self._recorder, self._parameters = recorder, parameters
        self._batches: dict[tuple[str, int], Tensor] = {}
        self._calls: dict[tuple[str, int], int] = {}
        self._replays: dict[tuple[str, int], tuple[Callable[[], None], list[Tensor | None]]] = {}
        self._last: Callable[[], None] | None = None
        self.seconds = 0.0

    def __call__(self, name: str, step: Step, chosen: Tensor) -> None:
        """Compute `step` for the batch `chosen`, or replay what was recorded under this name for such a batch."""
        key = (name, len(chosen))
        if key not in self._batches:
            self._batches[key], self._calls[key] = torch.empty_like(chosen), 0
        batch = self._batches[key]
        batch.copy_(chosen)
        self._calls[key] += 1
        if self._calls[key] <= WARM_UP:
            self._recorder.compute(lambda: step(batch))
            self._last = None
            return
        if key not in self._replays:
            began = time.monotonic()
            replay = self._recorder.record(lambda: step(batch))
            self._replays[key] = replay, [parameter.grad for parameter in self._parameters]
            self.seconds += time.monotonic() - began
        replay, gradients = self._replays[key]
        if self._last is not replay:
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                parameter.grad = gradient
        self._last = replay
        replay()
