"""docs/results.md: what a report's folder holds, and the results for other programs."""

from docs.markdown import NOTICE, table
from studies.frame import COLUMNS, STATES, Column
from studies.reporting.trials_csv import PER_SEED


def results() -> str:
    """Files of a report, the columns of its table, and how to read both."""
    rows = [
        [f"`{column.name}_SEED`" if column.name in PER_SEED else f"`{column.name}`", _written(column), _means(column)]
        for column in COLUMNS
    ]
    before, after = TEXT.strip().split("\n\nTABLE\n\n")
    return "\n\n".join([NOTICE, "# Results for other programs", before, table(["column", "", ""], rows), after]) + "\n"


def _written(column: Column) -> str:
    """How trials.csv writes its values."""
    if column.name in PER_SEED:
        return "number, one column a seed"
    kinds = {"object": "JSON", "boolean": "True or False", "float64": "number", "Int64": "whole number"}
    return "ISO 8601" if column.dtype.startswith("datetime") else kinds.get(column.dtype, "text")


def _means(column: Column) -> str:
    """Without what only Python has, and what nobody can look up."""
    meaning = (
        column.meaning.replace("tuple of ", "").replace("dict of ", "").replace("one of STATES", ", ".join(STATES))
    )
    return meaning.replace(", one a seed", "") if column.name in PER_SEED else meaning


TEXT = """
`rigl-study report NAME --out DIR` writes a folder that needs nothing else:

| file | |
|---|---|
| `report.html` | the report: one page, readable without a network |
| `report.md` | the same for a pull request |
| `figures/` | every figure as SVG and PNG; with `--style paper` as PDF, too, at the column widths of a paper |
| `trials.csv` | every trial, one a row; with `--parquet` also `trials.parquet`, with types |
| `summary.json` | answer, sections and specification; its schema is [summary.schema.json](summary.schema.json) |

`rigl-study report --from DIR` makes the report anew from `trials.csv` and `summary.json`, without a database. `status`,
`list`, `best` and others print JSON with `--json`, on stdout and nothing else there.

## trials.csv

One row a trial. Searched parameters have columns of their own after `is_reference`, with `params_` before a name that
is taken. An empty cell was never measured or does not apply, NaN is a number that went wrong. Accuracies and sparsities
are fractions in [0, 1]; FLOPs are multiples of the dense network's unless said otherwise.

TABLE

## A study of another program

`rigl-study report --optuna-study STUDY` writes the same files about an Optuna study that any program made, in its own
units and direction. The best is the best of the trials that keep their constraints; a setting that ran several times
counts with its mean, and `runs` in summary.json lists its trials. `--reference KEY=VALUE,...` names what to compare
with, as often as needed; a value that holds a comma may be written as JSON (`--reference 'layers=[64, 32]'`,
`--reference 'layers="64,32"'`), and `--reference-trial 0` names a trial by its number. Without `--out` the report goes
to reports/STUDY; a name that no folder can have gets a piece of its hash behind it.

## In Python

```python
import json

import pandas as pd

trials = pd.read_csv("reports/my-question/trials.csv")
complete = trials[trials["state"] == "complete"]
best = complete.loc[complete["value"].idxmax()]
curve = json.loads(best["curve"])  # validation accuracy by epoch
```

From the database, while workers run, with the same columns (per seed as tuples, curves as dictionaries):

```python
from studies.database.storage_url import StorageUrl
from studies.frame import load_frame
from studies.storage import close_storage, open_read_only

storage = open_read_only(StorageUrl.parse("postgresql://me@db.example/rigl_study"))
trials = load_frame(storage, "my-question")
close_storage(storage)
```

`rigl-study storage url --reveal` prints the URL of the embedded database. Studies are Optuna's own, so its functions
read them, too:

```python
import optuna

url = "postgresql+psycopg2://me@db.example/rigl_study"
study = optuna.load_study(study_name="my-question/rigl-s0.9-erk", storage=url)
importance = optuna.importance.get_param_importances(study)
```

But leave `ask` and `optimize` alone: they would add trials to the plan.
"""
