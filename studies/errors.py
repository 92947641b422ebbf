"""The error tree of the service. The root lives in `rigl_core.errors`, the lowest package, and is re-exported here."""

from collections.abc import Sequence

from rigl_core.errors import (
    BadInput,
    CheckpointElsewhere,
    CheckpointError,
    DataUnavailable,
    DeviceFailed,
    RiglStudyError,
    TrainingDiverged,
    UnknownName,
    nearest,
)

__all__ = [
    "BadInput",
    "CampaignExists",
    "CheckpointElsewhere",
    "CheckpointError",
    "DataUnavailable",
    "DeviceFailed",
    "LaunchError",
    "NotFound",
    "NotInstalled",
    "ReportIncomplete",
    "RiglStudyError",
    "SpecError",
    "SpecVersionError",
    "StorageError",
    "StorageUrlError",
    "TicketLost",
    "TrainingDiverged",
    "UnknownName",
    "nearest",
    "not_found",
]


class SpecError(BadInput):
    """A study specification that cannot be run as written."""


class StorageUrlError(BadInput):
    """A storage URL that is malformed or of a kind the service does not use."""


class CampaignExists(BadInput):
    """A different campaign of the same name is already stored."""


class NotFound(BadInput):
    """No campaign, study or trial of that name is stored."""


class StorageError(RiglStudyError):
    """The database could not be reached, even after retrying."""


class LaunchError(RiglStudyError):
    """Workers could not be started on a cluster, or ended there with an error."""


class NotInstalled(RiglStudyError):
    """What was asked for needs a package that this installation does without."""


class ReportIncomplete(RiglStudyError):
    """A report was written, but a part of it could not be made."""


class SpecVersionError(RiglStudyError):
    """The campaign was written by another version of rigl-study than this worker can run."""


class TicketLost(RiglStudyError):
    """The ticket was taken back (its worker was thought dead); whatever this worker did with it must not count."""


def not_found(kind: str, name: str, known: Sequence[str]) -> NotFound:
    """The error for a name that is not stored, with the nearest ones."""
    near = nearest(name, known, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else " `rigl-study list` shows what is stored."
    return NotFound(f'no {kind} "{name}" is stored.{hint}')
