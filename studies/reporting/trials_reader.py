"""A report's trials.csv, and the specification in the summary.json beside it, read back: a report without a database.

Nothing in the files is trusted. Each cell is checked against its column, and the first that does not fit is told with
its line, column and value; a cell is data, never a formula and never a program.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
from pydantic import ValidationError

from studies.complaints import one_line
from studies.errors import BadInput, UnknownName
from studies.frame import COLUMNS, STATES, Provenance, build_frame, param_column, provenance_of
from studies.reporting import trials_cells as read
from studies.reporting.computing import uncollected
from studies.reporting.summary import GENERATOR
from studies.reporting.trials_cells import Parse
from studies.reporting.trials_csv import PER_SEED, text_of
from studies.spec import SPEC_VERSION, StudySpec

MAX_BYTES = 500_000_000
"""Thirty thousand trials of 250 epochs; what is larger is no table of trials."""
MAX_CELL = 10_000_000
"""Characters of one cell, which the curve of a trial never has."""

MAPPINGS = ("layer_sparsity", "initial_layer_sparsity", "environment")
"""Columns of JSON objects with names for keys."""
NESTED: Mapping[str, Parse] = {
    "seeds": read.seeds,
    "curve": read.epochs,
    "explored": read.fractions,
    "inference_flops_by_epoch": read.numbers,
}
"""The other columns of JSON."""
FRACTIONS = ("value", "sparsity", "realised_sparsity", "val_accuracy", "test_accuracy")
REQUIRED = ("study", "number", "state")
"""What a row cannot be placed without. Any other column may be missing, as in the report of an older version."""


@uncollected()
def read_report(source: Path) -> tuple[pd.DataFrame, Provenance]:
    """Trials and provenance of a campaign, as `load_frame` and `load_provenance` would give them.

    Args:
        source: a report's trials.csv, or its folder.

    Raises:
        BadInput: a file is missing, too large, of something else, or has a cell that cannot be; one line says where.
    """
    path = source / "trials.csv" if source.is_dir() else source
    with _opened(path) as file:
        spec = _read_spec(path.with_name("summary.json"), path)
        rows = list(_rows(file, path, spec))
    studies = [plan.name for plan in spec.plans()]
    order = {name: i for i, name in enumerate(studies)}
    rows.sort(key=lambda row: (order[row["study"]], row["number"]))
    return build_frame(rows, studies=studies, search=list(spec.search)), provenance_of(spec)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The file as text; whatever is wrong with it is one line."""
    try:
        if not path.is_file():
            raise BadInput(f"{path}: there is no such file; name the trials.csv of a report.")
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path}: is larger than {MAX_BYTES:,} bytes, which no table of trials is.")
        with path.open(encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets put a byte-order mark in front
            yield file
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8.") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}.") from None


def _read_spec(path: Path, table: Path) -> StudySpec:
    if not path.is_file():
        raise BadInput(f"{table}: there is no summary.json beside it, which has the specification; keep them together.")
    with _opened(path) as file:
        try:
            summary = json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path}: is not valid JSON ({error}).") from None
    told = summary.get("provenance") if isinstance(summary, dict) else None
    if not isinstance(told, dict) or summary.get("generator") != GENERATOR or "spec" not in told:
        raise BadInput(f"{path}: is not the summary.json of a campaign's report.")
    if told.get("spec_version") != SPEC_VERSION:
        found = told.get("spec_version")
        raise BadInput(f"{path}: has a specification of format {found!r}; this rigl-study reads format {SPEC_VERSION}.")
    try:
        return StudySpec.model_validate(told["spec"])
    except ValidationError as error:
        raise BadInput(f"{path}: provenance.spec: {one_line(error)}.") from None
    except (BadInput, OverflowError, RecursionError) as error:
        raise BadInput(f"{path}: provenance.spec: {error}") from None


def _rows(file: TextIO, path: Path, spec: StudySpec) -> Iterator[dict[str, Any]]:
    limit = csv.field_size_limit(MAX_CELL)
    reader = csv.reader(file, strict=True)
    line = 1
    try:
        header = next(reader, [])
        parsers = _parsers(header, path, spec)
        seen: set[tuple[str, int]] = set()
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) != len(header):
                raise BadInput(f"{path}, line {line}: has {len(cells)} cells, and the table {len(header)} columns.")
            row = _row(dict(zip(header, cells, strict=True)), parsers, f"{path}, line {line}", spec)
            place = row["study"], row["number"]
            if place in seen:
                raise BadInput(f"{path}, line {line}: trial {place[1]} of {place[0]} is there a second time.")
            seen.add(place)
            yield row
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadInput(f"{path}, line {line}: is not CSV ({error}).") from None
    finally:
        csv.field_size_limit(limit)


def _row(cells: Mapping[str, str], parsers: Mapping[str, Parse], where: str, spec: StudySpec) -> dict[str, Any]:
    """One trial as `build_frame` wants it: values by column, per-seed numbers together."""
    row: dict[str, Any] = {}
    for name, cell in cells.items():
        if cell or name in REQUIRED:
            try:
                row[name] = parsers[name](cell)
            except (BadInput, ValueError, RecursionError) as error:
                shown = repr(cell if len(cell) <= 40 else f"{cell[:37]}...")
                raise BadInput(f'{where}, column "{name}": {shown} {error}.') from None
    for name in (*MAPPINGS, "curve"):
        row.setdefault(name, {})
    for name in ("explored", "inference_flops_by_epoch"):
        row.setdefault(name, ())
    seeds = row.setdefault("seeds", ())
    for name in PER_SEED:
        own = {seed: row.pop(f"{name}_{seed}") for seed in seeds if f"{name}_{seed}" in row}
        row[name] = tuple(own.values()) if len(own) == len(seeds) else ()
        if own and not row[name]:
            raise BadInput(f"{where}: {name} has {len(own)} of the {len(seeds)} seeds {list(seeds)}.")
    if row.setdefault("campaign", spec.name) != spec.name:
        raise BadInput(f'{where}, column "campaign": is {row["campaign"]!r}, and summary.json has {spec.name}.')
    return row


def _parsers(header: Sequence[str], path: Path, spec: StudySpec) -> dict[str, Parse]:
    """How each column of the file is read."""
    known = {c.name: _parser(c.name, c.dtype) for c in COLUMNS if c.name not in PER_SEED}
    known |= {
        "number": read.index,
        "study": read.one_of([plan.name for plan in spec.plans()]),
        "state": read.one_of(STATES),
    }
    params = {param_column(name): read.of_axis(axis) for name, axis in spec.search.items()}
    known |= params
    for name in header:
        what, _, seed = name.rpartition("_")
        if what in PER_SEED and read.is_whole(seed):
            known[name] = read.fraction if what in FRACTIONS else read.number
    if len(set(header)) != len(header):
        raise BadInput(f"{path}, line 1: a column is there twice.")
    for name in header:
        if name not in known:
            raise BadInput(f"{path}, line 1: {UnknownName('column', name[:80], sorted(known))}")
    for name in (*REQUIRED, *params):
        if name not in header:
            raise BadInput(f'{path}, line 1: the column "{name}" is missing.')
    return known


def _parser(name: str, dtype: str) -> Parse:
    if dtype == "object":
        return read.mapping if name in MAPPINGS else NESTED[name]
    if dtype == "float64":
        return read.fraction if name in FRACTIONS else read.number
    return {"Int64": read.whole, "boolean": read.truth, "datetime64[us]": read.moment}.get(dtype, text_of)
