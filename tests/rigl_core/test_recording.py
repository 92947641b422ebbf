"""Recorded steps equal computed ones, bit for bit: on a tape, which like a CUDA graph knows only memory and numbers."""

import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path

from rigl_core.config import TrainConfig
from rigl_core.data.task import load_task
from rigl_core.plan import Plan
from rigl_core.recording import WARM_UP, CudaRecorder, RecordedSteps
from rigl_core.replica import Replica
from rigl_core.train import train
from rigl_core.workplace import Workplace, shape_of
from tests.rigl_core.tape import TapeRecorder

IMAGES = {"channels": 3, "height": 8, "width": 8, "num_classes": 4, "n_train": 36, "n_eval": 8}
BATCHES = 5  # of 8, the last of 4
CONFIG = TrainConfig(
    model="wrn",
    model_options={"depth": 10, "width": 0.5, "dropout": 0.2},
    dataset="synthetic",
    dataset_options=IMAGES,
    sparsity=0.7,
    delta_t=3,
    epochs=4,
    batch_size=8,
    lr=1 / 16,  # as are the others here, the same in float32, which a recorded learning rate is
    lr_drop_every=4,
    lr_drop_factor=0.5,
    warmup_steps=2,
    label_smoothing=0.1,
    augmentation="crop_flip",
)
PERCEPTRON = {"model": "lenet_300_100", "model_options": {}, "augmentation": "none"}
VARIANTS: dict[str, dict[str, Any]] = {
    "rigl": {},
    "dense": {"method": "dense"},
    "set": {"method": "set"},
    "snfs": {"method": "snfs", **PERCEPTRON},
    "pruning": {"method": "pruning", "ramp_start": 2, **PERCEPTRON},
    "adam": {"optimizer": "adam", "clip_norm": 0.1, **PERCEPTRON},
    "accumulated": {"grow_accumulation": 2, **PERCEPTRON},
}
N_STEPS = BATCHES * 4
RECORDED = Plan(recorded=True)


def config_of(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({**CONFIG.model_dump(), **changes})


def replica_of(config: TrainConfig, plan: Plan, seed: int = 3, recorder: Any = TapeRecorder) -> Replica:
    return Replica(config, load_task(config), seed, N_STEPS, plan, None, recorder)


def advance(replica: Replica, first: int = 0, last: int = N_STEPS) -> None:
    for step in range(first, last):
        replica.train_step(*divmod(step, BATCHES), step)


def differences(one: Replica, other: Replica) -> list[str]:
    """Where two replicas are not the same to the bit."""
    mine, theirs = (dict(tree_flatten_with_path(replica.state_dict())[0]) for replica in (one, other))
    assert mine.keys() == theirs.keys()
    return [keystr(where) for where in mine if not equal(mine[where], theirs[where])]


def equal(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return type(a) is type(b) and a == b  # a checkpoint is read on machines that record nothing


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_recorded_training_equals_a_computed_one(variant: str) -> None:
    config = config_of(**VARIANTS[variant])
    computed, recorded = replica_of(config, Plan()), replica_of(config, RECORDED)
    for epoch in range(4):
        for replica in (computed, recorded):
            advance(replica, BATCHES * epoch, BATCHES * (epoch + 1))
        assert not differences(computed, recorded)
        assert computed.take_loss() == recorded.take_loss()
        assert computed.evaluate("val") == recorded.evaluate("val")


@pytest.mark.parametrize("layout", ["channels last", "channels first"])
def test_low_precision_is_recorded_alike(layout: str) -> None:
    plan = Plan(autocast=torch.bfloat16, channels_last=layout == "channels last")
    computed = replica_of(CONFIG, plan)
    recorded = replica_of(CONFIG, Plan(autocast=plan.autocast, channels_last=plan.channels_last, recorded=True))
    for replica in (computed, recorded):
        advance(replica)
    assert not differences(computed, recorded)
    assert {parameter.dtype for parameter in recorded.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 1 / 4, "lr_drop_every": 3, "warmup_steps": 0},
        {"alpha": 0.8, "delta_t": 2, "anneal": "constant"},
        {"sparsity": 0.5, "distribution": "uniform"},
        {"method": "set"},
        {"method": "static"},
    ],
    ids=str,
)
def test_another_trial_goes_on_with_what_was_recorded(changes: dict[str, Any]) -> None:
    other, recorders = config_of(**changes), []

    def recorder(generators: Any) -> TapeRecorder:
        recorders.append(TapeRecorder(generators))
        return recorders[-1]

    replica = replica_of(CONFIG, RECORDED, recorder=recorder)
    advance(replica)
    n_recorded = recorders[0].n_recorded
    assert n_recorded > 1
    assert shape_of(other) == shape_of(CONFIG)
    replica.begin_again(other, 9, N_STEPS)
    advance(replica)
    # Recorded anew is only what the first trial did not come to often enough: a topology step on a short batch, say.
    assert recorders[0].n_recorded - n_recorded <= 2
    anew = replica_of(other, Plan(), seed=9)
    advance(anew)
    assert not differences(replica, anew)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 4},
        {"momentum": 0.5},
        {"weight_decay": 0.0},
        {"method": "dense"},
        {"method": "snfs"},
        {"model_options": {**CONFIG.model_options, "dropout": 0.1}},
        {"label_smoothing": 0.2},
    ],
    ids=str,
)
def test_what_a_step_has_as_a_number_makes_another_shape(changes: dict[str, Any]) -> None:
    assert shape_of(config_of(**changes)) != shape_of(CONFIG)


def test_every_setting_was_thought_of() -> None:
    """A new setting makes another shape until someone says that it is a value."""
    narrow = [config_of(method="small_dense", sparsity=sparsity) for sparsity in (0.5, 0.6)]
    assert shape_of(narrow[0]) != shape_of(narrow[1])
    assert shape_of(config_of(seeds=(1, 2))) == shape_of(CONFIG)


def test_a_state_is_loaded_into_the_memory_that_was_recorded() -> None:
    source, target = replica_of(CONFIG, Plan()), replica_of(CONFIG, RECORDED)
    advance(source, 0, BATCHES)
    state = source.state_dict()
    advance(target, 0, 2 * BATCHES)  # until all is recorded
    target.load_state_dict(state)
    for replica in (source, target):
        advance(replica, BATCHES)
    assert not differences(source, target)


def test_a_workplace_keeps_networks_of_one_shape() -> None:
    place, masks = Workplace(TapeRecorder), {}
    task = place.task(CONFIG, None, "cpu")
    two = config_of(seeds=(1, 2))
    first = list(place.replicas(two, task, RECORDED, N_STEPS, masks))
    assert place.task(config_of(lr=1.0), None, "cpu") is task
    assert [replica.seed for replica in place.replicas(config_of(seeds=(5,)), task, RECORDED, N_STEPS, masks)] == [5]
    again = place.replicas(config_of(seeds=(6, 7, 8)), task, RECORDED, N_STEPS, masks)
    assert [one is other for one, other in zip(again, first, strict=False)] == [True, True]
    assert [replica.seed for replica in again] == [6, 7, 8]
    other_shape = place.replicas(config_of(batch_size=4), task, RECORDED, N_STEPS, masks)
    assert other_shape[0] not in first
    assert place.task(config_of(train_size=8), None, "cpu").n_train == 8


def test_networks_of_two_shapes_are_not_in_memory_at_once() -> None:
    """Not even those that something refers to in a circle, as what PyTorch imports late does to a process's first."""
    alive: list[bool] = []

    def recorder(generators: Any) -> TapeRecorder:
        alive.append(gone() is not None)
        return TapeRecorder(generators)

    place = Workplace(recorder)
    gone: Callable[[], object] = lambda: None  # noqa: E731
    task = place.task(CONFIG, None, "cpu")
    (replica,) = place.replicas(CONFIG, task, RECORDED, N_STEPS, {})
    replica.circle = replica  # type: ignore[attr-defined]
    gone = weakref.ref(replica)
    del replica
    gc.disable()  # which might have come to it by itself
    try:
        place.replicas(config_of(batch_size=4), task, RECORDED, N_STEPS, {})
    finally:
        gc.enable()
    assert alive == [False, False]


def test_trials_of_one_worker_equal_trials_of_many() -> None:
    place = Workplace(TapeRecorder)
    for changes in ({"seeds": (1, 2)}, {"seeds": (1,), "lr": 1 / 64}, {"batch_size": 12}):
        config = config_of(epochs=2, **changes)
        outcomes = [
            train(config, on_epoch=lambda _: False, should_stop=lambda: False, workplace=workplace)
            for workplace in (place, None)
        ]
        assert outcomes[0].loss == outcomes[1].loss
        assert outcomes[0].test_accuracy == outcomes[1].test_accuracy


def test_a_tape_repeats_numbers_and_reads_memory_anew() -> None:
    """So what a CUDA graph would not notice is not noticed here either."""
    number, memory, sums = [1.0], torch.tensor(10.0), torch.zeros(3)
    weight = nn.Parameter(torch.zeros(()))
    steps = RecordedSteps(TapeRecorder(), [weight])
    batch = torch.tensor([0, 1])

    def step(chosen: Tensor) -> None:
        sums[2] += number[0]
        sums[chosen] += memory

    for _ in range(WARM_UP + 1):
        steps("sum", step, batch)
    number[0], memory[...] = 5.0, 20.0
    steps("sum", step, torch.tensor([1, 2]))
    assert sums.tolist() == [30.0, 50.0, 24.0]


def test_a_tape_refuses_what_a_graph_cannot_do() -> None:
    with pytest.raises(AssertionError, match="the host waits"):
        TapeRecorder().record(lambda: torch.ones(()).item())


def recorder_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> CudaRecorder:
    for name in ("Stream", "CUDAGraph", "graph", "device"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, **__: nullcontext())
    return CudaRecorder([torch.Generator()])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("operation not permitted when stream is capturing"), "a step cannot be recorded .operation not"),
        (torch.OutOfMemoryError("CUDA out of memory."), "^CUDA out of memory.$"),
    ],
    ids=["a step that no graph can hold", "no memory"],
)
def test_why_nothing_was_recorded_is_told(monkeypatch: pytest.MonkeyPatch, error: RuntimeError, told: str) -> None:
    def compute() -> None:
        raise error

    recorder = recorder_without_a_gpu(monkeypatch)
    recorder._generators = []
    with pytest.raises(type(error), match=told):
        recorder.record(compute)
