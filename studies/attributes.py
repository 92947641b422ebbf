"""What the queue writes beside Optuna's own columns: the names of study and trial attributes, and what a ticket holds.

User attributes of trials (`TrialResult`, `worker`, `attempt`, `error`, `traceback`) are written when a trial finishes,
never before, so that whatever is found there is final.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from rigl_core.config import TrainConfig
from studies.complaints import one_line
from studies.database.transactions import RETRY_OF_ATTR, SPEC_ATTR, LockedTrial
from studies.errors import BadInput, SpecVersionError
from studies.search_space import Params
from studies.spec import SPEC_VERSION, StudyPlan, StudySpec

# User attributes of a study, beside CONTROL_ATTR, IDENTITY_ATTR and SPEC_ATTR of `studies.database.transactions`.
CAMPAIGN_ATTR = "campaign"
PAIR_ATTR = "pair"
PLANNED_ATTR = "tickets"
"""The size of the budget, stored together with the tickets: a study without it was only half created."""
VERSION_ATTR = "spec_version"

# System attributes of a study and of a trial that are Optuna's.
FIXED_PARAMS_ATTR = "fixed_params"
METRIC_NAMES_ATTR = "study:metric_names"  # what Study.set_metric_names writes, with a warning that it is new

# System attributes of a trial, the queue's own book-keeping.
ATTEMPT_ATTR = "attempt"
CLAIM_ATTR = "claim"
DEATHS_ATTR = "deaths"
"""How many workers in a row died at this ticket without an epoch further; see `deaths_in_a_row`."""
GIVEN_BACK_ATTR = "given_back"
REFERENCE_ATTR = "reference"
REPORTED_ATTR = "epochs_reported"
ROOT_ATTR = "root"
SETTINGS_ATTR = "settings"
"""A hash of what its present worker trains, written together with the parameters that were drawn for it. A server that
was set back may know the claim and have forgotten the parameters."""
TRAINED_ATTR = "epochs_trained"
"""How many epochs were trained for this ticket so far, by whoever had it and told so, those trained again included."""


def ticket_attrs(plan: StudyPlan, params: Params) -> dict[str, Any]:
    """The system attributes of a new ticket; the sampler draws what `params` lacks."""
    from studies.sampling import snap  # loads Optuna, which whoever only reads attributes can do without

    fixed = {name: snap(plan.spec.search[name], value) for name, value in params.items()}
    is_reference = bool(params) and params == plan.spec.strategy.reference
    return {FIXED_PARAMS_ATTR: fixed, REFERENCE_ATTR: is_reference}


def settings_hash(config: TrainConfig) -> str:
    """Tells whether two configurations train the same; for SETTINGS_ATTR."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16]


def deaths_in_a_row(trial: LockedTrial) -> int:
    """How many workers died at this ticket since it last got an epoch further, the one that just died included."""
    further = len(trial.reported()) > trial.system_attrs.get(REPORTED_ATTR, 0)
    return 1 if further else int(trial.system_attrs.get(DEATHS_ATTR, 0)) + 1


def successor_attrs(trial: LockedTrial, *, attempt: int, deaths: int) -> dict[str, Any]:
    """What a ticket that takes the place of `trial` inherits: what to train, and where its checkpoint is.

    Not the reported values, which would count twice in the pruners' statistics: the worker that resumes reports them
    again. Not the user attributes, which tell how the earlier trial ended.
    """
    attrs = trial.system_attrs
    return {
        FIXED_PARAMS_ATTR: {
            **attrs.get(FIXED_PARAMS_ATTR, {}),
            **{name: drawn.distribution.to_external_repr(drawn.internal) for name, drawn in trial.drawn().items()},
        },
        REFERENCE_ATTR: attrs.get(REFERENCE_ATTR, False),
        RETRY_OF_ATTR: trial.number,
        ROOT_ATTR: attrs.get(ROOT_ATTR, trial.number),
        ATTEMPT_ATTR: attempt,
        DEATHS_ATTR: deaths,
        REPORTED_ATTR: max(len(trial.reported()), attrs.get(REPORTED_ATTR, 0)),
        TRAINED_ATTR: attrs.get(TRAINED_ATTR, 0),
    }


def check_version(name: str, attrs: Mapping[str, Any]) -> None:
    """Refuse a study written in another format.

    Raises:
        SpecVersionError: the versions differ.
    """
    version = attrs.get(VERSION_ATTR)
    if version != SPEC_VERSION:
        newer = isinstance(version, int) and version > SPEC_VERSION
        advice = "update rigl-study here" if newer else "finish it with the version that created it"
        raise SpecVersionError(
            f"{name} is stored in format {version} and this rigl-study reads format {SPEC_VERSION}; {advice}."
        )


def stored_spec(name: str, attrs: Mapping[str, Any]) -> StudySpec:
    """The specification in the attributes of a stored study.

    Raises:
        SpecVersionError: it was written in another format, or by a version that knows more than this one, as a method
            or a setting that is new.
    """
    check_version(name, attrs)
    try:
        return StudySpec.model_validate_json(attrs[SPEC_ATTR])
    except ValidationError as error:
        told = one_line(error)
    except BadInput as error:
        told = str(error).partition(" Known: ")[0]
    raise SpecVersionError(
        f"{name} was created by another version of rigl-study, and this one cannot run it ({told.rstrip('.')}); update "
        "rigl-study here."
    )
