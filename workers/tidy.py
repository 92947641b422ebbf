"""What a study leaves in the checkpoint folder when it is over. The worker that sees the end sweeps."""

import logging
import re
from pathlib import Path

from studies.tickets import TicketQueue

log = logging.getLogger("rigl_study.worker")

_OURS = re.compile(r"\d+(\.masks)?\.pt|\.\d+(\.masks)?\.pt\.\w+")  # checkpoint, masks, and either half written


def tidy(queue: TicketQueue, checkpoint_dir: Path) -> int:
    """Remove what dead workers left: half-written files, masks nobody was told of, checkpoints of what is complete.

    A worker that was frozen and writes late does so before it asks for a ticket, and then sweeps itself.

    Arguments:
        queue: of the study. Nothing is removed while one of its trials waits or runs.
        checkpoint_dir: the folder of all workers' checkpoints.

    Returns:
        How many files were removed.

    Raises:
        NotFound: the study was deleted.
        StorageError: the database is away for too long.
    """
    folder = checkpoint_dir / queue.folder
    # Listed before the trials are read: what a ticket issued meanwhile writes is not on the list.
    found = [path for path in folder.glob("*") if _OURS.fullmatch(path.name)] if folder.is_dir() else []
    kept = queue.files_kept()
    if kept is None:
        return 0
    left = [path for path in found if path.name not in kept]
    for path in left:
        forget(path)
    if left:
        log.info("%s is over; removed %d files that dead workers left", queue.name, len(left))
    return len(left)


def forget(path: Path) -> None:
    """Remove a file that nobody needs any more. A folder that went away or is read-only now is no reason to fail."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("cannot remove %s, which is not needed any more: %s", path, error.strerror)
