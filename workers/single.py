"""One training run without a database: what `rigl-study train` does."""

from collections.abc import Callable
from pathlib import Path

from rigl_core.checkpoint import check_writable, remove_partial
from rigl_core.config import TrainConfig
from rigl_core.execution import Execution
from rigl_core.runtime import resolve_device, set_threads
from rigl_core.train import EpochReport, TrainOutcome, train
from workers.devices import threads_per_worker
from workers.stop import Stop, on_signals

__all__ = ["EpochReport", "TrainOutcome", "train_once"]


def train_once(
    config: TrainConfig,
    *,
    on_epoch: Callable[[EpochReport], None],
    on_step: Callable[[int, int], None] | None = None,
    device: str = "auto",
    data_dir: Path | None = None,
    checkpoint: Path | None = None,
    execution: Execution | None = None,
) -> tuple[TrainOutcome, str]:
    """Train `config` with all cores of this machine, until done or until SIGTERM or Ctrl-C.

    Arguments:
        config: what to train.
        on_epoch: called after every epoch, and once more for those of the checkpoint (`EpochReport.replayed`).
        on_step: called after every step with the steps done and the steps in all.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        data_dir: where to look for the data set first.
        checkpoint: written after every epoch and when stopped. If it is there, the run goes on from it.
        execution: how to compute; None is the quickest way.

    Returns:
        The outcome, and the signal that stopped it ("" if none did).

    Raises:
        BadInput: this machine has no such device.
        CheckpointError: `checkpoint` is damaged or of another run, or cannot be written.
        DataUnavailable: the data set cannot be had.
        TrainingDiverged: a loss became NaN or infinite.
    """
    stop = Stop()

    def tell(report: EpochReport) -> bool:
        on_epoch(report)
        return False

    with on_signals(stop):
        if checkpoint is not None:
            check_writable(checkpoint)
            remove_partial(checkpoint)
        set_threads(threads_per_worker(1))
        outcome = train(
            config,
            on_epoch=tell,
            should_stop=stop.is_set,
            resume_from=checkpoint if checkpoint is not None and checkpoint.exists() else None,
            checkpoint_to=checkpoint,
            device=resolve_device(device),
            data_dir=data_dir,
            on_step=on_step,
            execution=execution,
        )
    return outcome, stop.reason
