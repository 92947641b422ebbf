"""Sections that do something to the process that makes them. This imports next to nothing: a process starts at once."""

import os
import signal
from pathlib import Path


def ends(known: str) -> str:
    """What is known, though a second process dies on it: one that leads its group, which the first does not."""
    if os.getpgrp() == os.getpid():
        os.kill(os.getpid(), signal.SIGKILL)
    return f"told {known}"


def waits(fifo: Path) -> str:
    """Never done; somebody who reads from `fifo` knows when it has begun."""
    fifo.write_text("begun")
    signal.pause()
    return "woken"
