"""Where and how much is measured, and the two runs of the reproduction report that it is about."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch

from benchmarks.ceilings import wait
from rigl_core.config import TrainConfig
from rigl_core.data.images import ImageData
from rigl_core.data.task import load_task
from rigl_core.execution import Execution
from rigl_core.plan import Plan, make_plan
from rigl_core.replica import Replica

NEVER = 10**6
"""An update interval that no measurement reaches."""

SETTLED = 5
"""Steps of a replica after which what is done only once is done: algorithms chosen, steps recorded."""


@dataclass(frozen=True)
class Network:
    """A run of the report.

    Attributes:
        recipe: of the run, and the number of classes of its data.
        goal: seconds for the whole of it on an H100.
    """

    model: str
    recipe: str
    classes: int
    goal: float

    @property
    def in_words(self) -> str:
        """The goal."""
        return f"≤ {self.goal:.0f} s on an H100"


WRN = Network("wrn_22_2", "cifar10", 10, 90.0)
RESNET = Network("resnet50", "cifar100", 100, 720.0)
NETWORKS = (WRN, RESNET)


@dataclass
class Site:
    """A device, and whether all that matters is that everything runs there.

    Attributes:
        device: a torch device.
        quick: few images and few repetitions; on a CPU a tiny network, too.
    """

    device: str
    quick: bool
    _on_host: dict[int, ImageData] = field(default_factory=dict)
    _data: dict[int, ImageData] = field(default_factory=dict)

    @property
    def tiny(self) -> bool:
        """Whether networks and images are next to nothing."""
        return self.quick and self.device == "cpu"

    @cached_property
    def plan(self) -> Plan:
        """How this device is used if nobody asks for anything else."""
        return make_plan(Execution(), self.device)

    @cached_property
    def compiled(self) -> Plan:
        """The same with a compiled network; on a CPU by a compiler that changes nothing, so that all goes its way."""
        if self.device == "cpu":
            return Plan(compiled="aot_eager")
        return make_plan(Execution(compiled=True), self.device)

    def config(self, network: Network, **changes: object) -> TrainConfig:
        """The report's run of the network, S = 0.9 ERK, with made-up data."""
        images: dict[str, object] = {"n_train": 45_000, "n_eval": 5_000, "num_classes": network.classes}
        small: dict[str, object] = {}
        if self.quick:
            images |= {"n_train": 2_632, "n_eval": 1_000}
        if self.tiny:
            images |= {"n_train": 40, "n_eval": 8, "height": 8, "width": 8}
            small = {"model": "wrn", "model_options": {"depth": 10, "width": 0.25}, "batch_size": 16}
        settings = {"recipe": network.recipe, "model": network.model, "dataset": "synthetic", "sparsity": 0.9}
        return TrainConfig.model_validate({**settings, "dataset_options": images, **small, **changes})

    def on_host(self, network: Network) -> ImageData:
        """The made-up images of the network, on the CPU. Those of one network at a time are kept."""
        if network.classes not in self._on_host:
            self._on_host.clear()
            task = load_task(self.config(network))
            assert isinstance(task, ImageData)
            self._on_host[network.classes] = task
        return self._on_host[network.classes]

    def data(self, network: Network) -> ImageData:
        """The same on the device."""
        if network.classes not in self._data:
            self._data.clear()
            self._data[network.classes] = self.on_host(network).to(self.device)
        return self._data[network.classes]

    def steps(self, network: Network, plan: Plan | None = None, **changes: object) -> "Steps":
        """A replica to be trained step by step, without topology steps unless `changes` says when."""
        config = self.config(network, **{"delta_t": NEVER, **changes})
        return Steps(Replica(config, self.data(network), 0, NEVER, plan or self.plan))

    def milliseconds(self, computes: Mapping[str, Callable[[], object]], seconds: float = 0.3) -> dict[str, float]:
        """Of one call of each, the median over turns of about so many seconds that alternate between all."""
        times = {}
        for name, compute in computes.items():
            for _ in range(SETTLED):
                compute()
            times[name] = max(1, min(2000, int(seconds / self._time(compute, 2)))) if not self.quick else 2
        found: dict[str, list[float]] = {name: [] for name in computes}
        for _ in range(2 if self.quick else 5):
            for name, compute in computes.items():
                found[name].append(1e3 * self._time(compute, times[name]))
        return {name: statistics.median(turns) for name, turns in found.items()}

    def _time(self, compute: Callable[[], object], times: int) -> float:
        """Seconds of one of so many calls."""
        wait(self.device)
        began = time.perf_counter()
        for _ in range(times):
            compute()
        wait(self.device)
        return (time.perf_counter() - began) / times

    def release(self) -> None:
        """Give back what is not needed any more."""
        if self.device != "cpu":
            torch.cuda.empty_cache()


class Steps:
    """A replica that is trained a step a call, always on full batches."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self._full = max(1, replica.data.n_train // replica.config.batch_size)
        self.n_done = 0

    def __call__(self) -> None:
        self.n_done += 1
        self.replica.train_step(0, self.n_done % self._full, self.n_done)
