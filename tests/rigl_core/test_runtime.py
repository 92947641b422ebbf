"""Seeds, devices and the record of the machine."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from rigl_core import runtime
from rigl_core.config import TrainConfig
from rigl_core.errors import BadInput, DeviceFailed
from rigl_core.runtime import (
    check_computes,
    computing_with,
    derive_seed,
    environment,
    get_threads,
    make_generator,
    resolve_device,
    set_threads,
    told_of_device_failures,
)
from rigl_core.train import train


def test_derived_seeds_are_stable_and_distinct() -> None:
    # Written down: a change would silently break every checkpoint and every repetition of an old study.
    assert derive_seed(0, "masks") == 5936103782445480539
    seeds = {derive_seed(seed, word, n) for seed in range(20) for word in ("order", "masks") for n in range(20)}
    assert len(seeds) == 800
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, "order", 23) != derive_seed(12, "order", 3)


def test_generators_are_independent_of_the_global_one() -> None:
    one = torch.rand(3, generator=make_generator(1, "x"))
    torch.rand(5)
    assert torch.equal(one, torch.rand(3, generator=make_generator(1, "x")))


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("text", ["gpu", "", "cuda:99", "cuda:x", "xla", "meta"])
def test_bad_devices(text: str) -> None:
    with pytest.raises(BadInput, match=f'device "{text}"'):
        resolve_device(text)


def test_environment_names_versions_and_device() -> None:
    before = torch.get_num_threads()
    set_threads(1)
    record = environment("cpu")
    set_threads(before)
    assert record["torch"] == torch.__version__
    assert record["device"] == "cpu"
    assert record["threads"] == "1"
    assert all(isinstance(value, str) and value for value in record.values())


@pytest.mark.parametrize(
    "content", ["processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nflags\t: fpu\n", "Features: asimd\n"]
)
def test_a_cpu_is_named_with_the_instructions_that_are_used(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(content)
    monkeypatch.setattr(runtime, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    capability = torch.backends.cpu.get_cpu_capability()
    model = "A CPU @ 2 GHz" if "model name" in content else "aarch64"
    assert environment("cpu")["device_name"] == f"{model} ({capability})"


def test_where_there_is_no_list_of_cpus_the_platform_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "CPUINFO", tmp_path / "missing")
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert environment("cpu")["device_name"].startswith("arm (")


def test_other_threads_last_as_long_as_the_body_however_it_ends() -> None:
    before = get_threads()
    seen = []

    def fail() -> None:
        with computing_with(before + 1):
            seen.append(get_threads())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == [before + 1]
    assert get_threads() == before
    with computing_with(None):
        assert get_threads() == before


def test_a_bare_copy_of_the_source_is_recorded_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(runtime, "version", unknown)
    assert environment("cpu")["rigl_study"] == "not installed"


def test_a_gpu_that_stops_computing_is_told_as_that() -> None:
    def launch() -> bool:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors may be reported late")

    config = TrainConfig(dataset="synthetic", dataset_options={"height": 8, "width": 8, "n_train": 64, "n_eval": 8})
    with pytest.raises(DeviceFailed, match=r"^the device stopped computing: CUDA error: unspecified launch failure$"):
        train(config, on_epoch=lambda _: False, should_stop=launch)


def test_a_lack_of_memory_is_no_failure_of_the_device() -> None:
    with pytest.raises(torch.OutOfMemoryError), told_of_device_failures("cpu"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_after_a_librarys_own_error_the_gpu_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def finish(device: str) -> None:
        asked.append(device)
        if device == "cuda:1":
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nand more")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", finish)
    with pytest.raises(RuntimeError, match="CUDNN_STATUS_EXECUTION_FAILED"), told_of_device_failures("cuda:0"):
        raise RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
    with (
        pytest.raises(DeviceFailed, match=r"an illegal memory access was encountered$"),
        told_of_device_failures("cuda:1"),
    ):
        raise RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
    assert asked == ["cuda:0", "cuda:1"]


def test_a_device_that_computes_nothing_is_found_before_it_is_given_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(*_: object, device: str) -> torch.Tensor:
        raise torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")

    check_computes("cpu")
    monkeypatch.setattr(torch, "ones", launch)
    with pytest.raises(DeviceFailed, match="busy or unavailable"):
        check_computes("cuda:0")
