"""trials.parquet: the trials as typed columns, for programs that read more tables than they look at."""

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd

from studies.errors import NotInstalled
from studies.frame import COLUMNS, param_columns

NESTED: Mapping[str, tuple[str, ...]] = {
    "seeds": ("list", "int64"),
    "curve": ("map", "int64", "float64"),
    "environment": ("map", "string", "string"),
    "layer_sparsity": ("map", "string", "float64"),
    "initial_layer_sparsity": ("map", "string", "float64"),
}
"""Types of columns that hold more than one value a trial; others are lists of numbers, one a seed or epoch."""

_SIMPLE = {"Int64": "int64", "boolean": "bool", "category": "string", "datetime64[us]": "timestamp[us]"}


def trials_parquet(frame: pd.DataFrame) -> bytes:
    """The frame as the bytes of a Parquet file, with the columns of `studies.frame.COLUMNS`, parameters behind them.

    Raises:
        NotInstalled: pyarrow is.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise NotInstalled(
            "writing Parquet needs pyarrow, which is not installed; run: pip install 'rigl-study[parquet]' (in a "
            "clone: pip install '.[parquet]'), or leave --parquet out: trials.csv holds the same."
        ) from None

    def array(column: str, dtype: str) -> Any:
        values: list[Any] = [None if _is_missing(value) else value for value in frame[column].tolist()]
        if dtype != "object":
            return pa.array(values, pa.type_for_alias(_SIMPLE.get(dtype, dtype)), from_pandas=True)
        shape, *parts = NESTED.get(column, ("list", "float64"))
        types = [pa.type_for_alias(part) for part in parts]
        if shape == "map":
            return pa.array([list(value.items()) for value in values], pa.map_(*types))
        return pa.array([list(value) for value in values], pa.list_(*types))

    arrays = {column.name: array(column.name, column.dtype) for column in COLUMNS}
    for column in param_columns(frame).values():
        dtype = str(frame[column].dtype)
        arrays[column] = array(column, dtype if dtype != "object" else "string")
    buffer = io.BytesIO()
    parquet.write_table(pa.table(arrays), buffer, compression="zstd")
    return buffer.getvalue()


def _is_missing(value: Any) -> bool:
    return not isinstance(value, tuple | dict) and pd.isna(value)
