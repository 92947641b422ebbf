"""The machine a run happens on: device, threads, random numbers, versions."""

import contextlib
import hashlib
import platform
import socket
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from rigl_core.errors import BadInput, DeviceFailed

CPUINFO = Path("/proc/cpuinfo")
"""Where Linux names the CPUs."""


def derive_seed(seed: int, *words: object) -> int:
    """A seed for one purpose of one replica, a pure function of its arguments: 0 <= seed < 2**63.

    Every purpose (weights, masks, data order, ...) has its own stream, so that using more random numbers for one
    never shifts another, and a replica's stream does not depend on who trains beside it.
    """
    text = "/".join(map(str, (seed, *words)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(seed: int, *words: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device`, seeded by `derive_seed`."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *words))


def resolve_device(text: str = "auto") -> str:
    """The torch device a user means by "auto", "cpu", "cuda", "cuda:N" or "mps"; "auto" takes a GPU if there is one.

    Raises:
        BadInput: not a device, or one this machine does not have.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if text == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    try:
        device = torch.device(text)
    except RuntimeError:
        raise BadInput(f'device "{text}" is unknown; use auto, cpu, cuda, cuda:N or mps.') from None
    n_gpus = torch.cuda.device_count() if cuda else 0
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        raise BadInput(f'device "{text}" is not on this machine, which has {n_gpus} CUDA devices; use auto or cpu.')
    if device.type == "mps" and not mps:
        raise BadInput('device "mps" is not on this machine; use auto or cpu.')
    if device.type not in ("cpu", "cuda", "mps"):
        raise BadInput(f'device "{text}" is not supported; use auto, cpu, cuda, cuda:N or mps.')
    return text


@contextlib.contextmanager
def told_of_device_failures(device: str) -> Iterator[None]:
    """Within it, what a GPU says that cannot compute any more becomes DeviceFailed.

    A lack of its memory is no such thing. Libraries (cuDNN, cuBLAS, Triton) have words of their own for a failure, so
    after any error the device is asked whether it still computes.
    """
    try:
        yield
    except torch.AcceleratorError as error:
        raise _failed(error) from error
    except RuntimeError as error:
        if torch.device(device).type == "cuda" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            try:
                torch.cuda.synchronize(device)
            except torch.AcceleratorError as failure:
                raise _failed(failure) from error
        raise


def _failed(error: torch.AcceleratorError) -> DeviceFailed:
    return DeviceFailed(f"the device stopped computing: {str(error).strip().splitlines()[0]}")


def check_computes(device: str) -> None:
    """Let the device compute something.

    Raises:
        DeviceFailed: it does not.
    """
    with told_of_device_failures(device):
        int(torch.ones((), device=device) + 1)


def count_gpus() -> int:
    """How many CUDA GPUs this process can see. Touches none of them."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def gpu_uuids() -> tuple[str, ...]:
    """What names each CUDA GPU that this process can see, on this machine and any other, in the order of `cuda:N`."""
    return tuple(str(torch.cuda.get_device_properties(number).uuid) for number in range(count_gpus()))


def set_threads(n: int) -> None:
    """Let this process compute with `n` threads."""
    torch.set_num_threads(n)


def get_threads() -> int:
    """How many threads this process computes with."""
    return torch.get_num_threads()


@contextlib.contextmanager
def computing_with(threads: int | None) -> Iterator[None]:
    """Within it, compute with so many threads, however many cores there are; None changes nothing.

    Sums are split between threads, so that their last bits depend on the number of threads (not of cores).
    """
    before = torch.get_num_threads()
    set_threads(before if threads is None else threads)
    try:
        yield
    finally:
        set_threads(before)


def environment(device: str) -> dict[str, str]:
    """Versions, device and host, for the record of a run."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else _cpu_name()
    return {
        "rigl_study": _own_version(),
        "torch": str(torch.__version__),  # which is of a class of its own
        "python": platform.python_version(),
        "device": kind,
        "device_name": name,
        "threads": str(get_threads()),
        "host": socket.gethostname(),
    }


def _cpu_name() -> str:
    """The model of the CPU and the instructions PyTorch uses of it: both decide how sums are ordered."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:  # no Linux
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    model = next(models, "") or platform.processor() or platform.machine()
    return f"{model} ({torch.backends.cpu.get_cpu_capability()})"


def _own_version() -> str:
    """Of this package, which also runs from a bare copy of its source."""
    try:
        return version("rigl-study")
    except PackageNotFoundError:
        return "not installed"
