"""From the search box to values: distributions, and the sampler that fills an empty ticket."""

import hashlib
import math
from collections.abc import Mapping
from decimal import Decimal

import optuna
from optuna.storages import BaseStorage
from optuna.trial import Trial

from studies.search_space import Axis, Choice, Params, Range, Value
from studies.spec import StudyPlan
from studies.strategies import PRUNERS, SAMPLERS


def optuna_study(storage: BaseStorage, plan: StudyPlan, number: int) -> optuna.Study:
    """The stored study with the sampler and pruner of `plan`, for one ticket.

    Samplers are not stored, and equal seeds propose equal points. So each ticket has its own sampler, seeded by the
    study's seed and its number: what is drawn does not depend on which worker draws.
    """
    strategy = plan.spec.strategy
    text = f"{strategy.seed}/{plan.name}/{number}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
    pruner = PRUNERS[strategy.pruner.name].build(strategy.pruner.options, plan.base_config.n_epochs)
    return optuna.Study(
        study_name=plan.name, storage=storage, sampler=SAMPLERS[strategy.sampler].build(seed), pruner=pruner
    )


def fill(study: optuna.Study, trial_id: int, search: Mapping[str, Axis]) -> Params:
    """Let the sampler choose, and store, every searched parameter the trial does not have yet; then tell all."""
    trial = Trial(study, trial_id)
    return {name: _suggest(trial, name, axis) for name, axis in search.items()}


def snap(axis: Axis, value: Value) -> Value:
    """`value` as a sampler would give it: of the axis' type, on its ladder without rounding noise (0.1 + 2 · 0.1)."""
    if isinstance(axis, Choice):
        return axis.values[axis.values.index(value)]
    if axis.is_integer:
        return int(value)
    if axis.step is None:
        return float(value)
    return float(_rung(axis, round((float(value) - axis.low) / axis.step)))


def _suggest(trial: Trial, name: str, axis: Axis) -> Value:
    if isinstance(axis, Choice):
        chosen = trial.suggest_categorical(name, axis.values)
        return axis.values[axis.values.index(chosen)]
    if axis.is_integer:
        return trial.suggest_int(name, int(axis.low), int(_top(axis)), step=int(axis.step or 1), log=axis.log)
    return trial.suggest_float(name, axis.low, _top(axis), step=axis.step, log=axis.log)


def _top(axis: Range) -> float:
    """The highest value that can be drawn: the last rung of a ladder that does not reach `high`."""
    if axis.step is None:
        return axis.high
    return float(_rung(axis, math.floor((axis.high - axis.low) / axis.step + 1e-9)))


def _rung(axis: Range, i: int) -> Decimal:
    return Decimal(str(axis.low)) + i * Decimal(str(axis.step))
