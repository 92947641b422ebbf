"""Campaigns with made-up trials in an Optuna storage, for the tests of everything that reads them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from studies.attributes import (
    CAMPAIGN_ATTR,
    FIXED_PARAMS_ATTR,
    PAIR_ATTR,
    PLANNED_ATTR,
    SPEC_ATTR,
    VERSION_ATTR,
)
from studies.database.transactions import CONTROL_ATTR, RETRY_OF_ATTR
from studies.search_space import Choice, Params, Range
from studies.spec import SPEC_VERSION, StudyPlan, StudySpec
from studies.trial import TrialResult

START = datetime(2026, 3, 1, 9, 0, 0)
ENVIRONMENT = {
    "torch": "2.13.0",
    "python": "3.11.9",
    "device": "cpu",
    "device_name": "x86_64",
    "host": "a",
    "threads": "1",
}
STATES = {
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
SEARCH = {
    "lr": {"low": 0.01, "high": 0.3, "log": True},
    "alpha": {"low": 0.1, "high": 0.6},
    "delta_t": {"low": 50, "high": 1000, "step": 50},
}
REFERENCE: Params = {"lr": 0.1, "alpha": 0.3, "delta_t": 100}


@dataclass(frozen=True)
class Told:
    """One trial to store: where it stands and what it told."""

    params: Params = field(default_factory=lambda: dict(REFERENCE))
    state: str = "complete"
    val: Sequence[float] = ()
    test: Sequence[float] = ()
    seeds: Sequence[int] | None = None
    curve: Sequence[float] | None = None
    error: str | None = None
    retry_of: int | None = None
    realised: float = 1.0
    environment: Mapping[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    attrs: Mapping[str, Any] = field(default_factory=dict)


def make_spec(
    name: str = "sample",
    *,
    sparsity: Sequence[float] = (0.98,),
    distribution: Sequence[str] = ("erk",),
    search: Mapping[str, Any] | None = None,
    reference: Params | None = None,
    epochs: int = 5,
    seeds: Sequence[int] = (0, 1),
    n_trials: int = 10,
    sampler: str = "tpe",
    description: str = "",
    **fixed: Any,
) -> StudySpec:
    """A specification; with the usual three searched parameters and their reference unless told otherwise."""
    if search is None:
        search, reference = SEARCH, REFERENCE
    strategy = {"sampler": sampler, "seeds": list(seeds), "pruner": "median", "reference": reference}
    if sampler != "grid":
        strategy["n_trials"] = n_trials
    return StudySpec.model_validate(
        {
            "name": name,
            "description": description,
            "fixed": {"epochs": epochs, **fixed},
            "pairs": {"sparsity": list(sparsity), "distribution": list(distribution)},
            "search": dict(search),
            "strategy": strategy,
        }
    )


def store(spec: StudySpec, trials: Sequence[Sequence[Told]], storage: BaseStorage | None = None) -> BaseStorage:
    """A storage with the spec's studies; `trials` has one list a study, in the order of the spec."""
    storage = storage or InMemoryStorage()
    for plan, own in zip(spec.plans(), trials, strict=True):
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE], plan.name)
        attrs = {CAMPAIGN_ATTR: spec.name, CONTROL_ATTR: "run", PAIR_ATTR: dict(plan.pair), PLANNED_ATTR: len(own)}
        for key, value in {**attrs, SPEC_ATTR: spec.canonical_json(), VERSION_ATTR: SPEC_VERSION}.items():
            storage.set_study_user_attr(study_id, key, value)
        for number, told in enumerate(own):
            storage.create_new_trial(study_id, template_trial=_frozen(plan, number, told))
    return storage


def realistic(spec: StudySpec, *, n_trials: int, seed: int = 0) -> list[list[Told]]:
    """Trials as a search would leave them: a smooth response, seed noise, the worst third stopped early."""
    rng = np.random.default_rng(seed)
    return [_search(plan, n_trials, rng) for plan in spec.plans()]


def _search(plan: StudyPlan, n_trials: int, rng: np.random.Generator) -> list[Told]:
    spec, told = plan.spec, []
    epochs, n_seeds = plan.base_config.epochs, len(spec.strategy.seeds)
    for i in range(n_trials):
        reference = spec.strategy.reference
        params = (
            dict(reference) if reference and i == 0 else {key: _draw(axis, rng) for key, axis in spec.search.items()}
        )
        config = plan.config(params)
        top = 0.9 - 0.08 * max(config.sparsity - 0.8, 0) / 0.2 + (0.012 if config.distribution == "erk" else 0)
        miss = 0.02 * (math.log10(config.lr / 0.08)) ** 2 + 0.05 * (config.alpha - 0.35) ** 2 + config.delta_t * 4e-6
        miss += 0.5 if config.lr > 0.28 else 0.0
        val = np.clip(top - miss + rng.normal(0, 0.0015, n_seeds), 0, 1)
        test = np.clip(top - 0.004 - miss + rng.normal(0, 0.0015, n_seeds), 0, 1)
        curve = [float(val.mean()) - 0.25 * math.exp(-1.1 * (epoch + 0.4)) for epoch in range(epochs)]
        curve[-1] = float(val.mean())
        if i > 3 and miss > 0.012:
            told.append(Told(params, "pruned", curve=curve[: max(2, epochs // 2)]))
        else:
            told.append(Told(params, val=val.round(4).tolist(), test=test.round(4).tolist(), curve=curve))
    return told


def _draw(axis: Range | Choice, rng: np.random.Generator) -> Any:
    if isinstance(axis, Choice):
        return axis.values[int(rng.integers(len(axis.values)))]
    points = axis.points()
    if points is not None:
        return points[int(rng.integers(len(points)))]
    if axis.log:
        return float(np.exp(rng.uniform(math.log(axis.low), math.log(axis.high))))
    return float(rng.uniform(axis.low, axis.high))


def _frozen(plan: StudyPlan, number: int, told: Told) -> FrozenTrial:
    state = STATES[told.state]
    curve = list(told.curve if told.curve is not None else ([_mean(told.val)] if told.val else []))
    result = _result(plan, told, curve) if told.state in ("complete", "pruned") else {}
    who = {"worker": f"w{number % 2}", "attempt": 1} if state.is_finished() else {}
    attrs = {**result, **who, **({"error": told.error} if told.error else {}), **told.attrs}
    waits = state == TrialState.WAITING
    system = {FIXED_PARAMS_ATTR: dict(told.params)} | ({} if told.retry_of is None else {RETRY_OF_ATTR: told.retry_of})
    started = None if waits else START + timedelta(minutes=3 * number)
    return FrozenTrial(
        number=number,
        state=state,
        value=result.get("value")
        if told.state == "complete"
        else (curve or [None])[-1]
        if told.state == "pruned"
        else None,
        datetime_start=started,
        datetime_complete=started + timedelta(minutes=2) if started and state.is_finished() else None,
        params={} if waits else dict(told.params),
        distributions={} if waits else {key: _distribution(plan, key, value) for key, value in told.params.items()},
        user_attrs={key: value for key, value in attrs.items() if key != "value"},
        system_attrs=system,
        intermediate_values=dict(enumerate(curve)),
        trial_id=-1,
    )


def _result(plan: StudyPlan, told: Told, curve: Sequence[float]) -> dict[str, Any]:
    seeds = tuple(plan.spec.strategy.seeds if told.seeds is None else told.seeds)
    val = tuple(told.val) or tuple(curve[-1:] * len(seeds))
    sparsity = told.params.get("sparsity", plan.base_config.sparsity)
    f_s = 1 - float(sparsity) * 0.9
    result = TrialResult.model_construct(
        seeds=seeds,
        val_accuracy=val,
        test_accuracy=tuple(told.test),
        loss=tuple(1 - v for v in val),
        inference_flops=f_s,
        train_flops=f_s * 1.02,
        dense_flops=532_000.0,
        n_parameters=266_610,
        n_active=round(266_200 * (1 - float(sparsity))),
        realised_sparsity=float(sparsity) * told.realised,
        layer_sparsity={"layers.0.weight": float(sparsity)},
        epochs=len(curve),
        seconds=12.5,
        epochs_recomputed=0,
        environment=dict(told.environment),
    )
    return {**result.model_dump(), "value": _mean(val)}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _distribution(plan: StudyPlan, key: str, value: Any) -> optuna.distributions.BaseDistribution:
    axis = plan.spec.search[key]
    if isinstance(axis, Choice):
        return optuna.distributions.CategoricalDistribution(axis.values)
    if isinstance(value, int):
        return optuna.distributions.IntDistribution(
            int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1)
        )
    return optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
