"""All studies made from one specification, as one thing: create, list, steer, count, delete."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from optuna.storages import BaseStorage

from studies.attributes import CAMPAIGN_ATTR, PLANNED_ATTR, check_version, stored_spec
from studies.database.storage_url import StorageUrl
from studies.database.transactions import CONTROL_ATTR, SPEC_ATTR, Counts, StudyIdentity, Transaction
from studies.database.trial_store import trial_store
from studies.errors import BadInput, CampaignExists, NotFound, not_found
from studies.overview import CampaignSummary, StudyRow, interrupted, summaries
from studies.spec import StudySpec
from studies.storage import exclusive
from studies.tickets import TicketQueue

Control = Literal["run", "pause", "stop"]


@dataclass(frozen=True)
class Campaign:
    """A stored campaign.

    Attributes:
        spec: what was asked for.
        queues: one for each study, in the order of the specification.
    """

    spec: StudySpec
    queues: tuple[TicketQueue, ...]


def create_campaign(storage: BaseStorage, spec: StudySpec) -> list[TicketQueue]:
    """Store a campaign with all its tickets. The same one again adds nothing, or what a crash left out.

    Arguments:
        storage: what `open_storage` returned.
        spec: the campaign.

    Returns:
        The queues, in the order of the specification.

    Raises:
        CampaignExists: another campaign of that name is stored; the message names the first difference.
        SpecVersionError: it is stored in another format.
        StorageError: the database is away for too long.
    """
    with exclusive(storage, f"campaign {spec.name}"):
        for study in _studies_of(storage, spec.name):
            check_version(study.name, study.attrs)
            if study.attrs[SPEC_ATTR] == spec.canonical_json():  # the quick way: parsing checks a whole search box
                continue
            stored = stored_spec(study.name, study.attrs)
            if stored != spec:
                raise CampaignExists(
                    f"a different campaign {spec.name} is stored: "
                    f"{_first_difference(stored.model_dump(mode='json'), spec.model_dump(mode='json'))}. "
                    f"Give this one another name (--name), or remove that one (`rigl-study delete {spec.name} --yes`)."
                )
        return [TicketQueue.create(storage, plan) for plan in spec.plans()]


def open_campaign(storage: BaseStorage, name: str) -> Campaign:
    """A stored campaign with its queues.

    Raises:
        NotFound: no such campaign is stored.
        BadInput: its creation was interrupted.
        SpecVersionError: it is stored in another format.
        StorageError: the database is away for too long.
    """
    studies = {study.name: study for study in _stored_studies(storage, name)}
    for study in studies.values():
        check_version(study.name, study.attrs)
    spec = stored_spec(name, next(iter(studies.values())).attrs)
    plans = spec.plans()
    missing = [plan.name for plan in plans if plan.name not in studies]
    if missing:
        raise interrupted(name, len(missing), len(plans))
    queues = (
        TicketQueue(storage, study.study_id, plan, study.identity) for plan in plans for study in [studies[plan.name]]
    )
    return Campaign(spec, tuple(queues))


def campaign_names(storage: BaseStorage) -> list[str]:
    """The names of all stored campaigns, sorted.

    Raises:
        StorageError: the database is away for too long.
    """
    attrs = [study.user_attrs for study in storage.get_all_studies()]
    return sorted({a[CAMPAIGN_ATTR] for a in attrs if PLANNED_ATTR in a})


def list_campaigns(storage: BaseStorage) -> list[CampaignSummary]:
    """Every stored campaign, by name.

    Raises:
        StorageError: the database is away for too long.
    """
    return summaries(study_rows(storage))


def study_rows(storage: BaseStorage) -> list[StudyRow]:
    """Every stored study, in the order of creation, for `studies.overview`.

    Raises:
        StorageError: the database is away for too long.
    """
    rows = []
    for study in sorted(storage.get_all_studies(), key=lambda study: study._study_id):
        counts = trial_store(storage).run(partial(_counts_of, study._study_id, StudyIdentity.of(study.user_attrs)))
        if counts is not None:
            rows.append(StudyRow(study.study_name, study.user_attrs, counts))
    return rows


def _counts_of(study_id: int, identity: StudyIdentity, transaction: Transaction) -> Counts | None:
    """The counts of a study; None if it was deleted meanwhile."""
    try:
        is_same = StudyIdentity.of(transaction.glance(study_id)) == identity
    except KeyError:
        return None
    return transaction.counts(study_id) if is_same else None


def set_control(storage: BaseStorage, name: str, control: Control) -> None:
    """Steer the workers of a campaign: of all its studies at once, or of none if the database refuses.

    Arguments:
        storage: what `open_storage` returned.
        name: of the campaign.
        control: "run"; "pause": hand out no more tickets, running trials go on; "stop": running trials are given back
            with their checkpoints as well, and workers of this campaign end.

    Raises:
        NotFound: no such campaign is stored.
        StorageError: the database is away for too long.
    """
    # In one order always, so that two who steer at once do not wait for each other.
    studies = sorted(_stored_studies(storage, name), key=lambda study: study.study_id)

    def steer(transaction: Transaction) -> None:
        for study in studies:
            if StudyIdentity.of(transaction.study_attrs(study.study_id)) != study.identity:
                raise KeyError(study.study_id)
        for study in studies:
            transaction.set_study_attrs(study.study_id, {CONTROL_ATTR: control})

    try:
        trial_store(storage).run(steer)
    except KeyError:  # deleted a moment ago
        raise not_found("campaign", name, campaign_names(storage)) from None


def delete_campaign(storage: BaseStorage, name: str) -> int:
    """Delete a campaign with all its trials, or nothing of it. Workers that train one of them notice, and drop it.

    Returns:
        How many studies were deleted.

    Raises:
        NotFound: no such campaign is stored.
        StorageError: the database is away for too long.
    """
    with exclusive(storage, f"campaign {name}"):
        studies = sorted(_stored_studies(storage, name), key=lambda study: study.study_id)

        def delete(transaction: Transaction) -> None:
            for study in studies:
                with suppress(KeyError):  # it is gone: by an attempt before this one, or by the dashboard
                    if StudyIdentity.of(transaction.glance(study.study_id)) == study.identity:
                        transaction.delete_study(study.study_id)

        trial_store(storage).run(delete)
        return len(studies)


def check_worker_count(url: StorageUrl, n_workers: int) -> None:
    """Refuse more workers than the storage can serve.

    Raises:
        BadInput: fewer than one, or more than one on SQLite or in memory.
    """
    if n_workers < 1:
        raise BadInput(f"{n_workers} workers; at least 1 is needed.")
    if n_workers > 1 and url.kind != "postgresql":
        raise BadInput(
            f"{url} takes one worker, not {n_workers}: it locks the whole file for every change. "
            "Use Postgres for more; without --storage the embedded one is started."
        )


@dataclass(frozen=True)
class _Study:
    name: str
    study_id: int
    attrs: Mapping[str, Any]

    @property
    def identity(self) -> StudyIdentity:
        return StudyIdentity.of(self.attrs)


def _studies_of(storage: BaseStorage, campaign: str) -> list[_Study]:
    """The completely created studies of a campaign."""
    return [
        _Study(study.study_name, study._study_id, study.user_attrs)
        for study in storage.get_all_studies()
        if PLANNED_ATTR in study.user_attrs and study.user_attrs[CAMPAIGN_ATTR] == campaign
    ]


def _stored_studies(storage: BaseStorage, campaign: str) -> list[_Study]:
    studies = _studies_of(storage, campaign)
    if not studies:
        if any(one.study_name == campaign and CAMPAIGN_ATTR not in one.user_attrs for one in storage.get_all_studies()):
            raise NotFound(
                f"{campaign} is a study of another program, and no campaign; "
                f"`rigl-study report --optuna-study {campaign}` reports on it."
            )
        raise not_found("campaign", campaign, campaign_names(storage))
    return studies


def _first_difference(stored: Any, wanted: Any, where: str = "") -> str:
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in [*stored, *(key for key in wanted if key not in stored)]:
            path = f"{where}.{key}" if where else key
            if key not in wanted:
                return f"{path} is {stored[key]!r} there and missing here"
            if key not in stored:
                return f"{path} is missing there and {wanted[key]!r} here"
            if stored[key] != wanted[key]:
                return _first_difference(stored[key], wanted[key], path)
    return f"{where} is {stored!r} there and {wanted!r} here"
