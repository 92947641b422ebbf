"""What a worker keeps from one trial to the next: the data on their device, and networks with their recorded steps."""

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rigl_core.compiled import forget_compiled
from rigl_core.config import TrainConfig
from rigl_core.data.task import Task, load_task
from rigl_core.masks import MaskState
from rigl_core.methods import get_method
from rigl_core.plan import Plan
from rigl_core.recording import CudaRecorder, RecorderOf
from rigl_core.replica import Replica

VALUES = frozenset(
    {
        "recipe", "method", "sparsity", "distribution", "layer_sparsity", "masks", "masks_sha256", "alpha", "delta_t",
        "t_end_fraction", "anneal", "anneal_power", "grow_accumulation", "ramp_start", "epochs", "train_multiplier",
        "lr", "lr_drop_every", "lr_drop_factor", "warmup_steps", "seeds",
    }
)  # fmt: skip
"""Settings that are no part of a step's program: values in memory that it reads, or matters of the host."""


def shape_of(config: TrainConfig) -> tuple[object, ...]:
    """What two trainings must have in common for one to go on with the other's network and what is recorded of it."""
    method = get_method(config.method)
    program = (method.sparse, method.dense_momentum, config.sparsity if method.narrow else None)
    return (config.model_dump_json(exclude=set(VALUES)), *program)


class Workplace:
    """Keeps one data set, and the networks of one shape, until another one is asked for.

    Args:
        recorder: of the networks.
    """

    def __init__(self, recorder: RecorderOf = CudaRecorder) -> None:
        self._recorder = recorder
        self._task: tuple[object, Task] | None = None
        self._shape: object = None
        self._replicas: list[Replica] = []

    def task(self, config: TrainConfig, data_dir: Path | None, device: str) -> Task:
        """The data of `config` on `device`, read only if the trial before had others.

        Raises:
            BadInput, DataUnavailable: see `load_task`.
        """
        names = ("dataset", "dataset_options", "text_file", "text_sha256", "train_size")
        key = (config.model_dump_json(include=set(names)), data_dir, device)
        if self._task is None or self._task[0] != key:
            self._task = None  # before the next is read: not both in memory at once
            self._task = key, prepared(load_task(config, data_dir), config, device)
        return self._task[1]

    def replicas(
        self, config: TrainConfig, data: Task, plan: Plan, n_steps: int, masks: Mapping[int, MaskState]
    ) -> list[Replica]:
        """The replicas of `config` at their beginning; where steps are recorded, in the memory of those before.

        Those that were given before are not to be used any more.
        """
        shape: Any = (shape_of(config), plan, id(data))
        if shape != self._shape or not plan.recorded:
            self._shape, had = shape, bool(self._replicas)
            self._replicas.clear()  # before the next are made: not both in memory at once
            if plan.compiled:
                forget_compiled()
            if had and plan.recorded:
                gc.collect()  # PyTorch ties the first network of a process into a cycle; none is to go in a recording
        for replica, seed in zip(self._replicas, config.seeds, strict=False):
            replica.begin_again(config, seed, n_steps, masks.get(seed))
        for seed in config.seeds[len(self._replicas) :]:
            self._replicas.append(Replica(config, data, seed, n_steps, plan, masks.get(seed), self._recorder))
        return self._replicas[: len(config.seeds)]


def prepared(task: Task, config: TrainConfig, device: str) -> Task:
    """The task on the device, with as many training items as `config` wants."""
    task = task.to(device)
    return task if config.train_size is None else task.first(config.train_size)
