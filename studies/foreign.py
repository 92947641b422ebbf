"""An Optuna study that some other program made, as the same frame that a campaign gives.

Its parameters have any names and kinds, and its trials one value each, of which the larger or the smaller ones are the
better. Nothing is known of test sets or networks, and nothing is pretended: those columns are empty. A trial's value
stands in the columns of a single seed. Where the study minimises, `value` and `curve` are turned around (more is
better, as everywhere in a report), which the study's measure undoes before anybody sees a number.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from pydantic import ValidationError

from studies.attributes import CAMPAIGN_ATTR, FIXED_PARAMS_ATTR, METRIC_NAMES_ATTR
from studies.errors import BadInput, NotFound, UnknownName, nearest
from studies.frame import STATE_OF, build_frame, param_column
from studies.reporting.measure import Measure
from studies.search_space import Axis, Choice, Params, Range, Value, same_params

SHOWN = 10
"""An error names at most so many of the studies that there are."""


@dataclass(frozen=True)
class ForeignStudy:
    """A study of another program.

    Attributes:
        name: of the study.
        minimises: whether its smaller values are the better ones.
        measure: what its values are called and how they are written.
        search: axis of every parameter, in the order in which trials first had them; None where it changed.
        reference: the parameters to compare with; None if none were named.
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


def load_foreign(storage: BaseStorage, name: str, reference: Sequence[str] = ()) -> ForeignStudy:
    """Read a study. Nothing is written.

    Args:
        storage: from `studies.storage.open_read_only`.
        name: of the study.
        reference: KEY=VALUE, or several with commas between them: the parameters to compare the best with.

    Raises:
        NotFound: there is no such study.
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
    trials = sorted(storage.get_all_trials(study._study_id, deepcopy=False), key=lambda trial: trial.number)
    search = _search(trials)
    wanted = _reference(reference, search)
    rows = [_row(name, trial, wanted or {}, sign=-1 if minimises else 1) for trial in trials]
    if wanted and not any(row["is_reference"] for row in rows):
        raise BadInput(_not_among(wanted, trials))
    frame = build_frame(rows, studies=[name], search=list(search))
    metric = (study.system_attrs.get(METRIC_NAMES_ATTR) or ["value"])[0]
    return ForeignStudy(
        name=name,
        minimises=minimises,
        measure=_measure(metric, frame, minimises=minimises),
        search=search,
        reference=wanted,
        frame=frame,
        versions={program: version(program) for program in ("rigl-study", "optuna")},
    )


def _measure(metric: str, frame: pd.DataFrame, *, minimises: bool) -> Measure:
    finite = frame.loc[frame["value"].map(math.isfinite), "value"]
    best, middle, worst = finite.quantile([1.0, 0.5, 0.0]) if len(finite) else (0.0, 0.0, 0.0)
    # A single trial that went wrong must not make all others look alike.
    grain = 0.01 * float((best - middle) or (best - worst) or abs(best) or 1.0)
    told = f"{metric[:1].upper()}{metric[1:]} as the trials reported it on their way; up is better."
    return Measure(metric, step="step", first=0, course=told, grain=grain, sign=-1 if minimises else 1)


def _row(study: str, trial: FrozenTrial, reference: Params, *, sign: int) -> dict[str, Any]:
    state = STATE_OF[trial.state]
    curve = {int(step): sign * float(value) for step, value in sorted(trial.intermediate_values.items())}
    asked = trial.params or trial.system_attrs.get(FIXED_PARAMS_ATTR, {})
    params: Params = {name: _plain(value) for name, value in asked.items()}
    reached = trial.value if state == "complete" else None
    if state == "pruned" and curve:
        reached = sign * curve[max(curve)]
    value = math.nan if reached is None else sign * reached
    is_complete = state == "complete"
    return {
        "campaign": study,
        "study": study,
        "number": trial.number,
        "state": state,
        "is_reference": same_params(params, reference),
        "value": value,
        "seeds": (0,) if is_complete else (),
        "val_accuracy": (value,) if is_complete else (),
        "curve": curve,
        "started": trial.datetime_start,
        "finished": trial.datetime_complete,
        "seconds": None if trial.duration is None else trial.duration.total_seconds(),
        **dict.fromkeys(("test_accuracy", "loss"), ()),
        **dict.fromkeys(("bits_per_character", "test_bits_per_character"), ()),
        **{column: {} for column in ("layer_sparsity", "environment")},
        **{param_column(name): value for name, value in params.items()},
    }


def _plain(value: Any) -> Value:
    """A parameter's value; None is a choice in Optuna, and would look like a parameter that the trial did not have."""
    return value if isinstance(value, bool | int | float | str) else str(value)


def _search(trials: Iterable[FrozenTrial]) -> dict[str, Axis | None]:
    found: dict[str, list[BaseDistribution]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            own = found.setdefault(name, [])
            if distribution not in own:
                own.append(distribution)
    return {name: _axis(own[0]) if len(own) == 1 else None for name, own in found.items()}


def _axis(distribution: BaseDistribution) -> Axis | None:
    """An axis of the search box; None where it has none of our kinds, and the values seen must do."""
    try:
        if isinstance(distribution, CategoricalDistribution):
            return Choice(values=tuple(map(_plain, distribution.choices)))
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        low, high, log = distribution.low, distribution.high, distribution.log
        if low == high:
            return Choice(values=(low,))
        step = None if log or distribution.step == 1 else distribution.step
        return Range(low=low, high=high, step=step, log=log)
    except (BadInput, ValidationError):
        return None


def _reference(texts: Sequence[str], search: Mapping[str, Axis | None]) -> Params | None:
    found: Params = {}
    for text in texts:
        for part in text.split(","):
            key, equals, value = (word.strip() for word in part.partition("="))
            if not key or not equals:
                raise BadInput(
                    f'--reference "{text}" is not KEY=VALUE,KEY=VALUE,...; write for example lr=0.1,alpha=0.3.'
                )
            if key not in search:
                raise UnknownName("parameter of the study", key, list(search))
            found[key] = _value(key, value, search[key])
    return found or None


def _not_among(reference: Params, trials: Sequence[FrozenTrial]) -> str:
    """That no trial has these parameters, and what a trial that comes close has, as --reference takes it."""

    def alike(trial: FrozenTrial) -> int:
        return sum(key in trial.params and trial.params[key] == value for key, value in reference.items())

    asked = ",".join(f"{key}={value}" for key, value in reference.items())
    closest = max(trials, key=alike)
    has = ",".join(f"{key}={value}" for key, value in closest.params.items())
    return f"--reference {asked}: no trial has exactly these parameters; trial {closest.number} has {has}."


def _value(key: str, text: str, axis: Axis | None) -> Value:
    """What the user means by `text`: the choice that is written so, or a number."""
    if isinstance(axis, Choice):
        for choice in axis.values:
            if text in (str(choice), str(choice).lower()) or _number(text) == choice:
                return choice
        raise BadInput(f"--reference {key}={text} is none of the study's choices: {axis}.")
    number = _number(text)
    if number is None and axis is not None:
        raise BadInput(f"--reference {key}={text} is no number, and the study searched {axis}.")
    return text if number is None else number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
