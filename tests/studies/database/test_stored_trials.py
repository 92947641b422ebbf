"""What a report reads of a study is what Optuna reads, to the last bit, and in as many statements for any number."""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from studies.attributes import FIXED_PARAMS_ATTR
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.database.trial_store import trial_store
from studies.frame import load_frame
from tests.studies.database.test_other_trials import watched
from tests.studies.sample_campaign import REFERENCE, SEARCH, Told, make_spec, store
from tests.studies.sample_cases import OTHER, THIRD, done

ODD = (math.nan, math.inf, -math.inf, 0.1 + 0.2, 5e-324)
DISTRIBUTIONS = {
    "kind": CategoricalDistribution((None, True, 2, 1.5, "a")),
    "log": FloatDistribution(1e-5, 1.0, log=True),
    "stepped": FloatDistribution(0.0, 1.0, step=0.1),
    "whole": IntDistribution(1, 64, log=True),
}


def made(state: TrialState, kind: Any = None, **more: Any) -> FrozenTrial:
    params = {"whole": 7, "kind": kind, "stepped": 0.3, "log": 1e-3} if state != TrialState.WAITING else {}
    told: dict[str, Any] = {
        "number": -1, "trial_id": -1, "value": None, "user_attrs": {}, "system_attrs": {}, "intermediate_values": {},
        "datetime_start": datetime(2026, 3, 1, 9, 0, 0, 123456), "datetime_complete": datetime(2026, 3, 1, 10),
    }  # fmt: skip
    distributions = {name: DISTRIBUTIONS[name] for name in params}
    return FrozenTrial(state=state, params=params, distributions=distributions, **(told | more))


TRIALS = [
    made(TrialState.COMPLETE, kind=True, value=None, values=[0.1, -math.inf], intermediate_values={9: 0.5, 2: 0.25}),
    made(TrialState.COMPLETE, kind=1.5, values=[math.inf, 3.0], user_attrs={"list": [1, None, "ü"], "nan": math.nan}),
    made(TrialState.PRUNED, kind="a", intermediate_values=dict(enumerate((*ODD, -0.0)))),
    made(TrialState.FAIL, user_attrs={"error": "out of memory"}, intermediate_values={0: math.nan}),
    made(TrialState.RUNNING, kind=2, datetime_complete=None),
    made(
        TrialState.WAITING, datetime_start=None, datetime_complete=None, system_attrs={FIXED_PARAMS_ATTR: {"whole": 3}}
    ),
]


def in_full(trial: FrozenTrial) -> str:
    """Every attribute; as text, in which a NaN is like any other and True is not 1."""
    values = {**vars(trial), "intermediate_values": sorted(trial.intermediate_values.items())}
    return repr({**values, **{key: sorted(values[key].items()) for key in ("_user_attrs", "_system_attrs")}})


def test_it_is_what_optuna_reads(database: RetryingStorage) -> None:
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    study_id, other = (database.create_new_study(directions, name) for name in ("asked", "other"))
    for trial in TRIALS:
        database.create_new_trial(study_id, trial)
        database.create_new_trial(other, trial)

    read = trial_store(database).trials(study_id)

    assert list(map(in_full, read)) == list(map(in_full, database.rdb.get_all_trials(study_id)))
    assert [list(trial.params) for trial in read[:3]] == [["whole", "kind", "stepped", "log"]] * 3
    assert [trial.params.get("kind") for trial in read] == [True, 1.5, "a", None, 2, None]
    assert read[2].intermediate_values[3] == 0.1 + 0.2
    assert trial_store(database).trials(database.create_new_study(directions, "empty")) == []


def test_the_frame_is_that_of_any_storage(storage: BaseStorage) -> None:
    search = {"method": ["set", "rigl"], **SEARCH}
    spec = make_spec(sparsity=(0.9, 0.98), search=search, reference={**REFERENCE, "method": "rigl"})
    reference, other, third = ({**params, "method": "set"} for params in (REFERENCE, OTHER, THIRD))
    trials = [
        done(reference, 0.85, 0.84),
        Told(other, val=(math.inf, 0.9), test=(math.nan, 0.8), curve=ODD),
        Told(other, "pruned", curve=[0.4, 0.3]),
        Told(third, "failed", error="worker w0 died", curve=[0.4]),
        Told(third, "running", retry_of=3, curve=[0.5]),
        Told(other, "waiting"),
        Told({}, "waiting"),
    ]
    frames = [load_frame(store(spec, [trials, []], where), spec.name) for where in (storage, None)]
    assert len(frames[0]) == len(trials)
    assert repr(frames[0].to_dict("records")) == repr(frames[1].to_dict("records"))
    assert list(frames[0].dtypes) == list(frames[1].dtypes)


def test_the_number_of_statements_does_not_grow(postgres_url: StorageUrl, opened: Callable[..., Any]) -> None:
    database = opened(postgres_url)
    study_id = database.create_new_study([StudyDirection.MAXIMIZE], "many")
    found = []
    for _ in range(2):
        for _ in range(5):
            database.create_new_trial(study_id, TRIALS[2])
        with watched(database) as traffic:
            trial_store(database).trials(study_id)
        found.append(traffic)
    assert len(found[0]) == len(found[1]) == 6
    assert found[1].rows == 10 * (1 + 4 + 1), "the trial, its parameters, and one row for all that it reported"
