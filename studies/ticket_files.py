"""Which files of the checkpoint folder a study still needs, by what its trials have come to."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from studies.attributes import ROOT_ATTR
from studies.database.transactions import RETRY_OF_ATTR


def folder_of(study: str, identity: str | None) -> str:
    """Where the files of a study are, relative to the checkpoint folder.

    Each study has a folder of its own, also one that has the name of a deleted study: a worker that still trains the
    deleted one must not write over the files of the new one, nor the new one begin from those.

    Args:
        study: its name.
        identity: its IDENTITY_ATTR; None for a study that version 0.1 stored, whose files have no such folder.
    """
    return study if identity is None else f"{study}/{identity}"


def files_kept(trials: Sequence[FrozenTrial]) -> frozenset[str] | None:
    """The files worth keeping of a study that is over, by name; None while a trial waits or runs.

    They are the final masks of complete trials, for other runs to begin from, and the checkpoints of failed ones,
    which `retry` goes on from.
    """
    if not all(trial.state.is_finished() for trial in trials):
        return None
    retried = {trial.system_attrs.get(RETRY_OF_ATTR) for trial in trials}
    kept = set()
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            kept.add(f"{trial.number}.masks.pt")
        elif trial.state == TrialState.FAIL and trial.number not in retried:
            kept.add(f"{trial.system_attrs.get(ROOT_ATTR, trial.number)}.pt")
    return frozenset(kept)
