"""A file of the right format and configuration whose state is wrong: refused in one line, with nothing changed."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rigl_core.checkpoint import load_checkpoint, save_checkpoint
from rigl_core.checkpoint_state import checked_state
from rigl_core.config import TrainConfig
from rigl_core.data.task import load_task
from rigl_core.errors import BadCheckpoint, CheckpointElsewhere, TrainingDiverged
from rigl_core.outcome import EpochReport
from rigl_core.plan import Plan
from rigl_core.train import Run, train
from rigl_core.workplace import Workplace

BASE: dict[str, Any] = {
    "model": "lenet_300_100",
    "dataset": "synthetic",
    "dataset_options": {"channels": 1, "height": 4, "width": 4, "num_classes": 4, "n_train": 80, "n_eval": 40},
    "sparsity": 0.8,
    "delta_t": 3,
    "epochs": 3,
    "batch_size": 16,
    "lr": 0.01,
    "ramp_start": 0,
    "grow_accumulation": 3,
}
STEP = 8  # in the second of three epochs of 5 steps, a sum of gradients begun
CONFIGS = {
    (method, optimizer): TrainConfig(**{**BASE, "method": method, "optimizer": optimizer})
    for method in ("rigl", "snfs", "pruning")
    for optimizer in ("sgd", "adam")
}


@pytest.fixture(scope="module", params=CONFIGS, ids="-".join)
def half(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Path]:
    config, path = CONFIGS[request.param], tmp_path_factory.mktemp("half") / "run.pt"
    steps = iter(range(100))
    train(config, on_epoch=lambda _: False, should_stop=lambda: next(steps) == STEP, checkpoint_to=path)
    return config, path


def resume(config: TrainConfig, path: Path) -> None:
    train(config, on_epoch=lambda _: False, should_stop=lambda: True, resume_from=path)


def refused(half: tuple[TrainConfig, Path], tmp_path: Path, state: Any) -> None:
    save_checkpoint(tmp_path / "wrong.pt", half[0], state)
    with pytest.raises(BadCheckpoint) as caught:
        resume(half[0], tmp_path / "wrong.pt")
    assert str(caught.value).startswith(f"{tmp_path / 'wrong.pt'} does not fit this run: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """A mutation: the last word is put where the others lead."""

    def mutate(state: Any) -> None:
        for key in path[:-2]:
            state = state[key]
        state[path[-2]] = path[-1]

    return mutate


R = ("replicas", 0)
S = (*R, "sparse")
WRAPPED = (*S, "optimizer")


def _outside(state: dict[str, Any]) -> None:
    replica = state["replicas"][0]
    name, mask = next((n, m) for n, m in replica["sparse"]["masks"].items() if not m.all())
    replica["model"][name][~mask] = 1.0


def _other_count(state: dict[str, Any]) -> None:
    mask = next(iter(state["replicas"][0]["sparse"]["masks"].values()))
    mask.view(-1)[0] ^= True


def _wrong_moment(state: dict[str, Any]) -> None:
    kept = state["replicas"][0]["sparse"]["optimizer"]["state"][0]
    kept[next(name for name in kept if name != "step")] = torch.zeros(1)


def _float_masks(state: dict[str, Any]) -> None:
    masks = state["replicas"][0]["sparse"]["masks"]
    masks.update({name: mask.float() for name, mask in masks.items()})


def _large_count(state: dict[str, Any]) -> None:
    counts = state["replicas"][0]["sparse"]["n_active"]
    counts[next(iter(counts))] = 10**9


def _unexplored(state: dict[str, Any]) -> None:
    next(iter(state["replicas"][0]["sparse"]["explored"].values())).zero_()


NO_STREAM = torch.zeros_like(torch.Generator().get_state())
WRONG = {
    "another device": put("device", "cuda"),
    "no threads": put("threads", 0),
    "more threads than any machine has": put("threads", 10**9),
    "threads true": put("threads", True),
    "threads text": put("threads", "2"),
    "circumstances none": put("circumstances", None),
    "circumstances of numbers": put("circumstances", {"torch": [2]}),
    "circumstances without lists": put("circumstances", {"torch": "2.13.0"}),
    "tensor device": put("device", torch.zeros(2)),
    "step below 0": put("step", -5),
    "step too large": put("step", 10**9),
    "step infinite": put("step", float("inf")),
    "step of another epoch": put("step", 4),
    "step of the epoch after the next": put("step", 11),
    "seconds nan": put("seconds", float("nan")),
    "no flops": put("flops_sum", []),
    "history none": put("history", None),
    "history empty": put("history", []),
    "history numbers": put("history", [1]),
    "history of another epoch": put("history", 0, "epoch", 1),
    "history of a longer training": put("history", 0, "n_epochs", 4),
    "history told again": put("history", 0, "replayed", True),
    "history of 0 for false": put("history", 0, "replayed", 0),
    "history of negative seconds": put("history", 0, "seconds", -1.0),
    "history of infinite seconds": put("history", 0, "seconds", float("inf")),
    "history of two seeds": put("history", 0, "val_accuracy", (0.5, 0.5)),
    "history of no loss": put("history", 0, "loss", (float("nan"),)),
    "history of a text": put("history", 0, "bits_per_character", (1.0,)),
    "no replicas": put("replicas", []),
    "masks list": put(*S, "masks", []),
    "masks float": _float_masks,
    "no optimizer": put(*S, "optimizer", None),
    "moment of another shape": _wrong_moment,
    "moments gone": put(*WRAPPED, "state", {}),
    "weight decay": put(*WRAPPED, "param_groups", 0, "weight_decay", 0.5),
    "other hyper-parameter": put(*WRAPPED, "param_groups", 0, "maximize", True),
    "explored empty": put(*S, "explored", {}),
    "active and never explored": _unexplored,
    "gradient sum": put(*S, "gradient_sum", {"x": torch.zeros(3)}),
    "unknown movable": put(*S, "movable", ["unknown"]),
    "count too large": _large_count,
    "mask of another count": _other_count,
    "outside the mask": _outside,
    "no random stream": put(*S, "generator", torch.zeros(3, dtype=torch.uint8)),
    "zeroed stream of augmentation": put(*R, "augment_random", NO_STREAM),
    "zeroed stream of dropout": put(*R, "dropout_random", NO_STREAM),
    "zeroed stream of topology": put(*S, "generator", NO_STREAM),
    "no model": put(*R, "model", {}),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_state_is_refused(case: str, half: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    state = load_checkpoint(half[1], half[0])
    WRONG[case](state)
    refused(half, tmp_path, state)


@pytest.mark.parametrize("half", [key for key in CONFIGS if "adam" in key], indirect=True, ids="-".join)
def test_adam_knows_how_many_steps_it_made(half: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    state = load_checkpoint(half[1], half[0])
    state["replicas"][0]["sparse"]["optimizer"]["state"][0]["step"] += 1
    refused(half, tmp_path, state)


def test_momentum_outside_the_masks_is_for_methods_that_keep_it(half: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    state = load_checkpoint(half[1], half[0])
    sparse = state["replicas"][0]["sparse"]
    mask = next(iter(sparse["masks"].values()))  # of the weight that the optimizer has first
    kept = sparse["optimizer"]["state"][0]
    kept[next(name for name in kept if name != "step")][~mask] = 1.0
    if half[0].method == "snfs":
        save_checkpoint(tmp_path / "run.pt", half[0], state)
        resume(half[0], tmp_path / "run.pt")
    else:
        refused(half, tmp_path, state)


def test_a_layer_has_another_count_only_where_the_method_moves_counts(
    half: tuple[TrainConfig, Path], tmp_path: Path
) -> None:
    state = load_checkpoint(half[1], half[0])
    sparse = state["replicas"][0]["sparse"]
    name, mask = next((n, m) for n, m in sparse["masks"].items() if not m.all())
    sparse["explored"][name] |= ~mask
    mask.view(-1)[int((~mask).view(-1).nonzero()[0])] = True
    sparse["n_active"][name] += 1
    if half[0].method == "rigl":
        refused(half, tmp_path, state)
    else:
        save_checkpoint(tmp_path / "run.pt", half[0], state)
        resume(half[0], tmp_path / "run.pt")


def test_an_accuracy_of_0_is_one(half: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    state = load_checkpoint(half[1], half[0])
    state["history"][0]["val_accuracy"] = (0.0,)
    save_checkpoint(tmp_path / "run.pt", half[0], state)
    resume(half[0], tmp_path / "run.pt")


def test_nothing_is_left_of_a_run_that_is_over(tmp_path: Path) -> None:
    config, path = CONFIGS["rigl", "sgd"], tmp_path / "run.pt"
    done = train(config, on_epoch=lambda _: False, should_stop=lambda: False, checkpoint_to=path)
    again = train(config, on_epoch=lambda _: False, should_stop=lambda: True, resume_from=path)
    assert (again.status, again.test_accuracy) == ("complete", done.test_accuracy)
    state = load_checkpoint(path, config)
    assert state["step"] == 15
    state["step"] = 16
    refused((config, path), tmp_path, state)


def test_a_state_that_does_not_tell_its_threads_is_from_before_they_were_kept(tmp_path: Path) -> None:
    config, path = CONFIGS["rigl", "sgd"], tmp_path / "run.pt"
    train(config, on_epoch=lambda _: False, should_stop=lambda: True, checkpoint_to=path)
    state = load_checkpoint(path, config)
    del state["threads"], state["circumstances"]
    save_checkpoint(path, config, state)
    outcome = train(config, on_epoch=lambda _: False, should_stop=lambda: False, resume_from=path)
    assert outcome.environment["threads"] == str(torch.get_num_threads())
    assert "attempts_differ" not in outcome.environment


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_without_momentum_goes_on(optimizer: str, tmp_path: Path) -> None:
    """Adam's moments do not depend on `momentum`."""
    changes = {"optimizer": optimizer, "momentum": 0.0, "nesterov": False}
    config, path = TrainConfig(**{**BASE, **changes}), tmp_path / "run.pt"
    steps = iter(range(100))
    train(config, on_epoch=lambda _: False, should_stop=lambda: next(steps) == STEP, checkpoint_to=path)
    state = load_checkpoint(path, config)
    assert bool(state["replicas"][0]["sparse"]["optimizer"]["state"]) == (optimizer == "adam")
    again = train(config, on_epoch=lambda _: False, should_stop=lambda: False, resume_from=path)
    whole = train(config, on_epoch=lambda _: False, should_stop=lambda: False)
    assert (again.loss, again.test_accuracy) == (whole.loss, whole.test_accuracy)


@pytest.mark.parametrize(
    ("begun_on", "here", "refusal"),
    [
        ("cpu", "cpu", None),
        ("cuda", "cuda", None),
        ("cuda", "cpu", CheckpointElsewhere),
        ("mps", "cpu", CheckpointElsewhere),
        ("mps", "cuda", CheckpointElsewhere),
        ("cpu", "cuda", BadCheckpoint),  # and soon trained again there
        ("cpu", "mps", BadCheckpoint),
        ("toaster", "cpu", BadCheckpoint),
    ],
)
def test_only_what_a_quicker_device_began_is_left_to_another_machine(
    begun_on: str, here: str, refusal: type[BadCheckpoint] | None, tmp_path: Path
) -> None:
    config, path = CONFIGS["rigl", "sgd"], tmp_path / "run.pt"
    train(config, on_epoch=lambda _: False, should_stop=lambda: True, checkpoint_to=path)
    run = Run(config, load_task(config, None), Plan(), {}, Workplace())
    saved, fresh = load_checkpoint(path, config) | {"device": begun_on}, run.state_dict() | {"device": here}

    def check() -> dict[str, Any]:
        fields = [field.name for field in dataclasses.fields(EpochReport)]
        return checked_state(saved, fresh, run.replicas, fields=fields, batches_per_epoch=run.batches_per_epoch)

    if refusal is None:
        assert check()["device"] == here
    else:
        with pytest.raises(BadCheckpoint, match=f"{begun_on}.*{here}") as caught:
            check()
        assert type(caught.value) is refusal


@pytest.mark.parametrize("state", [{}, [], None, 3, "text", torch.zeros(2)], ids=repr)
def test_no_state_at_all_is_refused(state: Any, half: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    refused(half, tmp_path, state)


ODD = st.sampled_from(
    [None, True, -1, 10**30, 1e308, float("nan"), "x\ny", [], {}, (), [[]], torch.ones(2), torch.Size([1])]
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_put_anywhere_nothing_else_is_raised(data: st.DataObject, half: tuple[TrainConfig, Path]) -> None:
    config, path = half
    state = inner = load_checkpoint(path, config)
    run = Run(config, load_task(config, None), Plan(), {}, Workplace())
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = data.draw(st.sampled_from(keys))
        deeper = isinstance(inner[key], dict | list) and len(inner[key]) > 0
        if not deeper or data.draw(st.integers(0, 3)) == 0:
            break
        inner = inner[key]
    inner[key] = data.draw(ODD)
    try:
        run.load_state_dict(state)
    except BadCheckpoint:
        assert run.step == 0
        assert run.history == []


ODD_TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    "a parameter": torch.nn.Parameter,
    "sparse": torch.Tensor.to_sparse,
    "without data": lambda tensor: tensor.to("meta"),
    "nested": lambda tensor: torch.nested.nested_tensor([tensor]),
    "of another shape": lambda tensor: tensor.flatten(),
    "of another type": torch.Tensor.double,
    "a list": torch.Tensor.tolist,
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage:UserWarning")
@pytest.mark.parametrize("kind", ODD_TENSORS)
def test_tensors_are_plain_ones(kind: str, tmp_path: Path) -> None:
    config, path = CONFIGS["rigl", "sgd"], tmp_path / "run.pt"
    train(config, on_epoch=lambda _: False, should_stop=lambda: True, checkpoint_to=path)
    run, state = Run(config, load_task(config, None), Plan(), {}, Workplace()), load_checkpoint(path, config)
    model = state["replicas"][0]["model"]
    name = next(name for name, tensor in model.items() if tensor.ndim > 1)
    model[name] = ODD_TENSORS[kind](model[name])
    with pytest.raises(BadCheckpoint, match=rf"{name} is no tensor \(\d+, \d+\) of torch\.float32"):
        run.load_state_dict(state)


def test_a_diverged_run_is_told_so_and_not_that_its_checkpoint_is_damaged(tmp_path: Path) -> None:
    config, path = TrainConfig(**{**BASE, "lr": 1e30}), tmp_path / "run.pt"
    steps = iter(range(100))
    train(config, on_epoch=lambda _: False, should_stop=lambda: next(steps) == 3, checkpoint_to=path)
    with pytest.raises(TrainingDiverged):
        train(config, on_epoch=lambda _: False, should_stop=lambda: False, resume_from=path)
