"""A study with thousands of finished trials, written by the database itself: one by one they would take hours."""

import sqlalchemy as sa

from benchmarks.connections import execute
from studies.campaigns import create_campaign
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage

EPOCHS = 250
SPARE = 128
"""Tickets that wait beside the finished trials."""

# A value that looks drawn, and rises over the epochs.
_VALUE = "((number * 7919) % 1009 / 1009.0)"
# The first statement leaves out the checks of foreign keys, which take most of the time for millions of rows.
FILL = f"""
SET LOCAL session_replication_role = replica;
UPDATE trials SET state = 'COMPLETE', datetime_start = now(), datetime_complete = now()
    WHERE study_id = :study AND number < :n;
INSERT INTO trial_values (trial_id, objective, value, value_type)
    SELECT trial_id, 0, {_VALUE}, 'FINITE' FROM trials WHERE study_id = :study AND state = 'COMPLETE';
INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
    SELECT trial_id, 'lr', 0.01 * power(30, (number * 31 % 997) / 997.0), '{{"name": "FloatDistribution",
    "attributes": {{"step": null, "low": 0.01, "high": 0.3, "log": true}}}}'
    FROM trials WHERE study_id = :study AND state = 'COMPLETE';
INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
    SELECT trial_id, 'alpha', 0.1 + 0.5 * (number * 37 % 991) / 991.0, '{{"name": "FloatDistribution",
    "attributes": {{"step": null, "low": 0.1, "high": 0.6, "log": false}}}}'
    FROM trials WHERE study_id = :study AND state = 'COMPLETE';
INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
    SELECT trial_id, 'delta_t', 50 + 50 * (number * 7 % 20), '{{"name": "IntDistribution",
    "attributes": {{"step": 50, "low": 50, "high": 1000, "log": false}}}}'
    FROM trials WHERE study_id = :study AND state = 'COMPLETE';
INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)
    SELECT trial_id, step, {_VALUE} * (step + 1) / {EPOCHS}, 'FINITE' FROM trials, generate_series(0, {EPOCHS - 1}) step
    WHERE study_id = :study AND state = 'COMPLETE'
"""


def plan(name: str, n_trials: int, sampler: str) -> StudySpec:
    """A study of so many tickets."""
    return StudySpec.model_validate(
        {
            "name": name,
            "fixed": {"dataset": "digits", "epochs": EPOCHS},
            "search": {
                "lr": {"low": 0.01, "high": 0.3, "log": True},
                "alpha": {"low": 0.1, "high": 0.6},
                "delta_t": {"low": 50, "high": 1000, "step": 50},
            },
            "strategy": {"sampler": sampler, "n_trials": n_trials, "seeds": [0], "pruner": "median"},
        }
    )


def fill(url: StorageUrl, n_finished: int, sampler: str) -> str:
    """Store a study with so many finished trials and some tickets; its name."""
    storage = open_storage(url)
    spec = plan(f"{sampler}-{n_finished}", n_finished + SPARE, sampler)
    name = create_campaign(storage, spec)[0].name
    study = storage.get_study_id_from_name(name)
    close_storage(storage)
    engine = sa.create_engine(url.secret())
    with engine.begin() as connection:
        for statement in FILL.split(";\n"):
            connection.execute(sa.text(statement), {"study": study, "n": n_finished})
    engine.dispose()
    execute(url, "VACUUM ANALYZE")
    return name
