"""Cores and devices of several workers on one machine."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest

from rigl_core import runtime
from studies.errors import BadInput
from tests.held import LONG
from workers import devices
from workers.devices import NoFreeGpu, cores_available, held_device, one_per_gpu, threads_per_worker
from workers.stop import Stop


@pytest.mark.parametrize(
    ("cores", "n_workers", "threads"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (8, 8, 1), (2, 5, 1), (1, 1, 1)]
)
def test_workers_together_use_no_more_threads_than_cores(cores: int, n_workers: int, threads: int) -> None:
    assert threads_per_worker(n_workers, cores) == threads
    assert threads * n_workers <= max(cores, n_workers)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_containers_quota_counts(
    files: dict[str, str], cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(devices, "_CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert cores_available() == (cores or 16)


def test_a_processes_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert cores_available() == 2


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "resolve_device", lambda text: "cuda" if text == "auto" else text)
    monkeypatch.setattr(runtime, "count_gpus", lambda: 3)
    monkeypatch.setattr(runtime, "gpu_uuids", lambda: ("uuid-a", "uuid-b", "uuid-c"))


@pytest.mark.usefixtures("three_gpus")
def test_every_worker_holds_a_gpu_of_its_own(tmp_path: Path) -> None:
    locks = tmp_path / "checkpoints" / "locks"  # of a first worker: neither is there yet
    with ExitStack() as workers:
        held = [workers.enter_context(held_device(text, i, locks)) for i, text in enumerate(("auto", "cuda", "auto"))]
        assert held == ["cuda:0", "cuda:1", "cuda:2"]
        with pytest.raises(NoFreeGpu, match=r"every GPU here \(3\) is held by another command.*--device cuda:N"):
            workers.enter_context(held_device("auto", 3, locks))
        assert workers.enter_context(held_device("cuda:1", 3, locks)) == "cuda:1", "shared, as was asked for"
        assert workers.enter_context(held_device("cpu", 3, locks)) == "cpu"


@pytest.mark.usefixtures("three_gpus")
def test_workers_of_one_pool_share_once_no_gpu_is_free(tmp_path: Path) -> None:
    def take(stack: ExitStack, index: int, pool: str) -> str | None:
        return stack.enter_context(held_device("auto", index, tmp_path, pool=pool))

    with ExitStack() as elsewhere:
        assert take(elsewhere, 0, "other") == "cuda:0"
        with ExitStack() as workers:
            # four workers for the two GPUs that are left: each first finds one of its own
            assert [take(workers, i, "mine") for i in range(4)] == ["cuda:1", "cuda:2", "cuda:2", "cuda:1"]
            assert take(elsewhere, 1, "other") == "cuda:0", "of its own only"
            with pytest.raises(NoFreeGpu):
                take(workers, 0, "")
        assert take(elsewhere, 1, "other") == "cuda:1", "free again, whoever had it"


@pytest.mark.usefixtures("three_gpus")
def test_a_gpu_that_is_held_elsewhere_is_passed_over_and_free_again_when_its_holder_is_killed(tmp_path: Path) -> None:
    script = """
import sys
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from rigl_core import runtime
from workers.devices import held_device
runtime.resolve_device = lambda text: "cuda"
runtime.gpu_uuids = lambda: ("uuid-c", "uuid-a")  # another container sees other GPUs, in another order
with held_device("auto", 1, Path(sys.argv[1])) as device:
    print(device, flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "cuda:1\n"
        with held_device("auto", 0, tmp_path) as device:
            assert device == "cuda:1", "uuid-a, the first here, is held"
        other.kill()
        other.wait()
        with held_device("auto", 0, tmp_path) as device:
            assert device == "cuda:0"


@pytest.mark.usefixtures("three_gpus")
def test_who_may_wait_gets_the_gpu_that_becomes_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "GPU_POLL_SECONDS", 0.01)
    waiting, got = Stop(), Queue[str | None]()

    def wait() -> None:
        with held_device("auto", 0, tmp_path, waiting) as device:
            got.put(device)

    with ExitStack() as others:
        held = {others.enter_context(held_device("auto", i, tmp_path)): i for i in range(2)}
        third = ExitStack()
        third.enter_context(held_device("auto", 2, tmp_path))
        assert set(held) == {"cuda:0", "cuda:1"}

        waiter = Thread(target=wait)
        waiter.start()
        while "waits until one is free" not in caplog.text:
            waiter.join(0.01)
        files = len(list(Path("/proc/self/fd").iterdir()))
        waiter.join(0.3)  # some thirty looks
        assert len(list(Path("/proc/self/fd").iterdir())) <= files + 1
        assert got.empty()
        third.close()
        assert got.get(timeout=LONG) == "cuda:2"
        waiter.join()

        with held_device("auto", 2, tmp_path):
            waiter = Thread(target=wait)
            waiter.start()
            waiting.request("test")
            assert got.get(timeout=LONG) is None
            waiter.join()


@pytest.mark.usefixtures("three_gpus")
def test_a_folder_without_room_for_locks_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoFreeGpu, match=r"no GPU can be locked in .*file"), held_device("auto", 0, tmp_path / "file"):
        pass


@pytest.mark.usefixtures("three_gpus")
@pytest.mark.parametrize(("device", "n_workers"), [("auto", 3), ("cuda", 3), ("cuda:2", 1), ("cpu", 1)])
def test_auto_is_a_worker_a_gpu(device: str, n_workers: int) -> None:
    assert one_per_gpu(device) == n_workers


def test_a_device_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="toaster"), held_device("toaster", 0, tmp_path):
        pass
    with pytest.raises(BadInput, match="toaster"):
        one_per_gpu("toaster")


def test_a_job_of_slurm_uses_the_cores_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = cores_available()
    for given, cores in (("1", 1), (str(everywhere + 1), everywhere), ("0", 1), ("", everywhere)):
        monkeypatch.setenv("SLURM_CPUS_ON_NODE", given)
        assert cores_available() == cores
