"""Which device and how many threads each of several workers on one machine gets."""

import os
from pathlib import Path

from studies.errors import BadInput

_CGROUP = Path("/sys/fs/cgroup")


def cores_available() -> int:
    """How many cores this process may use: what the scheduler allows, or the container's quota if that is less.

    In a job of SLURM no more than were given to it, also where SLURM does not bind jobs to their cores.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_ON_NODE", "")
    if given.isdecimal():
        allowed = max(1, min(allowed, int(given)))
    quota = _cgroup_quota(_CGROUP)
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def threads_per_worker(n_workers: int, cores: int | None = None) -> int:
    """How many threads each of `n_workers` computes with, so that together they are no more than the cores."""
    return max(1, (cores_available() if cores is None else cores) // n_workers)


def choose_device(text: str, index: int = 0) -> str:
    """The torch device of worker `index` (from 0).

    "auto" and "cuda" deal the GPUs of the machine out in turn; a device with a number is taken as it is.

    Raises:
        BadInput: not a device, or one this machine does not have.
    """
    from rigl_core.runtime import resolve_device  # loads torch

    device = resolve_device(text)
    if device != "cuda":
        return device
    return f"cuda:{index % _count_gpus()}"


def _count_gpus() -> int:
    from rigl_core.runtime import resolve_device

    n = 1
    while True:
        try:
            resolve_device(f"cuda:{n}")
        except BadInput:
            return n
        n += 1


def _cgroup_quota(root: Path) -> float | None:
    """Cores' worth of processor time the control group of this container may use; None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()  # version 2
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
