"""All studies made from one specification, as one thing: create, list, steer, count, delete."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from optuna.storages import BaseStorage

from studies.attributes import CAMPAIGN_ATTR, CONTROL_ATTR, PLANNED_ATTR, SPEC_ATTR, VERSION_ATTR, check_version
from studies.database.storage_url import StorageUrl
from studies.database.transactions import Counts
from studies.database.trial_store import trial_store
from studies.errors import BadInput, CampaignExists, not_found
from studies.spec import SPEC_VERSION, StudySpec
from studies.storage import exclusive
from studies.tickets import TicketQueue

Control = Literal["run", "pause", "stop"]
State = Literal["waiting", "running", "paused", "stopped", "complete"]

_COUNTED = ("waiting", "running", "complete", "pruned", "failed", "retried")


@dataclass(frozen=True)
class Campaign:
    """A stored campaign.

    Attributes:
        spec: what was asked for.
        queues: one for each study, in the order of the specification.
    """

    spec: StudySpec
    queues: tuple[TicketQueue, ...]


@dataclass(frozen=True)
class CampaignSummary:
    """A line of `rigl-study list`.

    Attributes:
        name: of the campaign.
        description: as specified; empty if it was stored in a format this version cannot read.
        state: as `campaign_status` gives it; "incomplete" if its creation was interrupted.
        n_studies: how many studies are stored.
        counts: how many trials are in which state, over all studies; `best` is the best of all.
    """

    name: str
    description: str
    state: State | Literal["incomplete"]
    n_studies: int
    counts: Counts


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
            stored = StudySpec.model_validate_json(study.attrs[SPEC_ATTR])
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
    spec = StudySpec.model_validate_json(next(iter(studies.values())).attrs[SPEC_ATTR])
    plans = spec.plans()
    missing = [plan.name for plan in plans if plan.name not in studies]
    if missing:
        raise BadInput(
            f"the creation of campaign {name} was interrupted: {len(missing)} of its {len(plans)} studies are missing. "
            "`rigl-study create` with the same specification completes it."
        )
    return Campaign(spec, tuple(TicketQueue(storage, studies[plan.name].study_id, plan) for plan in plans))


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
    return [_summary(storage, name) for name in campaign_names(storage)]


def campaign_status(storage: BaseStorage, name: str) -> dict[str, Any]:
    """How far a campaign is: the content of `status NAME --json`.

    Returns:
        `{"campaign", "state", "studies": [{"name", "waiting", "running", "complete", "pruned", "failed", "retried",
        "best"}]}`; state is waiting, running, paused, stopped or complete.

    Raises:
        NotFound: no such campaign is stored.
        BadInput: its creation was interrupted.
        SpecVersionError: it is stored in another format.
        StorageError: the database is away for too long.
    """
    campaign = open_campaign(storage, name)
    counts = {queue.name: queue.counts() for queue in campaign.queues}
    return {
        "campaign": name,
        "state": _state(_sum(counts.values()), campaign.queues[0].control()),
        "studies": [{"name": study, **asdict(counted)} for study, counted in counts.items()],
    }


def set_control(storage: BaseStorage, name: str, control: Control) -> None:
    """Steer the workers of a campaign.

    Arguments:
        storage: what `open_storage` returned.
        name: of the campaign.
        control: "run"; "pause": hand out no more tickets, running trials go on; "stop": running trials are given back
            with their checkpoints as well, and workers of this campaign end.

    Raises:
        NotFound: no such campaign is stored.
        StorageError: the database is away for too long.
    """
    for study in _stored_studies(storage, name):
        storage.set_study_user_attr(study.study_id, CONTROL_ATTR, control)


def delete_campaign(storage: BaseStorage, name: str) -> int:
    """Delete a campaign with all its trials. Workers that train one of them notice, and drop it.

    Returns:
        How many studies were deleted.

    Raises:
        NotFound: no such campaign is stored.
        StorageError: the database is away for too long.
    """
    with exclusive(storage, f"campaign {name}"):
        studies = _stored_studies(storage, name)
        for study in studies:
            storage.delete_study(study.study_id)
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
        raise not_found("campaign", campaign, campaign_names(storage))
    return studies


def _summary(storage: BaseStorage, name: str) -> CampaignSummary:
    store = trial_store(storage)
    stored = _stored_studies(storage, name)
    counts = _sum(store.counts(study.study_id) for study in stored)
    attrs = stored[0].attrs
    description, state = "", _state(counts, attrs[CONTROL_ATTR])
    if attrs[VERSION_ATTR] == SPEC_VERSION:
        spec = StudySpec.model_validate_json(attrs[SPEC_ATTR])
        description = spec.description
        if len(stored) < len(spec.plans()):
            return CampaignSummary(name, description, "incomplete", len(stored), counts)
    return CampaignSummary(name, description, state, len(stored), counts)


def _state(counts: Counts, control: str) -> State:
    if counts.is_done:
        return "complete"
    if control != "run":
        return "paused" if control == "pause" else "stopped"
    return "running" if counts.running else "waiting"


def _sum(counts: Iterable[Counts]) -> Counts:
    several = list(counts)
    best = max((c.best for c in several if c.best is not None), default=None)
    total = {state: sum(getattr(c, state) for c in several) for state in _COUNTED}
    return Counts(**total, best=best)


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
