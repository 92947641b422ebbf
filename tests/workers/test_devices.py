"""Cores and devices of several workers on one machine."""

from pathlib import Path

import pytest

from rigl_core import runtime
from studies.errors import BadInput
from workers import devices
from workers.devices import choose_device, cores_available, threads_per_worker


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


def test_gpus_are_dealt_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(text: str) -> str:
        if text not in ("auto", "cuda", "cuda:0", "cuda:1", "cuda:2", "cpu"):
            raise BadInput(f"no {text}")
        return "cuda" if text == "auto" else text

    monkeypatch.setattr(runtime, "resolve_device", resolve)
    assert [choose_device("auto", i) for i in range(4)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert choose_device("cuda:2", 0) == "cuda:2"
    assert choose_device("cpu", 3) == "cpu"


def test_a_device_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="toaster"):
        choose_device("toaster")


def test_a_job_of_slurm_uses_the_cores_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = cores_available()
    for given, cores in (("1", 1), (str(everywhere + 1), everywhere), ("0", 1), ("", everywhere)):
        monkeypatch.setenv("SLURM_CPUS_ON_NODE", given)
        assert cores_available() == cores
