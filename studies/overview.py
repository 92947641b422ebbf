"""How far every campaign is, told from one row a study. Pure, and loads no Optuna: `status` should answer at once."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from studies.attributes import CAMPAIGN_ATTR, PLANNED_ATTR, VERSION_ATTR, check_version
from studies.database.transactions import CONTROL_ATTR, SPEC_ATTR, Counts
from studies.errors import BadInput, not_found
from studies.spec import SPEC_VERSION

State = Literal["waiting", "running", "paused", "stopped", "complete"]

HELD: Mapping[str, State] = {"pause": "paused", "stop": "stopped"}
"""What the user asked of a campaign's workers, and the state that it is in until it is resumed."""

COUNTED = ("waiting", "running", "complete", "pruned", "failed", "retried")
"""States by which trials are counted, in the order in which they are shown."""


@dataclass(frozen=True)
class StudyRow:
    """A stored study.

    Attributes:
        name: CAMPAIGN/METHOD-sSPARSITY-DISTRIBUTION.
        attrs: its user attributes (`studies.attributes`).
        counts: how many of its trials are in which state.
    """

    name: str
    attrs: Mapping[str, Any]
    counts: Counts


@dataclass(frozen=True)
class CampaignSummary:
    """A line of `rigl-study list`.

    Attributes:
        name: of the campaign.
        description: as specified; empty if it was stored in a format this version cannot read.
        state: as `status_of` gives it; "incomplete" if its creation was interrupted.
        n_studies: how many studies are stored.
        counts: how many trials are in which state, over all studies; `best` is the best of all.
    """

    name: str
    description: str
    state: State | Literal["incomplete"]
    n_studies: int
    counts: Counts


def summaries(rows: Iterable[StudyRow]) -> list[CampaignSummary]:
    """Every campaign, by name."""
    return [_summary(name, studies) for name, studies in sorted(_campaigns(rows).items())]


def status_of(rows: Iterable[StudyRow], name: str) -> dict[str, Any]:
    """How far a campaign is: the content of `status NAME --json`.

    Arguments:
        rows: in the order in which the studies were created, which is that of the specification.
        name: of the campaign.

    Returns:
        `{"campaign", "state", "studies": [{"name", "waiting", "running", "complete", "pruned", "failed", "retried",
        "best"}]}`; state is waiting, running, paused, stopped or complete.

    Raises:
        NotFound: no such campaign is stored.
        BadInput: its creation was interrupted.
        SpecVersionError: it is stored in another format.
    """
    campaigns = _campaigns(rows)
    if name not in campaigns:
        raise not_found("campaign", name, sorted(campaigns))
    studies = campaigns[name]
    for study in studies:
        check_version(study.name, study.attrs)
    n_missing = _n_planned(studies[0]) - len(studies)
    if n_missing > 0:
        raise interrupted(name, n_missing, _n_planned(studies[0]))
    return _told(name, _state(_sum(study.counts for study in studies), studies[0].attrs[CONTROL_ATTR]), studies)


def interrupted(name: str, n_missing: int, n_planned: int) -> BadInput:
    """The error for a campaign that has only some of its studies."""
    return BadInput(
        f"the creation of campaign {name} was interrupted: {n_missing} of its {n_planned} studies are missing. "
        "`rigl-study create` with the same specification completes it."
    )


def statuses(rows: Iterable[StudyRow]) -> list[dict[str, Any]]:
    """The same of every campaign, by name, with those that `status_of` refuses: of one, others must not suffer."""
    found = sorted(_campaigns(rows).items())
    return [_told(name, _summary(name, studies).state, studies) for name, studies in found]


def _told(name: str, state: str, studies: Sequence[StudyRow]) -> dict[str, Any]:
    counts = [{"name": study.name, **asdict(study.counts)} for study in studies]
    return {"campaign": name, "state": state, "studies": counts}


def _campaigns(rows: Iterable[StudyRow]) -> dict[str, list[StudyRow]]:
    """The completely created studies of each campaign."""
    found: dict[str, list[StudyRow]] = {}
    for row in rows:
        if PLANNED_ATTR in row.attrs:
            found.setdefault(row.attrs[CAMPAIGN_ATTR], []).append(row)
    return found


def _summary(name: str, studies: Sequence[StudyRow]) -> CampaignSummary:
    counts, attrs = _sum(study.counts for study in studies), studies[0].attrs
    if attrs[VERSION_ATTR] != SPEC_VERSION:
        return CampaignSummary(name, "", _state(counts, attrs[CONTROL_ATTR]), len(studies), counts)
    description = str(_spec(studies[0])["description"])
    if len(studies) < _n_planned(studies[0]):
        return CampaignSummary(name, description, "incomplete", len(studies), counts)
    return CampaignSummary(name, description, _state(counts, attrs[CONTROL_ATTR]), len(studies), counts)


def _spec(study: StudyRow) -> dict[str, Any]:
    """The specification as stored. To validate it again would check every corner of its search box."""
    spec: dict[str, Any] = json.loads(study.attrs[SPEC_ATTR])
    return spec


def _n_planned(study: StudyRow) -> int:
    """How many studies the campaign has when it is complete."""
    pairs = _spec(study)["pairs"]
    return 1 if pairs is None else len(pairs["sparsity"]) * len(pairs["distribution"])


def _state(counts: Counts, control: str) -> State:
    if counts.is_done:
        return "complete"
    if control in HELD:
        return HELD[control]
    return "running" if counts.running else "waiting"


def _sum(counts: Iterable[Counts]) -> Counts:
    several = list(counts)
    best = max((c.best for c in several if c.best is not None), default=None)
    total = {state: sum(getattr(c, state) for c in several) for state in COUNTED}
    return Counts(**total, best=best)
