"""One ticket: from what the queue says to a training run, and from how that ended back to the queue."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from rigl_core.checkpoint import remove_partial
from rigl_core.execution import Execution
from rigl_core.source import masks_file_of
from rigl_core.train import EpochReport, TrainOutcome, train
from rigl_core.workplace import Workplace
from studies.errors import CheckpointElsewhere, CheckpointError, DataUnavailable, TicketLost, TrainingDiverged
from studies.ticket import Report, Ticket
from studies.trial import TrialResult
from workers.epoch_log import EpochLog
from workers.heartbeat import Heartbeat
from workers.loop import Ending
from workers.reporter import Reporter
from workers.stop import Stop
from workers.tidy import forget

log = logging.getLogger("rigl_study.worker")


@dataclass(frozen=True)
class Means:
    """With what a worker trains its tickets, one after the other.

    Attributes:
        device: as `rigl_core.runtime.resolve_device` gives it.
        data_dir: where to look for data sets first.
        execution: how to compute.
        workplace: what is kept from one ticket to the next.
        epoch_log: which epochs are told without `--verbose`.
    """

    device: str = "cpu"
    data_dir: Path | None = None
    execution: Execution = field(default_factory=Execution)
    workplace: Workplace = field(default_factory=Workplace)
    epoch_log: EpochLog = field(default_factory=EpochLog)


def run_ticket(ticket: Ticket, stop: Stop, *, checkpoint_dir: Path, means: Means | None = None) -> Ending:
    """Train a ticket, from the checkpoint of an earlier attempt if there is one, and tell the queue the result.

    Arguments:
        ticket: what to train. While it is trained, beats keep it ours.
        stop: ends training after the current step; the ticket is then given back, its checkpoint written.
        checkpoint_dir: where checkpoints are, one file for each ticket in progress, and the final masks of complete
            trials. For one worker to go on where another one died, all must see the same folder.
        means: with what to train it; None trains on the CPU and keeps nothing for the next.

    Returns:
        "complete" or "pruned"; "given_back" if `stop` or the campaign's own stop came first; "lost" if the ticket was
        taken back, so that nothing of this run counts.

    Raises:
        TicketLost: it was taken back, too.
        TrainingDiverged, DataUnavailable, MemoryError, ...: whatever training raises; the queue has not been told.
        StorageError: the database is away for too long.
    """
    with Heartbeat(ticket) as heartbeat, Reporter(ticket) as reporter:
        run = _TicketRun(ticket, stop, heartbeat, reporter, checkpoint_dir, means or Means())
        return run.to_the_end()


class _TicketRun:
    def __init__(
        self,
        ticket: Ticket,
        stop: Stop,
        heartbeat: Heartbeat,
        reporter: Reporter,
        checkpoint_dir: Path,
        means: Means,
    ) -> None:
        self._ticket, self._stop, self._heartbeat, self._reporter = ticket, stop, heartbeat, reporter
        self._checkpoint_dir, self._means = checkpoint_dir, means
        self._n_epochs = ticket.spec.config.n_epochs
        self._checkpoint = checkpoint_dir / f"{ticket.checkpoint_key}.pt"
        self._masks = checkpoint_dir / ticket.folder / masks_file_of(ticket.number)

    def to_the_end(self) -> Ending:
        outcome = self._train()
        prune = self._reporter.flush()  # whoever has the ticket next must find every epoch
        if outcome is None or (outcome.status == "stopped" and not (prune and outcome.epochs < self._n_epochs)):
            return "given_back" if self._ticket.give_back(self._why_stopped()) else "lost"
        # A trial that was stopped before it could obey the pruner is not left for another worker to go on with. One
        # that was trained to its end is complete, whatever the pruner says then.
        ending: Ending = "complete" if outcome.status == "complete" else "pruned"
        tell = self._ticket.complete if ending == "complete" else self._ticket.prune
        if not tell(self._result(outcome)):  # its masks are there by now: a trial told complete can be a source
            forget(self._masks)
            return "lost"
        forget(self._checkpoint)  # only now: until it is told, a crash must be able to go on from it
        return ending

    def _train(self) -> TrainOutcome | None:
        """Train; None if a stop came and its checkpoint could not be written, so that an older one must do."""
        resume = self._looks_for_checkpoint()
        try:
            return self._train_from(self._checkpoint if resume else None)
        except TrainingDiverged:
            forget(self._checkpoint)  # it would only diverge again
            raise
        except CheckpointError as error:
            if self._should_stop():
                log.warning("%s", error)
                return None
            if not resume:
                raise
            if isinstance(error, CheckpointElsewhere):
                self._leave_to_others(str(error))
            self._set_aside(error)
            return self._train_from(None)

    def _looks_for_checkpoint(self) -> bool:
        """Whether an earlier attempt left one."""
        remove_partial(self._checkpoint)  # what an owner left that was killed while writing
        try:
            return self._checkpoint.exists()
        except OSError as error:
            told = f"cannot look for {self._checkpoint}: {error.strerror}"
            self._leave_to_others(f"{told}.")
            log.warning("%s; %s starts over.", told, self._ticket)
            return False

    def _leave_to_others(self, why: str) -> None:
        """Refuse to begin anew what was trained for hours, if only this machine cannot go on with it.

        Raises:
            DataUnavailable: some epochs were trained and told.
        """
        if self._ticket.epochs_trained:
            raise DataUnavailable(
                f"{why} {self._ticket} (epochs trained so far: {self._ticket.epochs_trained}) is left to workers that "
                f"can go on from it; to begin it anew, remove {self._checkpoint}."
            )

    def _train_from(self, checkpoint: Path | None) -> TrainOutcome:
        return train(
            self._ticket.spec.config,
            on_epoch=self._on_epoch,
            should_stop=self._should_stop,
            resume_from=checkpoint,
            checkpoint_to=self._checkpoint,
            device=self._means.device,
            data_dir=self._means.data_dir,
            execution=self._means.execution,
            workplace=self._means.workplace,
            masks_dir=self._checkpoint_dir,
            masks_to=self._masks,
        )

    def _on_epoch(self, report: EpochReport) -> bool:
        prune = self._reporter.tell(Report(report.epoch, report.mean_val_accuracy, report.replayed))
        if report.replayed:  # it was not pruned there when it was trained
            return False
        prune = prune and report.epoch + 1 < self._n_epochs
        log.log(
            logging.INFO if self._means.epoch_log.is_due() else logging.DEBUG,
            "%s: epoch %d of %d, validation accuracy %.2f %%%s",
            self._ticket,
            report.epoch + 1,
            report.n_epochs,
            100 * report.mean_val_accuracy,
            ", pruned" if prune else "",
            extra={"epoch": report.epoch + 1},
        )
        return prune

    def _should_stop(self) -> bool:
        if self._heartbeat.lost or self._reporter.lost:
            # Raised, not returned: a stop would write a checkpoint, over that of the worker that has the ticket now.
            raise TicketLost(f"{self._ticket} was taken back from {self._ticket.worker}.")
        # What cannot be told any more is a reason to stop, so that a checkpoint keeps what was trained.
        recalled = self._heartbeat.recalled or self._reporter.recalled
        return self._stop.is_set() or recalled or self._reporter.failed

    def _why_stopped(self) -> str:
        return self._stop.reason or "the campaign was stopped"

    def _set_aside(self, error: CheckpointError) -> None:
        """Keep a checkpoint that cannot be used, for whoever wants to know why, out of the way."""
        aside = self._checkpoint.with_suffix(".unusable")
        try:
            os.replace(self._checkpoint, aside)
        except OSError as reason:
            log.warning("%s It stays there (%s); %s starts over.", error, reason.strerror, self._ticket)
        else:
            log.warning("%s It is now %s; %s starts over.", error, aside, self._ticket)

    def _result(self, outcome: TrainOutcome) -> TrialResult:
        return TrialResult(
            seeds=outcome.seeds,
            val_accuracy=outcome.val_accuracy,
            test_accuracy=outcome.test_accuracy,
            loss=outcome.loss,
            bits_per_character=outcome.bits_per_character,
            test_bits_per_character=outcome.test_bits_per_character,
            explored=_by_epoch(report.explored for report in outcome.history),
            inference_flops_by_epoch=_by_epoch(report.inference_flops for report in outcome.history),
            inference_flops=outcome.inference_flops,
            train_flops=outcome.train_flops,
            dense_flops=outcome.dense_flops,
            n_parameters=outcome.n_parameters,
            n_active=outcome.n_active,
            realised_sparsity=outcome.realised_sparsity,
            layer_sparsity=outcome.layer_sparsity,
            initial_layer_sparsity=outcome.initial_layer_sparsity,
            epochs=outcome.epochs,
            seconds=outcome.seconds,
            # Not below 0: the checkpoint may be of a deleted campaign that was the same.
            epochs_recomputed=max(0, self._ticket.epochs_trained - outcome.epochs),
            environment=outcome.environment,
        )


def _by_epoch(told: Iterable[Sequence[float]]) -> tuple[float, ...]:
    """The mean over the seeds after each epoch, with the digits a figure can show: hundreds of epochs are stored."""
    return tuple(round(fmean(by_seed), 6) for by_seed in told)
