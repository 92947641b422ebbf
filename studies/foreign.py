"""An Optuna study that some other program made, as the same frame that a campaign gives.

Its parameters have any names and kinds, and its trials one value each, of which the larger or the smaller ones are the
better. Nothing is known of test sets or networks, and nothing is pretended: those columns are empty. A trial's value
stands in the columns of a single seed. Where the study minimises, `value` and `curve` are turned around (more is
better, as everywhere in a report), which the study's measure undoes before anybody sees a number.

A trial that violates one of its constraints is no candidate for anything. It has a state of its own, so that all that
looks at complete or stopped trials passes it by.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pandas as pd
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from studies.attributes import CAMPAIGN_ATTR, METRIC_NAMES_ATTR
from studies.errors import BadInput, NotFound, nearest
from studies.foreign_params import Parameter, asked, parameters
from studies.foreign_reference import named_reference, not_among
from studies.frame import STATE_OF, STATES, build_frame, param_column
from studies.printable import visible
from studies.reporting.measure import Measure
from studies.search_space import Axis, Params, same_params

INFEASIBLE = "infeasible"
FOREIGN_STATES = (*STATES, INFEASIBLE)
"""Where a trial of such a study may stand: an infeasible one has ended, and one of its constraints is above 0."""

SHOWN = 10
"""An error names at most so many of the studies that there are."""


@dataclass(frozen=True)
class ForeignStudy:
    """A study of another program.

    Attributes:
        name: of the study; in all names control characters are written out.
        minimises: whether its smaller values are the better ones.
        measure: what its values are called and how they are written.
        search: axis of every parameter, in the order in which trials first had them; None where it changed.
        reference: the parameters to compare with; None if none were named, empty for a trial without any.
        frame: its trials, of the schema of `studies.frame`.
        versions: of the programs that read it.
    """

    name: str
    minimises: bool
    measure: Measure
    search: Mapping[str, Axis | None]
    reference: Params | None
    frame: pd.DataFrame
    versions: Mapping[str, str]


def load_foreign(storage: BaseStorage, name: str, reference: Sequence[str] | int | None = None) -> ForeignStudy:
    """Read a study. Nothing is written.

    Args:
        storage: from `studies.storage.open_read_only`.
        name: of the study.
        reference: the parameters to compare the best with: texts of KEY=VALUE, or several with commas between them; or
            the number of a trial that had them; nothing to compare with none.

    Raises:
        NotFound: there is no such study, or no trial of that number.
        BadInput: it has several objectives, or is part of a campaign; or the reference is malformed or of no trial.
        UnknownName: a parameter of the reference that no trial has.
    """
    studies = {study.study_name: study for study in storage.get_all_studies()}
    if name not in studies:
        near = nearest(name, list(studies))
        hint = f"Did you mean {near[0]}?" if near else f"There: {', '.join(sorted(studies)[:SHOWN]) or 'no study'}."
        raise NotFound(f'no Optuna study "{name}" is stored. {hint}')
    study = studies[name]
    if CAMPAIGN_ATTR in study.user_attrs:
        campaign = study.user_attrs[CAMPAIGN_ATTR]
        raise BadInput(f"{name} is part of a campaign; `rigl-study report {campaign}` knows its seeds and test sets.")
    if len(study.directions) != 1:
        raise BadInput(f"{name} has {len(study.directions)} objectives; a report compares by one.")
    minimises = study.directions[0] == StudyDirection.MINIMIZE
    with warnings.catch_warnings():
        # What Optuna thinks of another program's choices, or of how an older version wrote them: nothing for readers.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        trials = storage.get_all_trials(study._study_id, deepcopy=False)
    trials = sorted(trials, key=lambda trial: trial.number)
    known = parameters(trials)
    search = {parameter.name: parameter.axis for parameter in known.values()}
    wanted: Params | None
    if isinstance(reference, int):
        wanted = _params(_numbered(trials, reference, name), known)
    else:
        wanted = named_reference(reference, known) if reference else None
    shown = visible(name)
    rows = [_row(shown, trial, known, sign=-1 if minimises else 1) for trial in trials]
    for row in rows:
        params = row.pop("params")
        row["is_reference"] = row["number"] == reference or same_params(params, wanted or {})
    if not isinstance(reference, int) and wanted and not any(row["is_reference"] for row in rows):
        raise BadInput(not_among(reference or (), wanted, trials, known))
    frame = build_frame(rows, studies=[shown], search=list(search), states=FOREIGN_STATES)
    metric = visible((study.system_attrs.get(METRIC_NAMES_ATTR) or ["value"])[0])
    return ForeignStudy(
        name=shown,
        minimises=minimises,
        measure=_measure(metric, frame, minimises=minimises),
        search=search,
        reference=wanted,
        frame=frame,
        versions={program: version(program) for program in ("rigl-study", "optuna")},
    )


def _measure(metric: str, frame: pd.DataFrame, *, minimises: bool) -> Measure:
    finite = frame.loc[(frame["state"] != INFEASIBLE) & frame["value"].map(math.isfinite).astype(bool), "value"]
    best, middle, worst = finite.quantile([1.0, 0.5, 0.0]) if len(finite) else (0.0, 0.0, 0.0)
    # A single trial that went wrong must not make all others look alike.
    spreads = (float(best) - float(middle), float(best) - float(worst), abs(float(best)))
    grain = 0.01 * next((spread for spread in spreads if spread and math.isfinite(spread)), 1.0)
    told = f"{metric[:1].upper()}{metric[1:]} as the trials reported it on their way; up is better."
    return Measure(metric, step="step", first=0, course=told, grain=grain, sign=-1 if minimises else 1)


def _numbered(trials: Sequence[FrozenTrial], number: int, study: str) -> FrozenTrial:
    found = next((trial for trial in trials if trial.number == number), None)
    if found is None:
        raise NotFound(f"{study} has no trial {number}; it has {len(trials)}, numbered from 0.")
    return found


def _params(trial: FrozenTrial, known: Mapping[str, Parameter]) -> Params:
    """The parameters of a trial by the names under which they are shown."""
    return {known[key].name: known[key].value(value) for key, value in asked(trial).items() if key in known}


def _row(study: str, trial: FrozenTrial, known: Mapping[str, Parameter], *, sign: int) -> dict[str, Any]:
    state = STATE_OF[trial.state]
    if state in ("complete", "pruned") and any(not limit <= 0 for limit in trial.constraints.values()):
        state = INFEASIBLE
    curve = {int(step): sign * float(value) for step, value in sorted(trial.intermediate_values.items())}
    params = _params(trial, known)
    reached = math.nan
    if trial.state == TrialState.PRUNED and curve:
        reached = curve[max(curve)]
    elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and trial.value is not None:
        reached = sign * trial.value
    is_complete = trial.state == TrialState.COMPLETE
    return {
        "campaign": study,
        "study": study,
        "number": trial.number,
        "state": state,
        "params": params,
        "value": reached,
        "seeds": (0,) if is_complete else (),
        "val_accuracy": (reached,) if is_complete else (),
        "curve": curve,
        "started": trial.datetime_start,
        "finished": trial.datetime_complete,
        "seconds": None if trial.duration is None else trial.duration.total_seconds(),
        **dict.fromkeys(("test_accuracy", "loss"), ()),
        **dict.fromkeys(("bits_per_character", "test_bits_per_character"), ()),
        **{column: {} for column in ("layer_sparsity", "environment")},
        **{param_column(name): value for name, value in params.items()},
    }
