"""Python processes of our own: how one is started, and in what words its end is told. Standard library only."""

import os
import signal
import sys
from collections.abc import Mapping


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules; with `import_path`, whatever the current folder holds.

    Without -P a file `workers.py` of the user's would be run instead of ours.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def import_path() -> Mapping[str, str]:
    """The variable with which a new process finds the modules that this one finds."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def how_it_ended(code: int) -> str:
    """The end of a process in words.

    Args:
        code: as `subprocess` tells it: an exit code, or a signal's number below 0.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.strsignal(-code) or "unknown"
    guess = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"was killed by signal {-code} ({name}){guess}"
