"""Convolutions that skip inactive weights, against PyTorch's dense ones in double precision."""

import ctypes
import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rigl_core.config import TrainConfig
from rigl_core.data.task import load_task
from rigl_core.execution import Execution
from rigl_core.native import build, sparse_convolution
from rigl_core.native.sparse_convolution import DENSEST, Conv2d, Pattern, SparseConvolutions
from rigl_core.outcome import TrainOutcome
from rigl_core.plan import Plan
from rigl_core.replica import Replica
from rigl_core.train import train
from tests.rigl_core.compiler import needs_compiler


def layer(mask: Tensor, seed: int = 0) -> Conv2d:
    filters, channels, kernel, _ = mask.shape
    conv = Conv2d(channels, filters, kernel, padding=kernel // 2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(mask.shape, generator=torch.Generator().manual_seed(seed)) * mask)
    conv.pattern = Pattern(mask)
    return conv


def gradients(conv: Conv2d, images: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gradient of the images, gradient of the weight."""
    images = images.clone().requires_grad_()
    output = conv(images)
    of_images, of_weight = torch.autograd.grad(output, (images, conv.weight), upstream)
    return output.detach(), of_images, of_weight


def oracle(conv: Conv2d, images: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same by PyTorch, densely and in double precision."""
    images, weight = images.double().requires_grad_(), conv.weight.detach().double().requires_grad_()
    output = F.conv2d(images, weight, padding=conv.padding)
    of_images, of_weight = torch.autograd.grad(output, (images, weight), upstream.double())
    return output.detach(), of_images, of_weight


@needs_compiler
@given(
    st.integers(1, 19), st.integers(1, 5), st.integers(1, 6),
    st.sampled_from([(8, 8), (16, 8), (16, 4), (32, 16), (32, 2)]),
    st.sampled_from([1, 3, 5]), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.booleans(), st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=60)
def test_equals_the_dense_convolution(
    n: int, channels: int, filters: int, size: tuple[int, int], kernel: int, density: float, dense: bool, seed: int
) -> None:
    random, (width, height) = torch.Generator().manual_seed(seed), size
    mask = torch.rand(filters, channels, kernel, kernel, generator=random) < density
    conv = layer(mask, seed)
    images = torch.randn(n, channels, height, width, generator=random)
    upstream = torch.randn(n, filters, height, width, generator=random)
    assert conv.pattern is not None
    assert conv.pattern.suits(images, kernel // 2)
    conv.pattern.dense_gradient = dense
    output, of_images, of_weight = gradients(conv, images, upstream)
    expected = oracle(conv, images, upstream)
    torch.testing.assert_close(output.double(), expected[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(of_images.double(), expected[1], rtol=1e-4, atol=1e-4)
    wanted = expected[2] if dense else expected[2] * mask
    torch.testing.assert_close(of_weight.double(), wanted, rtol=1e-4, atol=2e-3)
    assert dense or torch.count_nonzero(of_weight[~mask]) == 0


@needs_compiler
def test_by_hand_on_one_weight() -> None:
    """Only the weight above the centre is active: each pixel becomes twice the one above it, the first row zero."""
    mask = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    mask[0, 0, 0, 1] = True
    conv = layer(mask)
    with torch.no_grad():
        conv.weight[0, 0, 0, 1] = 2.0
    images = torch.arange(64.0).view(1, 1, 8, 8)
    output, of_images, of_weight = gradients(conv, images, torch.ones(1, 1, 8, 8))
    assert torch.equal(output[0, 0, 1:], 2 * images[0, 0, :-1])
    assert torch.count_nonzero(output[0, 0, 0]) == 0
    assert torch.equal(of_images[0, 0, :-1], torch.full((7, 8), 2.0))
    assert torch.count_nonzero(of_images[0, 0, -1]) == 0
    assert of_weight.flatten().tolist() == [0, sum(range(56)), 0, 0, 0, 0, 0, 0, 0]


@needs_compiler
def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    mask = torch.rand(12, 7, 3, 3, generator=torch.Generator().manual_seed(1)) < 0.3
    conv, images, upstream = layer(mask), torch.randn(33, 7, 16, 16), torch.randn(33, 12, 16, 16)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(gradients(conv, images, upstream))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    ("images", "why"),
    [
        (torch.randn(2, 3, 12, 12), "a width for which there is no code"),
        (torch.randn(2, 3, 8, 8, dtype=torch.float64), "another type"),
        (torch.randn(2, 3, 7, 8), "rows left over"),
        (torch.empty(2, 3, 8, 8, device="meta"), "another device"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_images_are_convolved_densely(images: Tensor, why: str) -> None:
    conv = layer(torch.ones(4, 3, 3, 3, dtype=torch.bool)).to(images.device, images.dtype)
    assert conv.pattern is not None
    assert not conv.pattern.suits(images, 1), why
    assert conv(images).shape == (2, 4, *images.shape[2:])


@needs_compiler
def test_patterns_follow_the_masks_of_layers_that_are_sparse_enough() -> None:
    model = torch.nn.Sequential(
        Conv2d(3, 4, 3, padding=1, bias=False), Conv2d(4, 4, 3, stride=2, padding=1, bias=False)
    )
    sparse = torch.zeros(4, 3, 3, 3, dtype=torch.bool)
    sparse[0] = True
    masks = {"0.weight": sparse, "1.weight": torch.zeros(4, 4, 3, 3, dtype=torch.bool)}
    convolutions = SparseConvolutions(model)
    convolutions.follow(masks, {"0.weight": 27, "1.weight": 0})
    first = model[0].pattern
    assert first is not None
    assert model[1].pattern is None, "a stride is none of its business"
    convolutions.follow(masks, {"0.weight": 27, "1.weight": 0})
    assert model[0].pattern is first, "nothing changed"
    convolutions.want_dense_gradients(True)
    assert first.dense_gradient
    masks["0.weight"] = torch.ones_like(sparse)
    convolutions.follow(masks, {"0.weight": 108, "1.weight": 0})
    assert model[0].pattern is None
    assert DENSEST * 108 >= 27


SPARSE = Plan(sparse_convolutions=True)
DIGITS = TrainConfig(
    model="wrn", model_options={"depth": 10, "width": 1}, dataset="digits", sparsity=0.8, delta_t=10, epochs=2,
    train_size=640, batch_size=64, lr=0.1, seeds=(0, 1),
)  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("method", ["rigl", "snfs"])
def test_gradients_of_a_step_are_those_of_the_dense_one_and_dense_where_they_are_looked_at(method: str) -> None:
    config = DIGITS.model_copy(update={"delta_t": 2, "method": method})
    task = load_task(config)
    quick, plain = (Replica(config, task, 0, 100, plan) for plan in (SPARSE, Plan()))
    for step in range(3):
        for replica in (quick, plain):
            replica.train_step(0, step, step)
        for name, weight in quick.sparse.weights.items():
            mine, expected = weight.grad, plain.sparse.weights[name].grad
            assert mine is not None
            assert expected is not None
            torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)
            outside = mine[~quick.masks.masks[name]]
            if (step == 2 or method == "snfs") and outside.numel():  # whose momentum is dense
                assert torch.count_nonzero(outside) > 0, f"{name} has no dense gradient to grow by"
    resumed = Replica(config, task, 0, 100, SPARSE)
    resumed.load_state_dict(quick.state_dict())
    for replica in (quick, resumed):
        patterns = {
            f"{name}.weight": getattr(module, "pattern", None) for name, module in replica.model.named_modules()
        }
        followed = {name: pattern._mask for name, pattern in patterns.items() if pattern is not None}
        assert followed
        assert all(torch.equal(mask, quick.masks.masks[name]) for name, mask in followed.items())  # those of now


@pytest.mark.parametrize(
    ("compilers", "why"),
    [((), "there is no C compiler"), (("false",), "false failed"), (("true",), "cannot be loaded")],
    ids=["none", "fails", "makes nothing"],
)
def test_without_a_compiler_it_says_why(compilers: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "COMPILERS", compilers)
    reason = build.convolution.__wrapped__()
    assert isinstance(reason, str)
    assert why in reason


@needs_compiler
def test_a_temporary_folder_nothing_may_be_run_from_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(path: str) -> ctypes.CDLL:
        raise OSError(f"{path}: failed to map segment from shared object")  # what a folder mounted noexec says

    monkeypatch.setattr(build.ctypes, "CDLL", refused)
    with caplog.at_level(logging.INFO, "rigl_study.train"):
        reason = build.convolution.__wrapped__()
    assert isinstance(reason, str)
    assert "failed to map segment" in reason
    assert caplog.messages == [f"convolutions are computed densely: {reason}"]


@needs_compiler
@pytest.mark.parametrize("first", ["sparse", "dense"])
def test_a_checkpoint_goes_to_and_fro_between_machines_with_and_without_a_compiler(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after 7 of 10 steps on one, gone on with on the other: as a run that stayed, but for rounding."""
    config = DIGITS.model_copy(update={"train_size": 320, "delta_t": 4, "seeds": (0,)})

    def run(kind: str, steps: int, resume_from: Path | None = None) -> TrainOutcome:
        done: list[int] = []
        with monkeypatch.context() as machine:
            if kind == "dense":
                machine.setattr(sparse_convolution, "convolution", lambda: "there is no C compiler")
            outcome = train(
                config,
                on_epoch=lambda _: False,
                should_stop=lambda: len(done) >= steps,
                on_step=lambda step, _: done.append(step),
                checkpoint_to=tmp_path / f"{kind}.pt",
                resume_from=resume_from,
                execution=Execution(precision="float32"),
            )
        assert outcome.environment["convolutions"].startswith(kind)
        return outcome

    second = "dense" if first == "sparse" else "sparse"
    assert run(first, 7).status == "stopped"
    moved = run(second, 100, tmp_path / f"{first}.pt")
    stayed = run(second, 100)
    assert moved.status == stayed.status == "complete"
    assert moved.loss == pytest.approx(stayed.loss, rel=1e-2)
    assert moved.n_active == stayed.n_active


@needs_compiler
def test_a_source_that_is_wrong_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(build.NoNativeCode, match=r"failed \(.*error"):
        build._run(["cc", "-x", "c", "-", "-c", "-o", str(tmp_path / "none.o")], b"int f( {")
    assert isinstance(build.convolution(), ctypes.CDLL)


def test_without_native_code_convolutions_are_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_convolution, "convolution", lambda: "there is no C compiler")
    replica = Replica(DIGITS, load_task(DIGITS), 0, 100, SPARSE)
    replica.train_step(0, 0, 0)
    assert replica.describe()["convolutions"] == "dense: there is no C compiler"
    assert all(module.pattern is None for module in replica.model.modules() if isinstance(module, Conv2d))


def test_a_network_without_convolutions_asks_for_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_convolution, "convolution", lambda: pytest.fail("compiled for nothing"))
    assert SparseConvolutions(torch.nn.Sequential(torch.nn.Linear(3, 3))).kind == "dense"
