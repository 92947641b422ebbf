"""Compile and load the C of this package. Nothing is kept: it takes under a second, once in the life of a process."""

import ctypes
import logging
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path

log = logging.getLogger("rigl_study.train")

COMPILERS = ("cc", "gcc", "clang")
COMPILE = ("-O3", "-march=native", "-ffp-contract=fast", "-fPIC", "-fopenmp", "-std=gnu11", "-w", "-c")
SECONDS = 60


class NoNativeCode(Exception):
    """Why there is none on this machine, in words."""


@cache
def convolution() -> ctypes.CDLL | str:
    """The library made of `convolution.c`, or why this machine cannot have it. Asked once in a process."""
    library = _built("convolution.c", otherwise="convolutions are computed densely")
    if isinstance(library, str):
        return library
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    library.rigl_convolve.argtypes = [pointer] * 7 + [integer]
    library.rigl_correlate.argtypes = [pointer] * 8 + [integer]
    for function in (library.rigl_convolve, library.rigl_correlate):
        function.restype = None
    return library


@cache
def topology() -> ctypes.CDLL | str:
    """The library made of `topology.c`, or why this machine cannot have it. Asked once in a process."""
    library = _built("topology.c", otherwise="topology steps are computed by NumPy, and masks are kept as numbers, too")
    if isinstance(library, str):
        return library
    library.rigl_drop_and_grow.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int]
    library.rigl_drop_and_grow.restype = ctypes.c_int
    library.rigl_zero_outside.argtypes = [ctypes.c_void_p, *[ctypes.c_int] * 3]
    library.rigl_zero_outside.restype = None
    return library


def c_compiler() -> str | None:
    """Where the C compiler of this machine is."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def _built(source: str, *, otherwise: str) -> ctypes.CDLL | str:
    try:
        return _build(source)
    except NoNativeCode as error:
        log.info("%s: %s", otherwise, error)
        return str(error)


def _build(source: str) -> ctypes.CDLL:
    compiler = c_compiler()
    if compiler is None:
        raise NoNativeCode("there is no C compiler")
    try:
        with tempfile.TemporaryDirectory(prefix="rigl-study-native-") as folder:
            made, library = str(Path(folder, "made.o")), str(Path(folder, "made.so"))
            text = files("rigl_core.native").joinpath(source).read_bytes()
            _run([compiler, *COMPILE, "-x", "c", "-", "-o", made], text)
            # Linked without an OpenMP library of its own: it then uses torch's, and with it torch's threads. Two sets
            # of threads that wait for work by spinning would take the cores from each other.
            _run([compiler, "-shared", made, "-o", library])
            return ctypes.CDLL(library)
    except OSError as error:  # a folder that cannot be written or executed from, a symbol that torch does not have
        raise NoNativeCode(f"what {compiler} made cannot be loaded ({error})") from error


def _run(command: list[str], text: bytes = b"") -> None:
    try:
        done = subprocess.run(command, input=text, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NoNativeCode(f"{command[0]} did not end within {SECONDS} s") from None
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise NoNativeCode(f"{command[0]} failed ({told[0] if told else done.returncode})")
