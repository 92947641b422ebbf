"""Files that are there whole or not at all, and private to their owner."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new, empty file beside `path` (mode 0600) that takes its place when the body ends well, and is gone otherwise.

    Arguments:
        path: the file to be; its folder must exist.

    Yields:
        The new file, to be written by name.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    new = Path(name)
    try:
        yield new
        os.fsync(descriptor)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
