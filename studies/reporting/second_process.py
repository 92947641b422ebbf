"""A second process makes some sections of a large report while the first makes the others.

Sections are pure functions, so the report is the same. What they look at goes over a pipe to a fresh interpreter, which
has no thread, lock or connection of this one's and does not run the caller's script again. It ends with this process,
however that ends; and if it fails, this process makes its sections after all. This module imports next to nothing: the
new process reads what it was sent, and lets this one go on, before it imports the rest.
"""

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from studies.child import how_it_ended, import_path, python

if TYPE_CHECKING:
    from studies.reporting.section import Evidence, MakeSection, Section

logger = logging.getLogger("rigl_study.report")

LARGE = 1_000
"""Trials from which it pays: a process takes two seconds of computing to start, and the memory of what it imports."""


@contextlib.contextmanager
def sections_made_apart(
    makers: "Sequence[MakeSection]", known: "Evidence", style: str
) -> "Iterator[Callable[[], Sequence[Section | None]]]":
    """Have sections made while the body runs; what is given waits for them, in the order of `makers`.

    Args:
        makers: functions of modules, which know of no column that `known` lacks.
        known: what they look at; all of it is copied.
        style: what they draw in.
    """
    ours, theirs = Pipe()
    with ours:
        with theirs:
            descriptor = theirs.fileno()
            process = subprocess.Popen(
                python(__name__, str(descriptor)),
                stdin=subprocess.DEVNULL,
                pass_fds=[descriptor],
                process_group=0,  # Ctrl-C is this process's to answer
                env={**os.environ, **import_path()},
            )

        def made() -> "Sequence[Section | None]":
            try:
                found: Sequence[Section | None] = ours.recv()
            except (EOFError, OSError):
                end = how_it_ended(process.wait())
                logger.warning("the second process of this report ended early: it %s; its sections are made here", end)
                return [make(known) for make in makers]
            return found

        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # `made` will tell
                ours.send((makers, known, style))
            yield made
        finally:
            process.kill()
            process.wait()


def _serve(descriptor: int) -> None:
    """Make what is asked for, and answer."""
    with Connection(descriptor) as asker:
        try:
            makers, known, style = asker.recv()
        except EOFError:
            return
        threading.Thread(target=_end_with, args=(asker,), daemon=True).start()
        from studies.reporting.computing import computing
        from studies.reporting.figure_style import drawn_in

        with computing(), drawn_in(style):
            asker.send([make(known) for make in makers])


def _end_with(asker: Connection) -> None:
    """End this process when the other end of the pipe is closed, as it is when that process ends."""
    asker.poll(None)
    os._exit(1)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
