"""A ticket is trained while nothing of it can be told: the database is away, or somebody else may have the ticket."""

import threading
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState

import rigl_core.train
import workers.reporter
from studies.errors import StorageError, TicketLost
from studies.ticket import Ticket
from tests.workers.real_tickets import EPOCHS, StopAfter, claim, make_queue, stored
from workers.objective import run_ticket
from workers.stop import Stop


def hold_back(ticket: Ticket, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let nothing of the ticket be told until the event is set: the database is away."""
    back = threading.Event()
    tell = ticket.tell

    def late(reports: Any) -> Any:
        assert back.wait(60)
        return tell(reports)

    monkeypatch.setattr(ticket, "tell", late)
    return back


def test_training_goes_on_while_the_database_is_away(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = claim(make_queue(storage))
    back = hold_back(ticket, monkeypatch)
    checkpoints: list[bool] = []
    save = rigl_core.train.save_checkpoint

    def note(*args: Any) -> None:
        save(*args)
        checkpoints.append(back.is_set())
        if len(checkpoints) == EPOCHS:
            back.set()

    monkeypatch.setattr(rigl_core.train, "save_checkpoint", note)
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "complete"
    assert checkpoints == [False] * EPOCHS, "of every epoch, before any was told"
    trial = stored(storage, ticket)
    assert sorted(trial.intermediate_values) == list(range(EPOCHS))
    assert trial.user_attrs["epochs_recomputed"] == 0


def test_no_checkpoint_is_written_while_the_ticket_may_be_lost(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = claim(make_queue(storage))
    monkeypatch.setattr(Ticket, "is_certain", False)  # frozen for longer than the grace period, and just awake
    storage.set_trial_state_values(stored(storage, ticket)._trial_id, TrialState.FAIL)
    with pytest.raises(TicketLost):
        run_ticket(ticket, Stop(), checkpoint_dir=tmp_path)
    assert list(tmp_path.rglob("*.pt")) == []


def test_what_was_trained_is_kept_when_the_database_stays_away(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue(storage)
    ticket = claim(queue)

    def away(_reports: Any) -> Any:
        raise StorageError("no answer for 300 s")

    monkeypatch.setattr(ticket, "tell", away)
    with pytest.raises(StorageError, match="no answer"):
        run_ticket(ticket, Stop(), checkpoint_dir=tmp_path)
    assert (tmp_path / f"{ticket.checkpoint_key}.pt").exists()
    monkeypatch.undo()
    assert ticket.give_back("as its missing beats would")
    assert run_ticket(claim(queue), Stop(), checkpoint_dir=tmp_path) == "complete"
    trial = stored(storage, ticket)
    assert sorted(trial.intermediate_values) == list(range(EPOCHS)), "those of the checkpoint are told again"
    assert trial.system_attrs["epochs_trained"] == EPOCHS, "and counted, though nobody was told when they were trained"
    assert trial.user_attrs["epochs_recomputed"] == 0


def test_a_trial_that_was_to_be_pruned_when_it_was_stopped_is_not_given_back(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruner = {"name": "median", "n_startup_trials": 1, "n_warmup_steps": 0, "n_min_trials": 1}
    strategy = {"sampler": "grid", "seeds": [0], "pruner": pruner}
    queue = make_queue(storage, search={"lr": [0.2, 1e-9]}, strategy=strategy)
    run_ticket(claim(queue), Stop(), checkpoint_dir=tmp_path)
    hopeless = claim(queue)
    back = hold_back(hopeless, monkeypatch)
    stop = StopAfter(12)  # in the second epoch

    def at_the_stop(reason: str) -> None:
        back.set()
        Stop.request(stop, reason)

    monkeypatch.setattr(stop, "request", at_the_stop)
    assert run_ticket(hopeless, stop, checkpoint_dir=tmp_path) == "pruned"
    trial = stored(storage, hopeless)
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["epochs"] == len(trial.intermediate_values) == 1


def test_a_trial_that_is_trained_to_its_end_is_complete_whatever_the_pruner_says_then(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruner = {"name": "median", "n_startup_trials": 1, "n_warmup_steps": EPOCHS - 1, "n_min_trials": 1}
    strategy = {"sampler": "grid", "seeds": [0], "pruner": pruner}
    queue = make_queue(storage, search={"lr": [0.2, 1e-9, 1e-8]}, strategy=strategy)
    run_ticket(claim(queue), Stop(), checkpoint_dir=tmp_path)
    late, in_time = claim(queue), claim(queue)

    back = hold_back(late, monkeypatch)
    stop = StopAfter(EPOCHS * (8 + 1))  # asked once a step and once an epoch: the last time there is

    def at_the_stop(reason: str) -> None:
        back.set()
        Stop.request(stop, reason)

    monkeypatch.setattr(stop, "request", at_the_stop)
    assert run_ticket(late, stop, checkpoint_dir=tmp_path) == "given_back"
    assert run_ticket(claim(queue), Stop(), checkpoint_dir=tmp_path) == "complete"

    monkeypatch.setattr(workers.reporter, "WAIT_SHARE", 1e6)
    assert run_ticket(in_time, Stop(), checkpoint_dir=tmp_path) == "complete"
    for ticket in (late, in_time):
        assert stored(storage, ticket).state == TrialState.COMPLETE
        assert len(stored(storage, ticket).user_attrs["test_accuracy"]) == 1
