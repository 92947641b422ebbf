"""The training loop: stopping, resuming, pruning, diverging, and replicas that do not know of each other."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import pytest
from torch import Tensor, nn

from rigl_core.checkpoint import load_checkpoint
from rigl_core.config import TrainConfig
from rigl_core.data.task import load_task
from rigl_core.data.text_file import text_digest
from rigl_core.distributions import erk
from rigl_core.errors import BadInput, CheckpointError, DataUnavailable, TrainingDiverged
from rigl_core.flops import forward_flops
from rigl_core.masks import maskable_weights
from rigl_core.methods import METHODS
from rigl_core.plan import Plan
from rigl_core.replica import build_model
from rigl_core.train import EpochReport, Run, TrainOutcome, train
from rigl_core.workplace import Workplace

IMAGES = {"channels": 1, "height": 8, "width": 8, "num_classes": 4, "n_train": 80, "n_eval": 40}
BATCHES_PER_EPOCH = 5
CONFIG = TrainConfig(
    model="wrn",
    model_options={"depth": 10, "width": 1, "dropout": 0.2},
    dataset="synthetic",
    dataset_options=IMAGES,
    sparsity=0.8,
    delta_t=3,
    epochs=3,
    batch_size=16,
    lr=0.05,
    seeds=(7, 8),
    augmentation="crop_flip",
)
TEXT = TrainConfig(
    model="char_gru",
    model_options={"width": 0.1},
    dataset="synthetic_text",
    dataset_options={"n_characters": 2900, "sequence_length": 32},  # 81 sequences to train on, 4 to validate, 4 to test
    sparsity=0.75,
    distribution="uniform",
    delta_t=3,
    epochs=3,
    batch_size=16,
    optimizer="adam",
    lr=0.01,
    clip_norm=0.5,
    seeds=(7, 8),
)
TEXT_BATCHES = 6


def never() -> bool:
    return False


def after(n_calls: int) -> Callable[[], bool]:
    calls = iter(range(10**9))
    return lambda: next(calls) + 1 >= n_calls


def run(config: TrainConfig = CONFIG, *, should_stop: Callable[[], bool] = never, **arguments: Path) -> TrainOutcome:
    return train(config, on_epoch=lambda _report: False, should_stop=should_stop, **arguments)


def results(outcome: TrainOutcome) -> tuple[object, ...]:
    """Everything but the clock."""
    curve = [replace(report, seconds=0.0, replayed=False) for report in outcome.history]
    bits = outcome.bits_per_character, outcome.test_bits_per_character
    scores = outcome.val_accuracy, outcome.test_accuracy, outcome.loss
    flops = outcome.inference_flops, outcome.train_flops
    return (outcome.status, curve, *scores, *bits, *flops, outcome.initial_layer_sparsity, outcome.layer_sparsity)


@pytest.fixture(scope="module")
def undisturbed() -> TrainOutcome:
    return run()


def test_a_complete_run_tells_everything(undisturbed: TrainOutcome) -> None:
    assert undisturbed.status == "complete"
    assert undisturbed.epochs == len(undisturbed.history) == 3
    assert [report.epoch for report in undisturbed.history] == [0, 1, 2]
    for accuracies in (undisturbed.val_accuracy, undisturbed.test_accuracy):
        assert len(accuracies) == 2
        assert all(0.0 <= accuracy <= 1.0 and round(accuracy * 40, 6).is_integer() for accuracy in accuracies)
    assert undisturbed.history[-1].mean_val_accuracy == pytest.approx(sum(undisturbed.val_accuracy) / 2)
    assert undisturbed.realised_sparsity == pytest.approx(0.8, abs=1e-3)
    assert 0 < undisturbed.inference_flops < undisturbed.train_flops < 1
    assert undisturbed.bits_per_character == undisturbed.test_bits_per_character == ()
    assert undisturbed.environment["device"] == "cpu"


def test_seconds_are_those_of_the_epochs_and_of_what_follows_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()
    monkeypatch.setattr("rigl_core.train.time", SimpleNamespace(monotonic=lambda: float(next(looks))))
    outcome = run()
    assert [report.seconds for report in outcome.history] == [1.0, 1.0, 1.0]
    assert outcome.seconds == 4.0


def test_it_learns() -> None:
    changes = {"model": "lenet_300_100", "model_options": {}, "augmentation": "none", "epochs": 8}
    outcome = run(CONFIG.model_copy(update={**changes, "dataset_options": {**IMAGES, "n_train": 800}}))
    assert min(outcome.test_accuracy) > 0.6  # chance is 0.25
    assert outcome.history[-1].loss < outcome.history[0].loss


@pytest.mark.parametrize("stop_after", [4, 5, 6, 14])  # every step: tests/rigl_core/test_resume.py
def test_stopped_at_any_step_and_resumed_is_bit_identical(
    stop_after: int, undisturbed: TrainOutcome, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run.pt"
    stopped = run(should_stop=after(stop_after), checkpoint_to=checkpoint)
    assert stopped.status == "stopped"
    assert stopped.test_accuracy == ()
    # a stop right after an epoch's last step comes before its validation
    assert stopped.epochs == (stop_after - 1) // BATCHES_PER_EPOCH
    resumed = run(resume_from=checkpoint)
    assert results(resumed) == results(undisturbed)
    # The checkpoint has the seconds up to its writing; the stopped run's own go on until it is written.
    assert stopped.seconds > load_checkpoint(checkpoint, CONFIG)["seconds"] < resumed.seconds


def test_killed_between_epochs_resumes_from_the_last_checkpoint(undisturbed: TrainOutcome, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def die(report: EpochReport) -> bool:
        if report.epoch == 1:
            raise Killed
        return False

    checkpoint = tmp_path / "run.pt"
    with pytest.raises(Killed):
        train(CONFIG, on_epoch=die, should_stop=never, checkpoint_to=checkpoint)
    told: list[tuple[int, bool]] = []

    def note(report: EpochReport) -> bool:
        told.append((report.epoch, report.replayed))
        return False

    resumed = train(CONFIG, on_epoch=note, should_stop=never, resume_from=checkpoint)
    assert told == [(0, True), (1, False), (2, False)]
    assert results(resumed) == results(undisturbed)


def test_each_replica_equals_a_run_with_that_seed_alone(undisturbed: TrainOutcome) -> None:
    four = run(CONFIG.model_copy(update={"seeds": (7, 3, 8, 5)}))
    alone = run(CONFIG.model_copy(update={"seeds": (8,)}))
    for name in ("val_accuracy", "test_accuracy", "loss"):
        assert getattr(undisturbed, name)[1] == getattr(alone, name)[0] == getattr(four, name)[2]
        assert getattr(undisturbed, name)[0] == getattr(four, name)[0]


def test_pruning_ends_the_run() -> None:
    outcome = train(CONFIG, on_epoch=lambda report: report.epoch == 1, should_stop=never)
    assert (outcome.status, outcome.epochs, outcome.test_accuracy) == ("pruned", 2, ())


def test_divergence_is_told_with_the_seed_and_the_epoch() -> None:
    with pytest.raises(TrainingDiverged, match=r"the loss of seed 7 became (nan|inf) in epoch \d of 3 \(lr 1e\+30\)"):
        run(CONFIG.model_copy(update={"lr": 1e30}))


def test_training_twice_as_long_costs_twice_as_much(undisturbed: TrainOutcome) -> None:
    longer = run(CONFIG.model_copy(update={"method": "static", "train_multiplier": 2.0, "seeds": (7,)}))
    static = run(CONFIG.model_copy(update={"method": "static", "seeds": (7,)}))
    assert (longer.epochs, static.epochs) == (6, 3)
    assert longer.train_flops == pytest.approx(2 * static.train_flops)
    assert longer.inference_flops == static.inference_flops


@pytest.mark.parametrize("method", ["rigl", "pruning"])
def test_training_twice_as_long_fixes_the_topology_twice_as_late(method: str) -> None:
    def topology_end(train_multiplier: float) -> int:
        changes = {"method": method, "train_multiplier": train_multiplier, "seeds": (7,), "ramp_start": 0}
        config = CONFIG.model_copy(update=changes)
        return Run(config, load_task(config), Plan(), {}, Workplace()).replicas[0].sparse.schedule.t_end

    # three quarters of the steps of 3, 6 and 9 epochs
    assert [topology_end(k) for k in (1.0, 2.0, 3.0)] == [int(0.75 * 5 * n) for n in (3, 6, 9)]


def test_flops_of_each_kind_of_method(undisturbed: TrainOutcome) -> None:
    def one(method: str) -> TrainOutcome:
        return run(CONFIG.model_copy(update={"method": method, "seeds": (7,), "ramp_start": 0}))

    f_s = undisturbed.inference_flops
    assert undisturbed.train_flops == pytest.approx((3 * f_s * 3 + 2 * f_s + 1) / (4 * 3))
    assert one("static").train_flops == pytest.approx(f_s)
    assert one("dense").train_flops == one("dense").inference_flops == 1.0
    pruned = one("pruning")
    assert pruned.realised_sparsity == pytest.approx(0.8, abs=1e-3)
    assert pruned.inference_flops < pruned.train_flops < 1  # the mean over the ramp
    small = one("small_dense")
    assert small.n_parameters < 0.3 * one("dense").n_parameters
    assert small.train_flops == pytest.approx(small.inference_flops)
    assert small.inference_flops == pytest.approx(0.2, abs=0.05)
    snfs = one("snfs")
    assert snfs.train_flops > 1 / 3  # the weight gradient is dense at every step


def test_a_step_that_prunes_was_computed_before_it_pruned() -> None:
    whole = run(CONFIG.model_copy(update={"method": "dense", "seeds": (7,)}))
    n_steps = CONFIG.n_epochs * math.ceil(IMAGES["n_train"] / CONFIG.batch_size)
    at_the_end = {"method": "pruning", "seeds": (7,), "ramp_start": n_steps - 2, "t_end_fraction": 1.0}
    pruned = run(CONFIG.model_copy(update=at_the_end))
    assert pruned.realised_sparsity == pytest.approx(0.8, abs=1e-3)
    assert pruned.train_flops == whole.train_flops == 1.0


class Attending(nn.Module):
    """Rows of an image attend to each other; queries come from half as many rows as keys."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 16, bias=False)
        self.classify = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.squeeze(1)
        to_query, to_key = self.project.weight.chunk(2)
        scores = nn.functional.linear(rows[:, :4], to_query) @ nn.functional.linear(rows, to_key).transpose(1, 2)
        logits: Tensor = self.classify((scores.softmax(-1) @ rows).mean(1))
        return logits


def test_products_of_activations_cost_what_they_cost_and_parts_of_a_weight_by_their_own_masks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = CONFIG.model_copy(update={"seeds": (7,), "method": "rigl", "augmentation": "none"})
    monkeypatch.setattr("rigl_core.train.build_model", lambda *_, **__: Attending())
    monkeypatch.setattr("rigl_core.replica.build_model", lambda *_, **__: Attending())
    run = Run(config, load_task(config), Plan(), {}, Workplace())
    others = 2 * (2 * 4 * 8 * 8)  # queries times keys, and weights of the attention times rows
    assert run.dense_flops == others + 4 * (2 * 8 * 8) + 8 * (2 * 8 * 8) + 2 * 8 * 4
    for _ in range(BATCHES_PER_EPOCH):
        run.train_batch()
    masks = run.replicas[0].masks.masks
    to_query, to_key = masks["project.weight"].chunk(2)
    f_s = others + 2 * (4 * int(to_query.sum()) + 8 * int(to_key.sum()) + int(masks["classify.weight"].sum()))
    assert run.finish_epoch().inference_flops == (f_s / run.dense_flops,)
    outcome = run.outcome("stopped")
    assert outcome.inference_flops == f_s / run.dense_flops
    assert list(outcome.layer_sparsity) == list(outcome.initial_layer_sparsity) == ["project.weight", "classify.weight"]


def test_flops_are_those_of_the_masks_of_every_step_by_hand_also_after_a_resume() -> None:
    changes = {"method": "rigl_sg", "alpha": 0.9, "t_end_fraction": 1.0, "grow_accumulation": 2}
    config = CONFIG.model_copy(update=changes)  # weights move between layers that differ in what a weight costs
    task = load_task(config)
    run = Run(config, task, Plan(), {}, Workplace())
    f_d = sum(forward_flops(build_model(config, task, 7), (1, 8, 8)).values())

    def now() -> list[float]:
        """Of each replica, as a multiple of dense."""
        return [
            sum(run.layer_flops[name] * n / mask.numel() for (name, mask), n in zip(masks.items(), counts, strict=True))
            / f_d
            for masks, counts in ((r.masks.masks, r.masks.n_active.values()) for r in run.replicas)
        ]

    f_s = []
    for step in range(3 * BATCHES_PER_EPOCH):
        if step == 7:  # the topology has moved at 3 and 6, and will at 9 and 12
            saved, run = run.state_dict(), Run(config, task, Plan(), {}, Workplace())
            run.load_state_dict(saved)
        f_s.append(fmean(now()))
        run.train_batch()
        if run.step % BATCHES_PER_EPOCH == 0:
            assert run.finish_epoch().inference_flops == pytest.approx(now())
    assert len(set(f_s)) == 5
    outcome = run.outcome("complete")
    assert outcome.dense_flops == f_d
    assert outcome.inference_flops == pytest.approx(fmean(now()))
    # Of four steps two have a dense weight gradient: (2 · 3 f_S + 2 · (2 f_S + f_D)) / 4, as a multiple of 3 f_D.
    assert outcome.train_flops == pytest.approx((10 * fmean(f_s) + 2) / 12)


def test_what_was_explored_is_reported(undisturbed: TrainOutcome) -> None:
    explored = [report.explored for report in undisturbed.history]
    assert all(len(fractions) == 2 for fractions in explored)
    assert 0.2 < explored[0][0] < explored[1][0] <= explored[2][0] <= 1
    assert undisturbed.history[-1].sparsity == pytest.approx((0.8, 0.8), abs=1e-3)


def test_the_initial_sparsities_are_those_of_the_distribution_and_the_final_ones_where_weights_went() -> None:
    still = run(CONFIG.model_copy(update={"method": "rigl"}))
    moved = run(CONFIG.model_copy(update={"method": "rigl_sg"}))
    ramped = run(CONFIG.model_copy(update={"method": "pruning", "ramp_start": 1, "delta_t": 1, "warmup_steps": 0}))

    weights = maskable_weights(build_model(CONFIG, load_task(CONFIG, None), 0))
    asked = erk({name: tuple(weight.shape) for name, weight in weights.items()}, 0.8)
    assert still.initial_layer_sparsity == pytest.approx(asked, abs=0.01)
    assert still.layer_sparsity == still.initial_layer_sparsity
    assert moved.initial_layer_sparsity == still.initial_layer_sparsity
    assert moved.layer_sparsity != moved.initial_layer_sparsity
    assert set(ramped.initial_layer_sparsity.values()) == {0.0}


def test_a_subset_of_the_training_images() -> None:
    steps: list[tuple[int, int]] = []
    config = CONFIG.model_copy(update={"train_size": 20, "epochs": 1})
    train(config, on_epoch=lambda _: False, should_stop=never, on_step=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]
    steps.clear()
    given = replace(load_task(CONFIG), name="given")  # the data themselves, of which as many are taken
    train(
        config,
        on_epoch=lambda _: False,
        should_stop=never,
        on_step=lambda done, total: steps.append((done, total)),
        data=given,
    )
    assert steps == [(1, 2), (2, 2)]
    with pytest.raises(BadInput, match="train_size is 81"):
        run(CONFIG.model_copy(update={"train_size": 81}))


def test_a_checkpoint_that_cannot_be_written_does_not_cost_the_run(
    undisturbed: TrainOutcome, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    outcome = run(checkpoint_to=tmp_path / "file" / "run.pt")
    assert results(outcome) == results(undisturbed)
    assert "cannot write the checkpoint" in caplog.text
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        run(should_stop=after(1), checkpoint_to=tmp_path / "file" / "run.pt")


@pytest.fixture(scope="module")
def undisturbed_text() -> TrainOutcome:
    return run(TEXT)


def test_a_text_is_told_in_bits_per_character(undisturbed_text: TrainOutcome) -> None:
    uniform_guess = math.log2(30)  # symbols of the made-up sentences, about
    for bits in (undisturbed_text.bits_per_character, undisturbed_text.test_bits_per_character):
        assert len(bits) == 2
        assert all(0.5 < value < uniform_guess for value in bits)
    assert undisturbed_text.history[-1].bits_per_character == undisturbed_text.bits_per_character
    curve = [report.bits_per_character[0] for report in undisturbed_text.history]
    assert curve == sorted(curve, reverse=True)
    assert curve[0] == pytest.approx(undisturbed_text.history[1].loss[0] / math.log(2), rel=0.25)
    for accuracy in undisturbed_text.val_accuracy:
        assert (accuracy * 4 * 32) == pytest.approx(round(accuracy * 4 * 32))
    assert undisturbed_text.realised_sparsity == pytest.approx(0.75, abs=1e-3)  # of every layer: no first one is dense
    assert 0.24 < undisturbed_text.inference_flops < 0.26


@pytest.mark.parametrize("stop_after", [1, 6, 7, 16])
def test_a_text_stopped_at_any_step_and_resumed_is_bit_identical(
    stop_after: int, undisturbed_text: TrainOutcome, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run.pt"
    stopped = run(TEXT, should_stop=after(stop_after), checkpoint_to=checkpoint)
    assert (stopped.status, stopped.epochs) == ("stopped", (stop_after - 1) // TEXT_BATCHES)
    assert results(run(TEXT, resume_from=checkpoint)) == results(undisturbed_text)


# Optimizers take turns: each with every method is seen in tests/conformance and tests/rigl_core/test_resume.py.
@pytest.mark.parametrize(("method", "optimizer"), list(zip(METHODS, itertools.cycle(["sgd", "adam"]), strict=False)))
def test_a_text_stopped_twice_is_bit_identical_for_every_method(method: str, optimizer: str, tmp_path: Path) -> None:
    changes = {"method": method, "optimizer": optimizer, "seeds": (1,), "epochs": 2, "ramp_start": 0}
    config = TEXT.model_copy(update=changes)
    checkpoint = tmp_path / "run.pt"
    run(config, should_stop=after(2), checkpoint_to=checkpoint)
    run(config, should_stop=after(5), checkpoint_to=checkpoint, resume_from=checkpoint)
    assert results(run(config, resume_from=checkpoint)) == results(run(config))


def test_each_replica_of_a_text_equals_a_run_with_that_seed_alone(undisturbed_text: TrainOutcome) -> None:
    alone = run(TEXT.model_copy(update={"seeds": (8,)}))
    for name in ("val_accuracy", "test_accuracy", "loss", "bits_per_character", "test_bits_per_character"):
        assert getattr(undisturbed_text, name)[1] == getattr(alone, name)[0]


def test_flops_of_a_text_are_those_of_a_whole_sequence() -> None:
    one, two = (
        run(TEXT.model_copy(update={"dataset_options": {"n_characters": 2900, "sequence_length": length}, "epochs": 1}))
        for length in (8, 16)
    )
    assert two.dense_flops == 2 * one.dense_flops


def test_a_run_does_not_go_on_with_another_text(tmp_path: Path) -> None:
    file, checkpoint = tmp_path / "corpus.txt", tmp_path / "run.pt"
    file.write_text("one man went to mow, went to mow a meadow.\n" * 60)
    changes = {"dataset": "text", "dataset_options": {"sequence_length": 32}, "seeds": [1]}

    def config() -> TrainConfig:
        named = {"text_file": str(file), "text_sha256": text_digest(file)}
        return TrainConfig.model_validate({**TEXT.model_dump(), **changes, **named})

    planned = config()
    run(planned, should_stop=after(2), checkpoint_to=checkpoint)
    file.write_text("two men went to mow, went to mow a meadow.\n" * 60)
    with pytest.raises(DataUnavailable, match="is not the one of this run"):
        run(planned, resume_from=checkpoint)
    with pytest.raises(CheckpointError, match="another configuration"):
        run(config(), resume_from=checkpoint)
