"""A resumed run ends in the state of one that was never stopped: all of it, down to moments and FLOPs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rigl_core.checkpoint import load_checkpoint, save_checkpoint
from rigl_core.config import TrainConfig
from rigl_core.execution import Execution
from rigl_core.methods import METHODS
from rigl_core.runtime import computing_with, get_threads
from rigl_core.train import TrainOutcome, train

IMAGES = {"channels": 1, "height": 8, "width": 8, "num_classes": 4, "n_train": 48, "n_eval": 24}
BATCHES_PER_EPOCH = 3


def run(config: TrainConfig, checkpoint: Path, *, resume: bool = False, stop_after: int = 10**9) -> TrainOutcome:
    """Train until `stop_after` questions whether to stop; the checkpoint holds the state it ended in."""
    questions = iter(range(1, 10**9))
    return train(
        config,
        on_epoch=lambda _report: False,
        should_stop=lambda: next(questions) >= stop_after,
        checkpoint_to=checkpoint,
        resume_from=checkpoint if resume else None,
    )


def results(outcome: TrainOutcome) -> TrainOutcome:
    """Everything but the clock, and what was told a second time."""
    history = tuple(replace(report, seconds=0.0, replayed=False) for report in outcome.history)
    return replace(outcome, seconds=0.0, history=history)


def end_state(config: TrainConfig, checkpoint: Path) -> dict[str, Any]:
    """All that a run ended with, but for the clock."""
    state = load_checkpoint(checkpoint, config)
    for part in (state, *state["history"]):
        del part["seconds"]
    return state


def flat(state: object, path: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries, lists and tuples by path."""
    if not isinstance(state, dict | list | tuple):
        return {path: state}
    items = state.items() if isinstance(state, dict) else enumerate(state)
    return {name: leaf for key, value in items for name, leaf in flat(value, f"{path}/{key}").items()}


# What Adam remembers is stored alike whatever the method: with those that read it, move weights, or only remove them.
@pytest.mark.parametrize(
    ("method", "optimizer"),
    [
        *((method, "sgd") for method in METHODS),
        *((method, "adam") for method in ("rigl", "rigl_sm", "snfs", "pruning")),
    ],
)
def test_the_whole_state_and_the_flops_are_those_of_an_undisturbed_run(
    method: str, optimizer: str, tmp_path: Path
) -> None:
    """A peer's resume restored nothing."""
    config = TrainConfig(
        method=method, optimizer=optimizer, model="wrn", model_options={"depth": 10, "width": 0.5, "dropout": 0.2},
        dataset="synthetic", dataset_options=IMAGES, sparsity=0.8, alpha=0.5, delta_t=2, grow_accumulation=2,
        t_end_fraction=1.0, ramp_start=0, warmup_steps=2, epochs=2, batch_size=16, lr=0.02, clip_norm=1.0, seeds=(1,),
        augmentation="crop_flip",
    )  # fmt: skip
    whole = run(config, tmp_path / "whole.pt")
    # Stopped at every question there is: after each step, and after the validation that follows an epoch's last.
    parts, n_stops = run(config, tmp_path / "parts.pt", stop_after=1), 0
    while parts.status == "stopped":
        n_stops += 1
        parts = run(config, tmp_path / "parts.pt", resume=True, stop_after=1)
    assert n_stops == 2 * BATCHES_PER_EPOCH + 2
    assert results(parts) == results(whole)
    expected, found = (flat(end_state(config, tmp_path / name)) for name in ("whole.pt", "parts.pt"))
    # What is compared holds what this test is about.
    moment = "momentum_buffer" if optimizer == "sgd" else "exp_avg_sq"
    for needed in ("/replicas/0/model/conv1.weight", f"/replicas/0/sparse/optimizer/state/0/{moment}", "/flops_sum/0"):
        assert needed in expected
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        same = torch.equal(value, found[path]) if isinstance(value, torch.Tensor) else value == found[path]
        assert same, f"{path} is {found[path]} after a resume, {value} without"


# Large enough that PyTorch shares out its sums between threads.
LARGE = TrainConfig(
    model="lenet_300_100", dataset="synthetic",
    dataset_options={"channels": 1, "height": 28, "width": 28, "n_train": 512, "n_eval": 64},
    sparsity=0.9, delta_t=2, epochs=2, seeds=(3,),
)  # fmt: skip
EXACT = Execution(precision="float32")


@pytest.mark.parametrize(("begun", "heir"), [(1, 2), (2, 1), (3, 2)])
def test_a_run_keeps_the_threads_it_began_with_and_with_them_its_bits(begun: int, heir: int, tmp_path: Path) -> None:
    def run_with(threads: int, checkpoint: Path, *, stop_after: int, resume: bool = False) -> TrainOutcome:
        questions = iter(range(1, 10**9))
        with computing_with(threads):
            outcome = train(
                LARGE,
                on_epoch=lambda _report: False,
                should_stop=lambda: next(questions) >= stop_after,
                on_step=lambda *_: used.add(get_threads()),
                checkpoint_to=checkpoint,
                resume_from=checkpoint if resume else None,
                execution=EXACT,
            )
            assert get_threads() == threads  # the process goes on with its own
        return outcome

    used: set[int] = set()
    whole = run_with(begun, tmp_path / "whole.pt", stop_after=10**9)
    run_with(begun, tmp_path / "parts.pt", stop_after=3)
    parts = run_with(heir, tmp_path / "parts.pt", stop_after=10**9, resume=True)
    assert used == {begun}
    assert results(parts) == results(whole)
    assert parts.environment["threads"] == str(begun)
    expected, found = (flat(load_checkpoint(tmp_path / name, LARGE)) for name in ("whole.pt", "parts.pt"))
    weights = [path for path in expected if "/model/" in path]
    assert len(weights) == 6
    assert all(torch.equal(expected[path], found[path]) for path in weights)


def test_an_attempt_under_other_circumstances_is_told_with_the_result(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    questions = iter((False, True))
    train(LARGE, on_epoch=lambda _: False, should_stop=lambda: next(questions), checkpoint_to=path, execution=EXACT)
    state = load_checkpoint(path, LARGE)
    state["circumstances"]["torch"] = ["2.11.0"]
    save_checkpoint(path, LARGE, state)
    deterministic = Execution(precision="float32", deterministic=True)
    outcome = train(
        LARGE, on_epoch=lambda _: False, should_stop=lambda: False, resume_from=path, execution=deterministic
    )
    assert outcome.environment["attempts_differ"] == f"torch 2.11.0, {torch.__version__}; deterministic no, yes"


def test_an_undisturbed_run_has_one_attempt(tmp_path: Path) -> None:
    outcome = train(LARGE, on_epoch=lambda _: True, should_stop=lambda: False, checkpoint_to=tmp_path / "run.pt")
    assert "attempts_differ" not in outcome.environment
