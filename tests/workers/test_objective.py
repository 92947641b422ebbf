"""From a ticket to a training run and back, with real training on synthetic images."""

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.storages import BaseStorage
from optuna.trial import TrialState

import rigl_core.train
from rigl_core import workplace
from rigl_core.checkpoint import save_checkpoint
from rigl_core.execution import Execution
from rigl_core.source import masks_file_of
from rigl_core.train import Run
from studies.campaigns import create_campaign, delete_campaign, set_control
from studies.database.storage_url import StorageUrl
from studies.errors import DataUnavailable, TicketLost, TrainingDiverged
from studies.sources import resolve_sources
from studies.spec import StudySpec
from studies.storage import open_storage
from studies.ticket import Ticket
from tests.workers.real_tickets import EPOCHS, StopAfter, claim, make_queue, stored
from workers.epoch_log import EpochLog
from workers.heartbeat import Heartbeat
from workers.loop import run_worker
from workers.objective import Means, run_ticket
from workers.stop import Stop


def place_of_checkpoint(ticket: Ticket, folder: Path) -> Path:
    """Where its checkpoint will be, in a folder that is there."""
    checkpoint = folder / f"{ticket.checkpoint_key}.pt"
    checkpoint.parent.mkdir(parents=True)
    return checkpoint


def test_a_trained_ticket_is_complete_and_its_checkpoint_gone(storage: BaseStorage, tmp_path: Path) -> None:
    ticket = claim(make_queue(storage))
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "complete"
    trial = stored(storage, ticket)
    told = trial.user_attrs
    assert trial.state == TrialState.COMPLETE
    assert sorted(trial.intermediate_values) == list(range(EPOCHS))
    assert trial.value == trial.intermediate_values[EPOCHS - 1] == sum(told["val_accuracy"]) / 2
    assert told["seeds"] == [0, 1]
    assert len(told["test_accuracy"]) == len(told["loss"]) == 2
    assert told["realised_sparsity"] == pytest.approx(0.9, abs=1e-3)
    assert told["epochs"] == EPOCHS
    assert told["epochs_recomputed"] == 0
    assert told["environment"]["device"] == "cpu"
    assert list(tmp_path.rglob("*.pt")) == [tmp_path / ticket.folder / masks_file_of(0)], "for other runs"


def test_epochs_that_are_not_due_are_for_those_who_ask(
    storage: BaseStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rigl_study.worker")
    queue = make_queue(storage)
    log = EpochLog(lambda: 0.0)
    while log.is_due():  # this worker has told its first epochs
        pass
    run_ticket(claim(queue), Stop(), checkpoint_dir=tmp_path, means=Means(epoch_log=log))
    told = [(record.levelname, record.epoch) for record in caplog.records if hasattr(record, "epoch")]
    assert told == [("DEBUG", epoch + 1) for epoch in range(EPOCHS)]


def test_tickets_of_one_worker_share_the_data_and_are_computed_as_asked(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    load = workplace.load_task
    monkeypatch.setattr(workplace, "load_task", lambda *arguments: reads.append(arguments) or load(*arguments))
    queue = make_queue(storage, strategy={"n_trials": 2})
    means = Means(execution=Execution(precision="float32", deterministic=True))
    for _ in range(2):
        ticket = claim(queue)
        assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path, means=means) == "complete"
        environment = stored(storage, ticket).user_attrs["environment"]
        assert (environment["precision"], environment["steps"]) == ("float32", "eager")
    torch.use_deterministic_algorithms(False)
    assert len(reads) == 1


def test_masks_are_kept_before_the_trial_is_told_complete(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = claim(make_queue(storage))
    masks = tmp_path / ticket.folder / masks_file_of(ticket.number)
    there = []
    complete = ticket.complete
    monkeypatch.setattr(ticket, "complete", lambda result: there.append(masks.exists()) or complete(result))
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "complete"
    assert there == [True]


def test_masks_of_a_ticket_that_was_lost_at_the_end_are_not_kept(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = claim(make_queue(storage))
    monkeypatch.setattr(ticket, "complete", lambda _result: False)
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "lost"
    assert not (tmp_path / ticket.folder / masks_file_of(ticket.number)).exists()


@pytest.mark.parametrize("method", ["dense", "small_dense"])
def test_a_dense_trial_keeps_no_masks(storage: BaseStorage, tmp_path: Path, method: str) -> None:
    fixed = {"method": method, "dataset": "digits", "train_size": 64, "epochs": 1}
    assert run_ticket(claim(make_queue(storage, fixed=fixed)), Stop(), checkpoint_dir=tmp_path) == "complete"
    assert list(tmp_path.rglob("*.pt")) == []


@pytest.mark.parametrize("content", [None, b"another file"])
def test_a_worker_without_the_masks_gives_the_ticket_back_and_ends(
    storage: BaseStorage, tmp_path: Path, content: bytes | None
) -> None:
    source = claim(make_queue(storage))
    run_ticket(source, Stop(), checkpoint_dir=tmp_path / "there")
    label = f"from:{source.spec.study}#{source.number}"
    fixed = {
        key: value for key, value in source.spec.config.model_dump().items() if key in ("dataset", "dataset_options")
    }
    spec = StudySpec.model_validate(
        {
            "name": "lottery",
            "fixed": {**fixed, "method": "static", "epochs": 1, "masks": label},
            "strategy": {"sampler": "grid", "seeds": [1]},
        }
    )
    queue = create_campaign(storage, resolve_sources(storage, spec, tmp_path / "there"))[0]
    if content is not None:
        copy = tmp_path / "here" / source.folder / masks_file_of(source.number)
        copy.parent.mkdir(parents=True)
        copy.write_bytes(content)
    told = "does not hold the masks this run was planned with" if content else "share the checkpoint folder"
    with pytest.raises(DataUnavailable, match=told):
        run_worker([queue], partial(run_ticket, checkpoint_dir=tmp_path / "here"), Stop())
    assert (queue.counts().waiting, queue.counts().failed) == (1, 0)
    assert run_worker([queue], partial(run_ticket, checkpoint_dir=tmp_path / "there"), Stop()) == 1
    assert queue.counts().complete == 1


def test_a_stopped_ticket_is_given_back_and_ends_as_if_nothing_had_been(storage: BaseStorage, tmp_path: Path) -> None:
    undisturbed = claim(make_queue(storage, "undisturbed"))
    run_ticket(undisturbed, Stop(), checkpoint_dir=tmp_path)

    queue = make_queue(storage)
    ticket = claim(queue)
    assert run_ticket(ticket, StopAfter(20), checkpoint_dir=tmp_path) == "given_back"
    assert (tmp_path / f"{ticket.checkpoint_key}.pt").exists()
    waiting = stored(storage, ticket)
    assert waiting.state == TrialState.WAITING
    assert waiting.system_attrs["given_back"] == "test"
    assert sorted(waiting.intermediate_values) == [0, 1]

    again = claim(queue)
    assert run_ticket(again, Stop(), checkpoint_dir=tmp_path) == "complete"
    one, other = stored(storage, again), stored(storage, undisturbed)
    assert one.intermediate_values == other.intermediate_values
    layers, epochs = ("initial_layer_sparsity", "layer_sparsity"), ("explored", "inference_flops_by_epoch")
    for key in ("val_accuracy", "test_accuracy", "loss", "n_active", *layers, *epochs):
        assert one.user_attrs[key] == other.user_attrs[key]
    assert all(len(one.user_attrs[key]) == EPOCHS for key in epochs)
    assert one.user_attrs["inference_flops_by_epoch"][-1] == pytest.approx(one.user_attrs["inference_flops"], abs=1e-6)
    assert one.user_attrs["epochs_recomputed"] == 0


@pytest.mark.parametrize("when", ["train_batch", "finish_epoch"])
def test_a_stop_costs_the_step_at_hand_and_one_checkpoint(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    stop = Stop()
    events: list[str] = []

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*args: Any) -> Any:
            if name == when:
                stop.request("test")  # in the middle, as a signal comes
            result = original(*args)
            if stop.is_set():
                events.append(name)
            return result

        monkeypatch.setattr(owner, name, watched)

    ticket = claim(make_queue(storage))
    watch(Run, "train_batch")
    watch(Run, "finish_epoch")
    watch(rigl_core.train, "save_checkpoint")
    watch(ticket, "give_back")
    assert run_ticket(ticket, stop, checkpoint_dir=tmp_path) == "given_back"
    assert events == [when, "save_checkpoint", "give_back"]


def test_what_a_killed_writer_left_is_swept_by_the_next_owner(storage: BaseStorage, tmp_path: Path) -> None:
    queue = make_queue(storage)
    ticket = claim(queue)
    folder = (tmp_path / ticket.checkpoint_key).parent
    folder.mkdir(parents=True)
    mine, other = folder / ".0.pt.abcd1234", folder / ".1.pt.abcd1234"
    for path in (mine, other):
        path.write_bytes(b"half a checkpoint")
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "complete"
    assert (mine.exists(), other.exists()) == (False, True), "the other one may be written right now"


def test_epochs_that_had_to_be_trained_twice_are_counted(storage: BaseStorage, tmp_path: Path) -> None:
    queue = make_queue(storage)
    ticket = claim(queue)
    assert run_ticket(ticket, StopAfter(20), checkpoint_dir=tmp_path) == "given_back"
    (tmp_path / f"{ticket.checkpoint_key}.pt").unlink()
    assert run_ticket(claim(queue), Stop(), checkpoint_dir=tmp_path) == "complete"
    assert stored(storage, ticket).user_attrs["epochs_recomputed"] == 2


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_set_aside(storage: BaseStorage, tmp_path: Path, content: bytes) -> None:
    ticket = claim(make_queue(storage))
    checkpoint = place_of_checkpoint(ticket, tmp_path)
    checkpoint.write_bytes(content)
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "complete"
    assert checkpoint.with_suffix(".unusable").read_bytes() == content
    assert not checkpoint.exists()


def test_a_checkpoint_of_a_wrong_state_costs_no_ticket(storage: BaseStorage, tmp_path: Path) -> None:
    ticket = claim(make_queue(storage))
    checkpoint = tmp_path / f"{ticket.checkpoint_key}.pt"
    save_checkpoint(checkpoint, ticket.spec.config, {})
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "complete"
    assert checkpoint.with_suffix(".unusable").exists()
    assert stored(storage, ticket).user_attrs["epochs"] == EPOCHS


def test_a_checkpoint_of_another_campaign_of_that_name_is_set_aside(storage: BaseStorage, tmp_path: Path) -> None:
    run_ticket(claim(make_queue(storage)), StopAfter(12), checkpoint_dir=tmp_path)
    fresh = open_storage(StorageUrl.parse("memory://"))
    ticket = claim(make_queue(fresh, search={"lr": [0.07]}))
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "complete"
    assert stored(fresh, ticket).user_attrs["epochs"] == EPOCHS


@pytest.fixture
def _answers_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself training goes on meanwhile, on a busy machine to its end before the queue knows the first epoch."""
    monkeypatch.setattr("workers.reporter.WAIT_SHARE", 1e6)


@pytest.mark.usefixtures("_answers_are_waited_for")
def test_a_stopped_campaign_gets_its_tickets_back(storage: BaseStorage, tmp_path: Path) -> None:
    queue = make_queue(storage)
    ticket = claim(queue)
    stop = StopAfter(2, lambda: set_control(storage, "campaign", "stop"))
    assert run_ticket(ticket, stop, checkpoint_dir=tmp_path) == "given_back"
    trial = stored(storage, ticket)
    assert trial.system_attrs["given_back"] == "the campaign was stopped"
    assert sorted(trial.intermediate_values) == [0], "known when an epoch is told"
    assert (tmp_path / f"{ticket.checkpoint_key}.pt").exists()


def test_a_lost_ticket_ends_training(storage: BaseStorage, tmp_path: Path, wait_until: Callable[..., bool]) -> None:
    ticket = claim(make_queue(storage))

    def take_back() -> None:
        assert wait_until(lambda: 0 in stored(storage, ticket).intermediate_values)
        storage.set_trial_state_values(stored(storage, ticket)._trial_id, TrialState.FAIL)

    with pytest.raises(TicketLost):
        run_ticket(ticket, StopAfter(12, take_back), checkpoint_dir=tmp_path)
    assert stored(storage, ticket).user_attrs == {}
    assert sorted(stored(storage, ticket).intermediate_values) == [0]


def test_a_worker_that_wakes_up_late_leaves_the_next_ones_checkpoint_alone(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = claim(make_queue(storage))
    checkpoint = place_of_checkpoint(ticket, tmp_path)
    monkeypatch.setattr(Heartbeat, "lost", property(lambda _: calls.append(1) or len(calls) > 3))
    calls: list[int] = []
    with pytest.raises(TicketLost):
        run_ticket(ticket, Stop(), checkpoint_dir=tmp_path)
    assert len(calls) == 4
    assert not checkpoint.exists()


def test_a_diverged_training_is_told_and_leaves_no_checkpoint(storage: BaseStorage, tmp_path: Path) -> None:
    ticket = claim(make_queue(storage, search={"lr": [1e18]}))
    with pytest.raises(TrainingDiverged):
        run_ticket(ticket, Stop(), checkpoint_dir=tmp_path)
    assert list(tmp_path.rglob("*.pt")) == []
    assert stored(storage, ticket).state == TrialState.RUNNING, "for the caller to tell"


@pytest.mark.usefixtures("_answers_are_waited_for")
def test_the_hopeless_are_pruned(storage: BaseStorage, tmp_path: Path) -> None:
    pruner = {"name": "median", "n_startup_trials": 1, "n_warmup_steps": 0, "n_min_trials": 1}
    strategy = {"sampler": "grid", "seeds": [0], "pruner": pruner}
    queue = make_queue(storage, search={"lr": [0.2, 1e-9]}, strategy=strategy)
    assert run_ticket(claim(queue), Stop(), checkpoint_dir=tmp_path) == "complete"
    hopeless = claim(queue)
    assert run_ticket(hopeless, Stop(), checkpoint_dir=tmp_path) == "pruned"
    trial = stored(storage, hopeless)
    assert trial.user_attrs["epochs"] == len(trial.intermediate_values) == 1
    assert trial.user_attrs["test_accuracy"] == []
    assert [path.name for path in tmp_path.rglob("*.pt")] == ["0.masks.pt"], "of the complete one"


def test_a_checkpoint_folder_that_is_lost_costs_no_result(
    storage: BaseStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue = make_queue(storage)
    ticket = claim(queue)
    folder = (tmp_path / ticket.checkpoint_key).parent
    complete = ticket.complete

    def lose_it(result: Any) -> bool:
        shutil.rmtree(folder)
        folder.touch()  # now not even to remove what is not there works
        return complete(result)

    monkeypatch.setattr(ticket, "complete", lose_it)
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "complete"
    assert "which is not needed any more: Not a directory" in caplog.text
    assert stored(storage, ticket).state == TrialState.COMPLETE


def test_a_checkpoint_folder_that_cannot_be_looked_into_costs_no_ticket(
    storage: BaseStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run_ticket(claim(make_queue(storage)), Stop(), checkpoint_dir=tmp_path / ("x" * 300)) == "complete"
    assert "cannot look for" in caplog.text
    assert "cannot write the checkpoint" in caplog.text


def test_an_unusable_checkpoint_that_cannot_be_set_aside_costs_no_ticket(
    storage: BaseStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = claim(make_queue(storage))
    checkpoint = place_of_checkpoint(ticket, tmp_path)
    checkpoint.write_bytes(b"not a checkpoint")
    checkpoint.with_suffix(".unusable").mkdir()
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "complete"
    assert "It stays there" in caplog.text


def test_a_campaign_that_is_created_again_shares_no_file_with_the_deleted_one(
    storage: BaseStorage, tmp_path: Path
) -> None:
    """The same settings and the same name: only the identity tells them apart."""
    deleted = make_queue(storage)
    assert run_ticket(claim(deleted), StopAfter(20), checkpoint_dir=tmp_path) == "given_back"
    late = claim(deleted)
    (checkpoint,) = tmp_path.rglob("*.pt")
    delete_campaign(storage, "campaign")
    ticket = claim(make_queue(storage))
    assert ticket.checkpoint_key != late.checkpoint_key
    assert run_ticket(ticket, Stop(), checkpoint_dir=tmp_path) == "complete"
    assert checkpoint.exists(), "it did not begin from this one"
    masks = tmp_path / ticket.folder / masks_file_of(ticket.number)
    content = masks.read_bytes()
    with pytest.raises(TicketLost):
        run_ticket(late, Stop(), checkpoint_dir=tmp_path)
    assert masks.read_bytes() == content
