"""The errors of the whole project: one root, so that the command line can print one clear line for each.

A message says what is wrong, which value it is, what is allowed and what to do.
"""

import difflib
import re
from collections.abc import Iterable, Sequence


def nearest(name: str, known: Sequence[str], n: int = 1) -> list[str]:
    """Up to `n` of the known names that are most like `name`: "cifar10" for "CIFAR-10", "rigl" for "rgil"."""
    plain = {one: _plain(one) for one in known}
    same = [one for one in known if plain[one] == _plain(name)]
    swapped = [one for one in known if sorted(one) == sorted(name)]  # letters in the wrong order
    longer = [one for one in known if len(name) > 2 and plain[one].startswith(_plain(name))]
    close = difflib.get_close_matches(_plain(name), list(plain.values()), n=n, cutoff=0.5)
    return (same or swapped or longer)[:n] or [one for text in close for one in known if plain[one] == text][:n]


def _plain(name: str) -> str:
    """Without capitals and without what separates words, which nobody remembers."""
    return re.sub(r"[-_ .]", "", name.lower()) or name


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
        near = nearest(name, self.known)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        super().__init__(f'unknown {kind} "{name}".{hint} Known: {", ".join(self.known)}.')


class DataUnavailable(RiglStudyError):
    """A data set, masks or a checkpoint to begin with cannot be had on this machine; the message says what to do."""


class CheckpointError(RiglStudyError):
    """A checkpoint is damaged, of another run, or cannot be written."""


class BadCheckpoint(CheckpointError, BadInput):
    """A file that is no checkpoint of the run that was to go on from it."""


class CheckpointElsewhere(BadCheckpoint):
    """A checkpoint that may be good, from which another machine can go on but not this one."""


class TrainingDiverged(RiglStudyError):
    """The loss became NaN or infinite."""


class DeviceFailed(RiglStudyError):
    """The device stopped computing, and no training of this process can use it any more."""
