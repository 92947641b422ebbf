"""Which device and how many threads each of several workers on one machine gets."""

import contextlib
import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from studies.database.file_locks import try_locked_by
from studies.errors import RiglStudyError
from workers.stop import Stop

log = logging.getLogger("rigl_study.worker")

GPU_POLL_SECONDS = 5.0
FEWER_THREADS = ("OMP_DYNAMIC", "OMP_THREAD_LIMIT")
"""Variables by which OpenMP computes with fewer threads than it is told, and so with other last bits."""
_CGROUP = Path("/sys/fs/cgroup")


class NoFreeGpu(RiglStudyError):
    """Every GPU of this machine has a worker already."""


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


def one_per_gpu(device: str) -> int:
    """How many workers suit this machine: one for each GPU if `device` means any of them, else one.

    Arguments:
        device: what the user asks for: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        BadInput: not a device, or one this machine does not have.
    """
    from rigl_core.runtime import count_gpus, resolve_device  # loads torch

    return count_gpus() if resolve_device(device) == "cuda" else 1


@contextlib.contextmanager
def held_device(
    text: str, index: int, locks: Path, wait: Stop | None = None, *, pool: str = ""
) -> Iterator[str | None]:
    """The torch device of worker `index` (from 0), for as long as the body runs.

    "auto" and "cuda" take a GPU that no other worker holds, be it of this pool, of another one or in another
    container. It is held by a lock on a file named after the GPU, which the kernel gives back however the worker ends.
    Where more workers were asked for than there are GPUs, those of one pool share: that is no accident. A device with
    a number is taken as it is, shared or not.

    Arguments:
        text: "auto", "cpu", "cuda", "cuda:N" or "mps".
        index: which GPU to try first.
        locks: folder of the locks; only workers with the same one know of each other.
        wait: where all GPUs are held, wait for one until this is requested; the body then gets None.
        pool: a word that only workers of the same pool have; "" shares with nobody.

    Raises:
        BadInput: not a device, or one this machine does not have.
        NoFreeGpu: all GPUs are held and there is no `wait`, or the locks cannot be used.
    """
    from rigl_core.runtime import gpu_uuids, resolve_device

    device = resolve_device(text)
    if device != "cuda":
        yield device
        return
    gpus = gpu_uuids()
    with contextlib.ExitStack() as held:
        number = _take_one(gpus, index, locks, pool, held)
        if number is None:
            told = (
                f"every GPU here ({len(gpus)}) is held by another command, says {locks}; wait for that one, or name a "
                "GPU with --device cuda:N to share it."
            )
            if wait is None:
                raise NoFreeGpu(told)
            log.warning("%s This one waits until one is free.", told)
            while number is None and not wait.wait(GPU_POLL_SECONDS):
                number = _take_one(gpus, index, locks, pool, held)
        yield None if number is None else f"cuda:{number}"


def _take_one(gpus: tuple[str, ...], first: int, locks: Path, pool: str, held: contextlib.ExitStack) -> int | None:
    """The number of a GPU that was free, or else is the pool's, its lock now kept by `held`; None if there is none."""
    try:
        locks.mkdir(parents=True, exist_ok=True)
        in_turn = [(first + turn) % len(gpus) for turn in range(len(gpus))]
        for join, number in itertools.product((False, True), in_turn):
            with contextlib.ExitStack() as attempt:
                if attempt.enter_context(try_locked_by(locks / f"{gpus[number]}.lock", pool, join=join)):
                    held.enter_context(attempt.pop_all())
                    return number
    except OSError as error:
        raise NoFreeGpu(
            f"no GPU can be locked in {locks}: {error.strerror or error}. Choose other --checkpoints, or name a GPU "
            "with --device cuda:N, which is then not kept from other workers."
        ) from error
    return None


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
