"""Training that goes no further than a test allows, so that what the test does to it comes in the middle of it.

By itself a short training is over in half a second, and on a quick machine before anybody could do anything to it. This
imports next to nothing: processes that must start soon use it, too.
"""

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

LONG = 200  # seconds; a busy machine may need a minute to load torch


def wait_until(condition: Callable[[], bool], seconds: float = LONG) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)  # each look may read all trials


def allow(allowed: Path, epochs: int) -> None:
    """Let training that looks into this file go on for so many epochs."""
    new = allowed.with_suffix(".new")
    new.write_text(str(epochs))
    new.replace(allowed)


def held_after(allowed: Path, epochs: int) -> Path:
    """A file that is there once training is held after so many epochs."""
    return allowed.with_name(f"held-after-{epochs}")


def hold_training(allowed: str, module: str = "workers.objective") -> None:
    """Make the first step after an epoch take, in this process, until that file allows more epochs or a stop comes.

    Arguments:
        allowed: the file.
        module: which calls `train`.
    """
    file, caller = Path(allowed), importlib.import_module(module)
    train = caller.train  # type: ignore[attr-defined]

    def held_train(config: Any, *, should_stop: Callable[[], bool], on_step: Any = None, **arguments: Any) -> Any:
        def hold(step: int, n_steps: int) -> None:
            if on_step is not None:
                on_step(step, n_steps)
            epochs, step_of_epoch = divmod(step, n_steps // config.n_epochs)
            if step_of_epoch == 1 and epochs >= int(file.read_text()):
                held_after(file, epochs).touch()
                wait_until(lambda: epochs < int(file.read_text()) or should_stop())

        return train(config, should_stop=should_stop, on_step=hold, **arguments)

    caller.train = held_train  # type: ignore[attr-defined]


def program(module: str, before: str) -> list[str]:
    """`python -m MODULE`, to be followed by its arguments, that first runs `before`, where `held` is this module."""
    run = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport tests.held as held\n{before}\n{run}",
    ]


def popen_of_held_workers(allowed: Path) -> type["subprocess.Popen[str]"]:
    """`subprocess.Popen` for pools, whose workers then hold their training."""

    class Popen(subprocess.Popen[str]):
        def __init__(self, command: list[str], **options: Any) -> None:
            is_worker = command[-2:] == ["-m", "workers"]
            held = program("workers", f"held.hold_training({str(allowed)!r})")
            super().__init__(held if is_worker else command, **options)

    return Popen


def hold_workers(allowed: str) -> None:
    """Make the workers of this process's pools hold their training."""
    subprocess.Popen = popen_of_held_workers(Path(allowed))  # type: ignore[misc]
