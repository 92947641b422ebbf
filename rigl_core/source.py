"""The name of a run that another one begins from: "from:STUDY#TRIAL". Importing this does not import torch."""

import re
from dataclasses import dataclass
from pathlib import Path

from rigl_core.errors import BadInput

PREFIX = "from:"
_PART = "[A-Za-z0-9][A-Za-z0-9._-]*"  # no leading dot: the name becomes a path, which must stay in its folder
_PATTERN = re.compile(rf"{PREFIX}({_PART}/{_PART})#([0-9]{{1,9}})")


@dataclass(frozen=True)
class Source:
    """A finished trial that a run begins from.

    Attributes:
        study: its study, CAMPAIGN/METHOD-sSPARSITY-DISTRIBUTION.
        trial: its number in the study, from 0.
    """

    study: str
    trial: int

    @classmethod
    def parse(cls, text: str) -> "Source":
        """The source that a user means by "from:STUDY#TRIAL".

        Raises:
            BadInput: not of that form.
        """
        found = _PATTERN.fullmatch(text)
        if found is None:
            raise BadInput(f'"{text}" names no run; write from:STUDY#TRIAL, for example from:campaign/rigl-s0.9-erk#3.')
        return cls(found[1], int(found[2]))

    def __str__(self) -> str:
        return f"{PREFIX}{self.study}#{self.trial}"

    def masks_files(self, folder: Path) -> list[Path]:
        """The files of the checkpoint folder that may hold its final masks; which one does, its SHA-256 tells.

        A study has a folder with its name, and in it one for each time that a study of that name was created.
        """
        name = masks_file_of(self.trial)
        return [folder / self.study / name, *sorted((folder / self.study).glob(f"*/{name}"))]


def is_source(value: object) -> bool:
    """Whether a setting is meant to name a run, well or badly."""
    return isinstance(value, str) and value.startswith(PREFIX)


def masks_file_of(trial: int) -> str:
    """The name of the file, in the folder of its study, with the final masks of a trial.

    A function of the trial's own number, not of the ticket it stands in for: a worker that was thought dead and wakes
    up late writes over no file of its successor.
    """
    return f"{trial}.masks.pt"
