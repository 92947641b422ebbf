"""How long `status` and `list` take, as a person waits for them: `python -m benchmarks.status [--trials 10000]`.

Fills a Postgres of its own with one campaign of 20 studies by the queue's own `create`, gives the trials states,
parameters, values and reports of every epoch by SQL, and times each command as a process, again and again.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

import sqlalchemy as sa

from benchmarks.scratch import scratch
from studies.campaigns import create_campaign
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage

NAME = "large"
EPOCHS = 20
STUDIES = 20
COMMANDS = (
    ["--version"],
    ["list"],
    ["list", "--json"],
    ["status"],
    ["status", "--json"],
    ["status", NAME],
    ["status", NAME, "--json"],
)
# Of ten trials six are complete, one each pruned, failed, running; the last waits.
FILL = f"""
UPDATE trials SET state = (ARRAY['COMPLETE','COMPLETE','COMPLETE','COMPLETE','COMPLETE','COMPLETE','PRUNED','FAIL',
    'RUNNING','WAITING']::trialstate[])[number %% 10 + 1], datetime_start = now(), datetime_complete = now();
INSERT INTO trial_values (trial_id, objective, value, value_type)
    SELECT trial_id, 0, (number %% 97) / 100.0, 'FINITE' FROM trials WHERE state IN ('COMPLETE', 'PRUNED');
INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
    SELECT trial_id, 'lr', 0.1, '{{"name": "FloatDistribution", "attributes": {{"step": null, "low": 0.01,
    "high": 0.3, "log": true}}}}' FROM trials WHERE state <> 'WAITING';
INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)
    SELECT trial_id, step, 0.5, 'FINITE' FROM trials, generate_series(0, {EPOCHS - 1}) AS step
    WHERE state <> 'WAITING';
INSERT INTO trial_user_attributes (trial_id, key, value_json)
    SELECT trial_id, key, '"' || repeat('x', 200) || '"' FROM trials, unnest(ARRAY['layer_sparsity', 'environment',
    'val_accuracy', 'test_accuracy', 'loss', 'explored', 'worker', 'seeds', 'train_flops', 'seconds']) AS key
    WHERE state IN ('COMPLETE', 'PRUNED', 'FAIL');
INSERT INTO trial_heartbeats (trial_id, heartbeat) SELECT trial_id, now() FROM trials WHERE state = 'RUNNING';
ANALYZE
"""


def campaign(n_trials: int, n_studies: int = STUDIES, name: str = NAME) -> StudySpec:
    """A campaign of about that many trials."""
    sparsities = [round(0.5 + 0.02 * i, 2) for i in range(n_studies)]
    return StudySpec.model_validate(
        {
            "name": name,
            "fixed": {"dataset": "digits", "epochs": EPOCHS},
            "pairs": {"sparsity": sparsities, "distribution": ["erk"]},
            "search": {"lr": {"low": 0.01, "high": 0.3, "log": True}},
            "strategy": {"sampler": "random", "n_trials": max(1, n_trials // n_studies)},
        }
    )


def fill(url: StorageUrl, n_trials: int) -> None:
    """Store the campaign, and give its trials a life."""
    storage = open_storage(url)
    create_campaign(storage, campaign(n_trials))
    close_storage(storage)
    engine = sa.create_engine(url.secret())
    with engine.begin() as connection:
        connection.exec_driver_sql(FILL)
    engine.dispose()


def seconds(command: list[str], storage: str) -> tuple[float, float]:
    """Wall time of one process, and what it computed: on a busy machine the first is longer."""
    began, before = time.perf_counter(), os.times()
    environment = {**os.environ, "RIGL_STUDY_STORAGE": storage}
    subprocess.run([sys.executable, "-m", "studies", *command], env=environment, check=True, capture_output=True)
    after = os.times()
    computed = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, computed


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with scratch() as (_, url):
        began = time.perf_counter()
        fill(url, arguments.trials)
        print(f"{arguments.trials:,} trials in {STUDIES} studies, filled in {time.perf_counter() - began:.1f} s")
        for command in COMMANDS:
            times, computed = zip(*(seconds(command, url.revealed()) for _ in range(arguments.repeats)), strict=True)
            shown = f"median {statistics.median(times):.2f} s, {min(times):.2f} to {max(times):.2f} s"
            print(f"rigl-study {' '.join(command):<24} {shown}; {statistics.median(computed):.2f} s of them computed")


if __name__ == "__main__":
    main()
