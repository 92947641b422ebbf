"""What a device makes of what a user asks for."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rigl_core import plan
from rigl_core.config import TrainConfig
from rigl_core.errors import BadInput, UnknownName
from rigl_core.execution import PRECISIONS, Execution
from rigl_core.outcome import TrainOutcome
from rigl_core.plan import Plan, make_plan, prepare_process
from rigl_core.train import train
from tests.rigl_core.compiler import needs_compiler

BF16 = torch.bfloat16
SMALL = TrainConfig(
    model="wrn", model_options={"depth": 10, "width": 0.5}, dataset="synthetic",
    dataset_options={"height": 8, "width": 8, "n_train": 64, "n_eval": 16}, delta_t=2, epochs=2, batch_size=16,
)  # fmt: skip
DIGITS = TrainConfig(
    model="wrn", model_options={"depth": 10, "width": 1}, dataset="digits", sparsity=0.8, delta_t=10, epochs=4,
    train_size=640, batch_size=64, lr=0.1, seeds=(0, 1),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("device", "bfloat16", "execution", "expected"),
    [
        ("cpu", False, Execution(), Plan(sparse_convolutions=True)),
        ("cpu", True, Execution(), Plan(autocast=BF16, channels_last=True)),
        ("cpu", True, Execution(precision="bfloat16"), Plan(autocast=BF16, channels_last=True)),
        ("cpu", True, Execution(precision="float32"), Plan(sparse_convolutions=True)),
        ("cpu", True, Execution(precision="float32", deterministic=True), Plan(deterministic=True)),
        ("cuda", True, Execution(), Plan(device="cuda", autocast=BF16, channels_last=True, recorded=True)),
        ("cuda:1", False, Execution(), Plan(device="cuda:1", channels_last=True, recorded=True)),
        ("cuda", True, Execution(precision="float32"), Plan(device="cuda", channels_last=True, recorded=True)),
        ("cuda", True, Execution(precision="float32", deterministic=True), Plan(deterministic=True, device="cuda")),
        ("cuda", True, Execution(deterministic=True), Plan(deterministic=True, device="cuda", autocast=BF16)),
        ("mps", False, Execution(), Plan(device="mps")),
    ],
    ids=str,
)
def test_plans(
    device: str, bfloat16: bool, execution: Execution, expected: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_has_bfloat16", lambda kind: bfloat16)
    assert make_plan(execution, device) == expected


@pytest.mark.parametrize(
    ("device", "avx512", "amx", "lower"),
    [("cpu", True, False, True), ("cpu", False, True, True), ("cpu", False, False, False), ("mps", True, True, False)],
)
def test_auto_is_bfloat16_where_the_processor_has_instructions_for_it(
    device: str, avx512: bool, amx: bool, lower: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert make_plan(Execution(), device).autocast == (BF16 if lower else None)


@pytest.mark.parametrize("has_it", [True, False])
def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(has_it: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def supported(including_emulation: bool = True) -> bool:  # as of a T4, if it does not have it
        return has_it or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert make_plan(Execution(), "cuda").autocast == (BF16 if has_it else None)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_a_precision_that_the_device_lacks_is_refused(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_has_bfloat16", lambda kind: False)
    with pytest.raises(BadInput, match=rf'precision is "bfloat16", and this {device} has no such arithmetic'):
        make_plan(Execution(precision="bfloat16"), device)


COMPILED = Plan(device="cuda", autocast=BF16, channels_last=True, recorded=True, compiled="inductor")


@pytest.mark.parametrize(
    ("device", "deterministic", "triton", "compiler", "told"),
    [
        ("cuda", False, True, "/usr/bin/cc", None),
        ("cpu", False, True, "/usr/bin/cc", r"for CUDA GPUs only, and this is a cpu; train without\.$"),
        ("mps", False, True, "/usr/bin/cc", "this is a mps"),
        ("cuda", True, True, "/usr/bin/cc", "--compile and --deterministic exclude each other"),
        ("cuda", False, False, "/usr/bin/cc", "needs the package triton, which is not installed"),
        ("cuda", False, True, None, "needs a C compiler, and there is none"),
    ],
)
def test_a_network_is_compiled_where_that_is_possible_and_refused_elsewhere(
    device: str, deterministic: bool, triton: bool, compiler: str | None, told: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(plan, "_has_bfloat16", lambda kind: True)
    monkeypatch.setattr(plan, "find_spec", lambda name: object() if triton else None)
    monkeypatch.setattr(plan, "c_compiler", lambda: compiler)
    execution = Execution(deterministic=deterministic, compiled=True)
    if told is None:
        assert make_plan(execution, device) == COMPILED
    else:
        with pytest.raises(BadInput, match=told):
            make_plan(execution, device)


def test_another_precision_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r'precision "float23"\. Did you mean "float32"'):
        Execution(precision="float23")
    assert [Execution(precision=name).precision for name in PRECISIONS] == list(PRECISIONS)


def outcome(execution: Execution) -> TrainOutcome:
    return train(SMALL, on_epoch=lambda _: False, should_stop=lambda: False, execution=execution)


def test_deterministic_float32_gives_the_same_bits_again() -> None:
    execution = Execution(precision="float32", deterministic=True)
    one, other = outcome(execution), outcome(execution)
    assert torch.are_deterministic_algorithms_enabled()
    assert (one.loss, one.test_accuracy, one.layer_sparsity) == (other.loss, other.test_accuracy, other.layer_sparsity)
    assert one.environment["precision"] == "float32"
    assert one.environment["steps"] == "eager"
    assert one.environment["convolutions"] == "dense"


def test_bfloat16_is_told_and_its_loss_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_has_bfloat16", lambda kind: True)  # PyTorch computes it on any CPU, if slowly
    low, full = outcome(Execution(precision="bfloat16")), outcome(Execution(precision="float32"))
    assert low.environment["precision"] == "bfloat16"
    assert low.loss == pytest.approx(full.loss, rel=0.1)
    assert low.loss != full.loss


@pytest.mark.parametrize(
    ("way", "convolutions"), [pytest.param("float32", "sparse", marks=needs_compiler), ("bfloat16", "dense")]
)
def test_accuracy_is_that_of_plain_float32_within_what_seeds_do(
    way: str, convolutions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seeds, the quick way and the plain one; the difference is below that between the seeds of either."""
    monkeypatch.setattr(plan, "_has_bfloat16", lambda kind: True)

    def accuracies(execution: Execution, convolutions: str) -> list[float]:
        told = train(DIGITS, on_epoch=lambda _: False, should_stop=lambda: False, execution=execution)
        assert (told.environment["precision"], told.environment["convolutions"]) == (execution.precision, convolutions)
        return list(told.test_accuracy)

    quick = accuracies(Execution(precision=way), convolutions)
    plain = accuracies(Execution(precision="float32", deterministic=True), "dense")
    assert sum(plain) / 2 > 0.8
    assert abs(sum(quick) - sum(plain)) / 2 < 0.04


@pytest.mark.parametrize("first", [True, False])
def test_a_checkpoint_goes_to_and_fro_between_machines_with_and_without_bfloat16(
    first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after one epoch of two on one, gone on with on the other: as a run that stayed, but for rounding."""
    path = tmp_path / "moved.pt"

    def run(low: bool, until: int = 100, **checkpoints: Path) -> TrainOutcome:
        epochs: list[int] = []
        monkeypatch.setattr(plan, "_has_bfloat16", lambda kind: low)
        told = train(
            SMALL,
            on_epoch=lambda report: bool(epochs.append(report.epoch)),
            should_stop=lambda: len(epochs) >= until,
            **checkpoints,
        )
        assert told.environment["precision"] == ("bfloat16" if low else "float32")
        return told

    assert run(first, 1, checkpoint_to=path).status == "stopped"
    moved, stayed = run(not first, resume_from=path), run(not first)
    assert moved.status == stayed.status == "complete"
    assert moved.loss == pytest.approx(stayed.loss, rel=0.05)
    assert moved.loss != stayed.loss
    assert moved.n_active == stayed.n_active


def test_a_process_is_prepared_anew_for_each_run() -> None:
    prepare_process(Execution(deterministic=True), "cpu")
    assert torch.are_deterministic_algorithms_enabled()
    prepare_process(Execution(), "cpu")
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("execution", "benchmark", "tf32", "workspace"),
    [
        (Execution(), True, True, None),
        (Execution(precision="bfloat16"), True, True, None),
        (Execution(precision="float32"), True, False, None),
        (Execution(precision="float32", deterministic=True), False, False, ":4096:8"),
        (Execution(deterministic=True), False, True, ":4096:8"),
    ],
    ids=str,
)
def test_a_gpu_computes_in_float32_what_is_to_be_float32_and_searches_for_nothing_where_it_is_to_be_deterministic(
    execution: Execution, benchmark: bool, tf32: bool, workspace: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back, whatever it was
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    with torch.backends.cudnn.flags(enabled=True, benchmark=not benchmark, allow_tf32=not tf32):  # as before afterwards
        prepare_process(execution, "cuda:1")  # sets what a GPU would look at; none is touched
        assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32) == (benchmark, tf32)
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == workspace
    assert torch.are_deterministic_algorithms_enabled() == execution.deterministic
