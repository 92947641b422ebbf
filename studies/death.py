"""What becomes of a dead worker's ticket: it waits again, unless it may be what kills them."""

import logging

from optuna.trial import TrialState

from studies.attributes import ATTEMPT_ATTR, CLAIM_ATTR, deaths_in_a_row, successor_attrs
from studies.database.transactions import Transaction, TrialStore

log = logging.getLogger("rigl_study.queue")

MAX_DEATHS = 3
"""A ticket at which so many workers in a row died, none of them an epoch further, is not tried again: it may be what
kills them. One that gets further each time is only unlucky, and comes to its end."""


def bury(store: TrialStore, study_id: int, identity: str | None, study: str, trial_id: int) -> bool:
    """If the trial's worker is dead, fail the trial and let its ticket wait again: both or neither.

    Args:
        store: where the trial is.
        study_id: of its study.
        identity: the IDENTITY_ATTR of that.
        study: the name of that, for the log.
        trial_id: the trial.

    Returns:
        Whether the worker was dead, and nobody else has said so before.

    Raises:
        StorageError: the database is away for too long.
    """

    def change(transaction: Transaction) -> bool:
        trial = transaction.try_lock(trial_id)  # whoever changes it now is alive, or will be cut off (engines.py)
        if trial is None or (trial.study_id, trial.identity) != (study_id, identity):
            return False
        if trial.state != TrialState.RUNNING or not trial.is_stale():
            return False
        attempt, deaths = trial.system_attrs.get(ATTEMPT_ATTR, 1), deaths_in_a_row(trial)
        worker = str(trial.system_attrs.get(CLAIM_ATTR, "")).rpartition(":")[0]
        died = f"worker {worker} died: no sign of life"
        if deaths < MAX_DEATHS:
            transaction.append(study_id, [successor_attrs(trial, attempt=attempt + 1, deaths=deaths)])
            told = f"{died} (attempt {attempt}; the ticket waits again)"
        else:
            before = f"those of the {deaths - 1} attempts before, none an epoch further"
            told = f"{died}, as did {before}; it is not tried again (poison)"
        trial.set_user_attrs({"error": told, "worker": worker})
        trial.become(TrialState.FAIL)
        log.warning("%s, trial %d: %s.", study, trial.number, told)
        return True

    return store.run(change)
