"""trials.parquet holds the frame in types of its own, and is the same bytes each time."""

import builtins
import io
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest

from studies.errors import NotInstalled
from studies.frame import DECLARED
from studies.reporting.trials_parquet import trials_parquet
from tests.studies.sample_cases import CASES


@pytest.mark.parametrize("case", CASES)
def test_every_value_is_there(case: str) -> None:
    frame, _ = CASES[case]().load()
    table = pyarrow.parquet.read_table(io.BytesIO(trials_parquet(frame)))

    assert table.column_names == list(frame.columns)
    assert table.num_rows == len(frame)
    for i, row in enumerate(table.to_pylist()):
        for column in frame.columns:
            assert _same(row[column], frame[column].tolist()[i]), column


def _same(read: Any, value: Any) -> bool:
    if isinstance(value, dict):
        return repr(dict(read)) == repr(value)
    if isinstance(value, tuple):
        return repr(tuple(read)) == repr(value)
    return bool(pd.isna(value)) if read is None else bool(read == value)


def test_columns_have_types() -> None:
    frame, _ = CASES["two_complete"]().load()
    types = {field.name: str(field.type) for field in pyarrow.parquet.read_schema(io.BytesIO(trials_parquet(frame)))}

    assert types["lr"] == "double"
    assert types["delta_t"] == "int64"
    assert types["is_reference"] == "bool"
    assert types["started"] == "timestamp[us]"
    assert types["val_accuracy"].startswith("list<")
    assert types["curve"].startswith("map<int64, double")
    assert {name for name in types if name in DECLARED} == set(DECLARED)


def test_the_same_trials_give_the_same_bytes() -> None:
    first, second = (trials_parquet(CASES["whole"]().load()[0]) for _ in range(2))

    assert first == second


def test_without_pyarrow_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return importing(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(NotInstalled, match=r"pip install 'rigl-study\[parquet\]'"):
        trials_parquet(CASES["one_complete"]().load()[0])
