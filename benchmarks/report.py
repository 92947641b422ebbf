"""Seconds and memory of the report of a large campaign: `python -m benchmarks.report [--trials 10000 --epochs 250]`.

Fills a Postgres of its own with one campaign of eight pairs and three seeds by the queue's own `create`, gives the
trials states, parameters, results and reports of every epoch by SQL, and runs `rigl-study report` on it as a process of
its own; then once more, and from the files of the first report, without the database: both must give the same files.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from benchmarks.scratch import scratch
from studies.campaigns import create_campaign
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage

NAME = "large"
SPARSITIES = (0.5, 0.8, 0.9, 0.95)
PAIRS = 2 * len(SPARSITIES)
# Of ten trials eight are complete and two were stopped half way. The top of the response is at lr 0.16, alpha 0.4.
FILL = """
SELECT setseed(0.5);
UPDATE trials SET state = (CASE WHEN number %% 10 IN (8, 9) THEN 'PRUNED' ELSE 'COMPLETE' END)::trialstate,
    datetime_start = timestamp '2026-01-01' + number * interval '1 minute',
    datetime_complete = timestamp '2026-01-01' + number * interval '1 minute' + interval '50 minutes';
CREATE TEMP TABLE drawn AS SELECT trial_id, study_id, state, number, lr, alpha, delta_t,
    0.93 - 0.02 * (log(lr::numeric) + 0.8) ^ 2 - 0.05 * (alpha - 0.4) ^ 2 - delta_t * 4e-6 AS top
    FROM (SELECT trial_id, study_id, state, number, 0.01 * 30 ^ (CASE number WHEN 0 THEN 0.677 ELSE random() END) AS lr,
        CASE number WHEN 0 THEN 0.3 ELSE 0.1 + 0.5 * random() END AS alpha,
        CASE number WHEN 0 THEN 100 ELSE 50 + 50 * floor(20 * random()) END AS delta_t FROM trials) AS settings;
UPDATE drawn SET lr = 0.1 WHERE number = 0;
INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
    SELECT trial_id, 'lr', lr, '{{"name": "FloatDistribution", "attributes": {{"step": null, "low": 0.01, "high": 0.3,
        "log": true}}}}' FROM drawn
    UNION ALL SELECT trial_id, 'alpha', alpha, '{{"name": "FloatDistribution", "attributes": {{"step": null,
        "low": 0.1, "high": 0.6, "log": false}}}}' FROM drawn
    UNION ALL SELECT trial_id, 'delta_t', delta_t, '{{"name": "IntDistribution", "attributes": {{"step": 50, "low": 50,
        "high": 1000, "log": false}}}}' FROM drawn;
INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)
    SELECT trial_id, step, round((top - 0.5 * exp(-step / 20.0) + 0.002 * random())::numeric, 4), 'FINITE'
    FROM drawn, generate_series(0, {epochs} - 1) AS step WHERE state = 'COMPLETE' OR step < {epochs} / 2;
INSERT INTO trial_values (trial_id, objective, value, value_type)
    SELECT trial_id, 0, round(top::numeric, 4), 'FINITE' FROM drawn WHERE state = 'COMPLETE';
INSERT INTO trial_user_attributes (trial_id, key, value_json)
    SELECT trial_id, key, value FROM drawn, (SELECT
        json_agg(round((0.3 - 0.2 * exp(-epoch / 50.0))::numeric, 6) ORDER BY epoch)::text AS explored,
        json_agg(0.2 ORDER BY epoch)::text AS flops FROM generate_series(0, {epochs} - 1) AS epoch) AS by_epoch,
    LATERAL (VALUES
        ('seeds', '[0, 1, 2]'), ('epochs', '{epochs}'), ('seconds', '3000.0'), ('epochs_recomputed', '0'),
        ('inference_flops', '0.2'), ('train_flops', '0.21'), ('dense_flops', '532000.0'), ('n_parameters', '266610'),
        ('n_active', '26000'), ('worker', '"w1"'), ('attempt', '1'),
        ('layer_sparsity', '{{"layers.0.weight": 0.9, "layers.1.weight": 0.8, "layers.2.weight": 0.5}}'),
        ('initial_layer_sparsity', '{{"layers.0.weight": 0.9, "layers.1.weight": 0.8, "layers.2.weight": 0.5}}'),
        ('explored', by_epoch.explored), ('inference_flops_by_epoch', by_epoch.flops),
        ('environment', '{{"torch": "2.13.0", "device": "cpu", "device_name": "x86_64", "host": "a"}}'),
        ('loss', '[0.3, 0.3, 0.3]'),
        ('val_accuracy', format('[%%s, %%s, %%s]', round((top + 0.003 * random())::numeric, 4),
            round((top + 0.003 * random())::numeric, 4), round((top + 0.003 * random())::numeric, 4))),
        ('test_accuracy', format('[%%s, %%s, %%s]', round((top + 0.003 * random())::numeric, 4),
            round((top + 0.003 * random())::numeric, 4), round((top + 0.003 * random())::numeric, 4)))
    ) AS told (key, value);
ANALYZE
"""


def campaign(n_trials: int, epochs: int) -> StudySpec:
    """A campaign of about that many trials."""
    return StudySpec.model_validate(
        {
            "name": NAME,
            "fixed": {"dataset": "digits", "epochs": epochs},
            "pairs": {"sparsity": SPARSITIES, "distribution": ["uniform", "erk"]},
            "search": {
                "lr": {"low": 0.01, "high": 0.3, "log": True},
                "alpha": {"low": 0.1, "high": 0.6},
                "delta_t": {"low": 50, "high": 1000, "step": 50},
            },
            "strategy": {
                "sampler": "random",
                "n_trials": max(1, n_trials // PAIRS),
                "seeds": [0, 1, 2],
                "reference": {"lr": 0.1, "alpha": 0.3, "delta_t": 100},
            },
        }
    )


def fill(url: StorageUrl, n_trials: int, epochs: int) -> None:
    """Store the campaign, and give its trials a life."""
    storage = open_storage(url)
    create_campaign(storage, campaign(n_trials, epochs))
    close_storage(storage)
    engine = sa.create_engine(url.secret())
    with engine.begin() as connection:
        connection.exec_driver_sql(FILL.format(epochs=epochs))
    engine.dispose()


def report(*arguments: str) -> tuple[float, float, float]:
    """Wall time of `rigl-study report`, seconds that it computed, and the most MiB of its processes at any time."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "studies", "report", *arguments])
    size = 0.0
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        size = max(size, memory(process.pid))
        time.sleep(0.5)  # to look takes some hundredths of a second, for which the process stands still
    wall = time.perf_counter() - began
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"rigl-study report {' '.join(arguments)} ended with status {status}.")
    return wall, used.ru_utime + used.ru_stime, size


def memory(pid: int) -> float:
    """MiB of a process and its children; what they share counts once."""
    found = 0.0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                found += int(line.split()[1]) / 1024
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += memory(int(child))
    return found


def differing(one: Path, other: Path) -> list[str]:
    """Names of files that two folders do not have byte for byte in common."""
    found = [
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (one, other)
    ]
    return sorted(name for name in found[0].keys() | found[1].keys() if found[0].get(name) != found[1].get(name))


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=250)
    arguments = parser.parse_args()
    with scratch() as (home, url):
        os.environ["RIGL_STUDY_STORAGE"] = url.revealed()  # not an argument, which every `ps` shows
        began = time.perf_counter()
        fill(url, arguments.trials, arguments.epochs)
        told = f"{arguments.trials:,} trials of {arguments.epochs} epochs in {PAIRS} pairs"
        print(f"{told}, filled in {time.perf_counter() - began:.1f} s", flush=True)
        ways = {
            "from Postgres": [NAME],
            "from Postgres again": [NAME],
            "from its own files": ["--from", str(home / "from Postgres")],
        }
        for way, source in ways.items():
            wall, computed, size = report(*source, "--out", str(home / way))
            print(f"{way:<20} {wall:.1f} s, {computed:.1f} s of them computed, at most {size:,.0f} MiB", flush=True)
        first, *others = (home / way for way in ways)
        for other in others:
            print(f"files that differ {other.name}: {', '.join(differing(first, other)) or 'none'}")
        page, table = (first / name for name in ("report.html", "trials.csv"))
        print(f"report.html {page.stat().st_size / 1e6:.2f} MB, trials.csv {table.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
