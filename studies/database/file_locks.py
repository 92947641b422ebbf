"""Locks on files that the kernel gives back when their holder dies, however it dies."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def open_lock(path: Path) -> int:
    """A descriptor of the lock file, created when missing and not inherited by child programs. The caller closes it."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file exclusively, waiting for it as long as it takes."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def try_locked(path: Path) -> Iterator[bool]:
    """Hold the file exclusively if nobody else does; yields whether it is held."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held = False
    else:
        held = True
    try:
        yield held
    finally:
        os.close(descriptor)


def can_be_shared(path: Path) -> bool:
    """Whether nobody holds the file exclusively just now."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def try_locked_by(path: Path, group: str, *, join: bool) -> Iterator[bool]:
    """Hold the file for a group; yields whether it is held.

    The file's content names the group that holds it. A group is a word that no other one has; "" is never shared.

    Arguments:
        path: the lock file.
        group: who holds it from then on.
        join: hold it together with others of this group; otherwise only if nobody holds it.
    """
    descriptor = open_lock(path)
    try:
        yield (_join if join else _found)(descriptor, group.encode())
    finally:
        os.close(descriptor)


def _found(descriptor: int, group: bytes) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, group, 0)
        if group:  # let others of the group in; fails if another one came in between, which has it then
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return not group or os.pread(descriptor, len(group) + 1, 0) == group


def _join(descriptor: int, group: bytes) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return bool(group) and os.pread(descriptor, len(group) + 1, 0) == group
