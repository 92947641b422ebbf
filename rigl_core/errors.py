"""The errors of the whole project: one root, so that the command line can print one clear line for each.

A message says what is wrong, which value it is, what is allowed and what to do.
"""

import difflib
from collections.abc import Iterable


class RiglStudyError(Exception):
    """Something went wrong that the user can read about in one line."""

    exit_code = 1


class BadInput(RiglStudyError):
    """What the user asked for is not possible as written; nothing was started."""

    exit_code = 2


class UnknownName(BadInput):
    """A name (method, model, data set, ...) that is not a key of its registry."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        swapped = [known for known in self.known if sorted(known) == sorted(name)]  # letters in the wrong order
        longer = [known for known in self.known if len(name) > 2 and known.startswith(name)]
        near = swapped or longer or difflib.get_close_matches(name, self.known, n=1, cutoff=0.5)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        super().__init__(f'unknown {kind} "{name}".{hint} Known: {", ".join(self.known)}.')


class DataUnavailable(RiglStudyError):
    """A data set, or masks to begin with, are neither on this machine nor to be had; the message says what to do."""


class CheckpointError(RiglStudyError):
    """A checkpoint is damaged, of another run, or cannot be written."""


class BadCheckpoint(CheckpointError, BadInput):
    """A file that is no checkpoint of the run that was to go on from it."""


class TrainingDiverged(RiglStudyError):
    """The loss became NaN or infinite."""
