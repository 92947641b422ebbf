"""One training run: a configuration, all its seeds in lockstep, from the first step or from a checkpoint."""

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from rigl_core.checkpoint import load_checkpoint, save_checkpoint
from rigl_core.checkpoint_state import checked_state, threads_of
from rigl_core.circumstances import differences, joined
from rigl_core.config import TrainConfig
from rigl_core.data.task import Task
from rigl_core.errors import BadCheckpoint, CheckpointError, TrainingDiverged
from rigl_core.execution import Execution
from rigl_core.flops import forward_flops, inference_flops, train_flops
from rigl_core.masks import MaskState
from rigl_core.masks_file import load_masks, save_masks
from rigl_core.methods import get_method
from rigl_core.network import build_model
from rigl_core.outcome import EpochReport, TrainOutcome
from rigl_core.plan import Plan, make_plan, prepare_process
from rigl_core.replica import Evaluation, Replica
from rigl_core.runtime import computing_with, environment, get_threads, told_of_device_failures
from rigl_core.workplace import Workplace, prepared

__all__ = ["EpochReport", "Run", "TrainOutcome", "train"]

log = logging.getLogger("rigl_study.train")


class Run:
    """A run in progress: its replicas and how far they are."""

    def __init__(
        self, config: TrainConfig, data: Task, plan: Plan, masks: Mapping[int, MaskState], workplace: Workplace
    ) -> None:
        self.config, self.data, self.plan = config, data, plan
        self.batches_per_epoch = math.ceil(data.n_train / config.batch_size)
        n_steps = self.batches_per_epoch * config.n_epochs
        self.replicas = workplace.replicas(config, data, plan, n_steps, masks)
        self.layer_flops = forward_flops(self.replicas[0].model, data.input_shape, data.input_dtype)
        dense_flops = self.layer_flops
        if get_method(config.method).narrow:
            dense = build_model(config, data, 0, narrow=False)
            dense_flops = forward_flops(dense, data.input_shape, data.input_dtype)
        self.dense_flops = float(sum(dense_flops.values()))
        self.initial_layer_sparsity = self._layer_sparsity()  # what a checkpoint brings is no beginning
        self.step = 0
        self.history: list[EpochReport] = []
        self.seconds = 0.0
        self.circumstances = joined({}, self._environment())
        self._flops_now = [self._inference_flops(replica) for replica in self.replicas]
        self._flops_sum = [0.0] * len(self.replicas)
        self._clock = time.monotonic()

    def _environment(self) -> dict[str, str]:
        return {**environment(self.plan.device), **self.replicas[0].describe()}

    def _inference_flops(self, replica: Replica) -> float:
        return inference_flops(self.layer_flops, replica.masks.sparsities(), replica.masks.masks)

    def _layer_sparsity(self) -> dict[str, float]:
        """Of every maskable layer, the mean over the replicas."""
        each = [replica.masks.sparsities() for replica in self.replicas]
        return {name: mean(own[name] for own in each) for name in each[0]}

    def train_batch(self) -> None:
        """The next mini-batch of every replica."""
        epoch, batch = divmod(self.step, self.batches_per_epoch)
        for i, replica in enumerate(self.replicas):
            self._flops_sum[i] += self._flops_now[i]  # the masks of this step are those before it moves them
            if replica.train_step(epoch, batch, self.step) is not None:
                self._flops_now[i] = self._inference_flops(replica)
        self.step += 1

    def finish_epoch(self) -> EpochReport:
        """Validate every replica after the last mini-batch of an epoch."""
        loss = tuple(replica.take_loss() for replica in self.replicas)
        epoch = len(self.history)
        for seed, value in zip(self.config.seeds, loss, strict=True):
            if not math.isfinite(value):
                raise TrainingDiverged(
                    f"the loss of seed {seed} became {value} in epoch {epoch + 1} of {self.config.n_epochs} "
                    f"(lr {self.config.lr}); a smaller lr may help."
                )
        evaluations = [replica.evaluate("val") for replica in self.replicas]
        self._lap()
        seconds = self.seconds - math.fsum(report.seconds for report in self.history)
        report = EpochReport(
            epoch=epoch,
            n_epochs=self.config.n_epochs,
            loss=loss,
            val_accuracy=tuple(evaluation.accuracy for evaluation in evaluations),
            bits_per_character=_bits(evaluations),
            explored=tuple(replica.sparse.explored_fraction() for replica in self.replicas),
            sparsity=tuple(replica.masks.sparsity() for replica in self.replicas),
            inference_flops=tuple(flops / self.dense_flops for flops in self._flops_now),
            seconds=seconds,
        )
        self.history.append(report)
        return report

    def _lap(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now

    def state_dict(self) -> dict[str, Any]:
        """Everything a checkpoint must hold, as tensors and plain values."""
        self._lap()
        return {
            "device": self.replicas[0].loss_sum.device.type,
            "threads": get_threads(),
            "circumstances": {name: list(values) for name, values in self.circumstances.items()},
            "step": self.step,
            "seconds": self.seconds,
            "flops_sum": list(self._flops_sum),
            "history": [asdict(report) for report in self.history],
            "replicas": [replica.state_dict() for replica in self.replicas],
        }

    def load_state_dict(self, saved: Any) -> None:
        """Take up where `state_dict` left off; only before the first step.

        Raises:
            BadCheckpoint: this run cannot have been in that state; nothing was changed.
        """
        fields = [field.name for field in dataclasses.fields(EpochReport)]
        fresh, batches = self.state_dict(), self.batches_per_epoch
        state = checked_state(saved, fresh, self.replicas, fields=fields, batches_per_epoch=batches)
        for replica, own in zip(self.replicas, state["replicas"], strict=True):
            replica.load_state_dict(own)
        self.history = [EpochReport(**told) for told in state["history"]]
        self._flops_now = [self._inference_flops(replica) for replica in self.replicas]
        self._flops_sum = state["flops_sum"]
        self.step, self.seconds = state["step"], state["seconds"]
        self.circumstances = joined({k: tuple(v) for k, v in state["circumstances"].items()}, self._environment())

    def outcome(self, status: Literal["complete", "pruned", "stopped"]) -> TrainOutcome:
        """Sum up; test accuracy is only computed for a complete run."""
        test = [replica.evaluate("test") for replica in self.replicas] if status == "complete" else []
        self._lap()
        last = self.history[-1] if self.history else None
        all_masks = [replica.masks for replica in self.replicas]
        f_s = mean(self._flops_now)
        mean_f_s = mean(self._flops_sum) / self.step if self.step else f_s
        config, differ = self.config, differences(self.circumstances)
        step_flops = train_flops(
            config.method, mean_f_s, self.dense_flops, config.delta_t, grow_accumulation=config.grow_accumulation
        )
        return TrainOutcome(
            status=status,
            history=tuple(self.history),
            seeds=self.config.seeds,
            val_accuracy=last.val_accuracy if last else (),
            test_accuracy=tuple(evaluation.accuracy for evaluation in test),
            loss=last.loss if last else (),
            inference_flops=f_s / self.dense_flops,
            train_flops=config.n_epochs / config.epochs * step_flops / (3 * self.dense_flops),
            dense_flops=self.dense_flops,
            n_parameters=sum(parameter.numel() for parameter in self.replicas[0].model.parameters()),
            n_active=sum(all_masks[0].n_active.values()),
            realised_sparsity=mean(masks.sparsity() for masks in all_masks),
            layer_sparsity=self._layer_sparsity(),
            initial_layer_sparsity=self.initial_layer_sparsity,
            epochs=len(self.history),
            seconds=self.seconds,
            environment={**self._environment(), **({"attempts_differ": differ} if differ else {})},
            bits_per_character=last.bits_per_character if last else (),
            test_bits_per_character=_bits(test),
        )


def _bits(evaluations: list[Evaluation]) -> tuple[float, ...]:
    """Bits per character of each; none for images."""
    return tuple(e.bits_per_character for e in evaluations if e.bits_per_character is not None)


def train(
    config: TrainConfig,
    *,
    on_epoch: Callable[[EpochReport], bool],
    should_stop: Callable[[], bool],
    resume_from: Path | None = None,
    checkpoint_to: Path | None = None,
    device: str = "cpu",
    data_dir: Path | None = None,
    data: Task | None = None,
    on_step: Callable[[int, int], None] | None = None,
    masks_dir: Path | None = None,
    masks_to: Path | None = None,
    execution: Execution | None = None,
    workplace: Workplace | None = None,
) -> TrainOutcome:
    """Train `config` on all its seeds.

    On the CPU a run that was stopped and resumed, at whatever step, equals one that was not, bit for bit: with the same
    PyTorch, kind of CPU, number format and kind of convolutions. It is computed with as many threads to its end as it
    was begun with, whatever the process has. In what its attempts differed, the outcome's environment says as
    "attempts_differ".

    Args:
        config: what to train.
        on_epoch: called after every epoch; True ends the run as pruned. After a resume it is first called again for
            the epochs in the checkpoint, with `replayed` set, so that nobody misses a report lost in a crash.
        should_stop: asked after every step and validation; True writes a checkpoint and ends the run as stopped. An
            exception from it or from `on_epoch` ends the run without a checkpoint.
        resume_from: checkpoint to continue.
        checkpoint_to: where to write one after every epoch and when stopped; None writes none.
        device: as `rigl_core.runtime.resolve_device` gives it.
        data_dir: where to look for the data set first.
        data: the data themselves, instead of loading `config.dataset`.
        on_step: called after every step with the steps done and the steps in all.
        masks_dir: the checkpoint folder below which the masks are that `config.masks` names.
        masks_to: where to write the final masks of a complete run, if its method has any, for others to begin from.
        execution: how to compute; None is `Execution()`, the quickest way.
        workplace: what an earlier run of this process left that this one can use; the outcome is the same without.

    Raises:
        BadInput: the masks or sparsities taken from another run are not for this network, or the device has no such
            precision.
        CheckpointError: `resume_from` is damaged or of another run, or the checkpoint of a stop cannot be written.
        DataUnavailable: the data set, or the file of the masks, cannot be had.
        DeviceFailed: a GPU stopped computing; nothing can be trained in this process any more.
        TrainingDiverged: a loss became NaN or infinite.
    """
    execution = execution or Execution()
    with told_of_device_failures(device), contextlib.ExitStack() as threads:
        plan = make_plan(execution, device)
        prepare_process(execution, device)
        masks, workplace = load_masks(config, masks_dir), workplace or Workplace()
        task = workplace.task(config, data_dir, device) if data is None else prepared(data, config, device)
        saved = None if resume_from is None else load_checkpoint(resume_from, config)
        with _naming(resume_from):
            threads.enter_context(computing_with(threads_of(saved)))
        run = Run(config, task, plan, masks, workplace)
        n_steps = run.batches_per_epoch * config.n_epochs
        if resume_from is not None:
            with _naming(resume_from):
                run.load_state_dict(saved)
            saved = None  # its memory is wanted
            if any(on_epoch(replace(report, replayed=True)) for report in list(run.history)):
                return run.outcome("pruned")

        def stopped() -> TrainOutcome:
            if checkpoint_to is not None:
                save_checkpoint(checkpoint_to, config, run.state_dict())
            return run.outcome("stopped")

        while len(run.history) < config.n_epochs:
            while run.step < run.batches_per_epoch * (len(run.history) + 1):
                run.train_batch()
                if on_step is not None:
                    on_step(run.step, n_steps)
                if should_stop():
                    return stopped()
            if on_epoch(run.finish_epoch()):
                return run.outcome("pruned")
            if should_stop():  # a validation may take long
                return stopped()
            if checkpoint_to is not None:
                save = partial(save_checkpoint, checkpoint_to, config, run.state_dict())
                _try_to(save, "Training goes on; a crash now would repeat epochs.")
        if masks_to is not None and get_method(config.method).sparse:
            final = {replica.seed: replica.masks for replica in run.replicas}
            _try_to(partial(save_masks, masks_to, final), "The run counts; no other one can begin from its masks.")
        return run.outcome("complete")


@contextlib.contextmanager
def _naming(checkpoint: Path | None) -> Iterator[None]:
    """Within it, what is wrong with a state is told with the file it is from."""
    try:
        yield
    except BadCheckpoint as error:
        raise type(error)(f"{checkpoint} does not fit this run: {error}.") from error


def _try_to(save: Callable[[], None], otherwise: str) -> None:
    """A full disk must not cost a good run: the previous file, if any, stays, and training goes on."""
    try:
        save()
    except CheckpointError as error:
        log.warning("%s %s", error, otherwise)
