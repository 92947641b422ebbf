"""A study is stored with all its tickets at once, and found again by its name."""

import secrets
from collections.abc import Mapping
from typing import Any

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from studies.attributes import (
    CAMPAIGN_ATTR,
    METRIC_NAMES_ATTR,
    PAIR_ATTR,
    PLANNED_ATTR,
    VERSION_ATTR,
    check_version,
    stored_spec,
    ticket_attrs,
)
from studies.database.transactions import CONTROL_ATTR, IDENTITY_ATTR, SPEC_ATTR, Transaction
from studies.database.trial_store import trial_store
from studies.errors import CampaignExists
from studies.spec import SPEC_VERSION, StudyPlan


def store_study(storage: BaseStorage, plan: StudyPlan) -> tuple[int, Mapping[str, Any]]:
    """Store a study with all its tickets, or find what was stored of the same plan; see `TicketQueue.create`.

    Returns:
        Its number in the storage, and its user attributes.

    Raises:
        CampaignExists: a study of that name is stored, with another specification.
        SpecVersionError: or in another format.
        StorageError: the database is away for too long.
    """
    study_id = find_study(storage, plan.name)
    if study_id is None:
        try:
            study_id = storage.create_new_study([StudyDirection.MAXIMIZE], plan.name)
        except DuplicatedStudyError:  # another process was faster
            study_id = storage.get_study_id_from_name(plan.name)
    storage.set_study_system_attr(study_id, METRIC_NAMES_ATTR, ["val_accuracy"])
    tickets = [ticket_attrs(plan, params) for params in plan.tickets()]
    attrs = {
        CAMPAIGN_ATTR: plan.spec.name,
        CONTROL_ATTR: "run",
        IDENTITY_ATTR: secrets.token_hex(8),
        PAIR_ATTR: dict(plan.pair),
        SPEC_ATTR: plan.spec.canonical_json(),
        VERSION_ATTR: SPEC_VERSION,
        PLANNED_ATTR: len(tickets),
    }

    def plan_once(transaction: Transaction) -> Mapping[str, Any]:
        stored = transaction.study_attrs(study_id)
        if PLANNED_ATTR in stored:
            return stored
        transaction.append(study_id, tickets)
        transaction.set_study_attrs(study_id, attrs)
        return attrs

    stored = trial_store(storage).run(plan_once)
    check_version(plan.name, stored)
    same_text = stored[SPEC_ATTR] == attrs[SPEC_ATTR]
    if not same_text and stored_spec(plan.name, stored) != plan.spec:
        raise CampaignExists(f'a different study "{plan.name}" is already stored; choose another name.')
    return study_id, stored


def find_study(storage: BaseStorage, name: str) -> int | None:
    """The number of the study of that name; None if there is none."""
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        return None
