"""Every line of the goals in one table: `python -m benchmarks`. What this machine cannot measure says why."""

import importlib
import platform
import subprocess
from collections.abc import Sequence

import torch

from benchmarks.rows import Row, not_measured, table

SOURCES = (
    ("topology_step", "measure"),
    ("training_run", "measure"),
    ("gpu.__main__", "rows"),
    ("queue_cost", "measure"),
    ("queue_cost", "commands"),
    ("growth", "measure"),
)
"""Modules of this package and the function of each that gives rows."""


def rows_of(module: str, function: str) -> Sequence[Row]:
    """What it gives, or that it gave nothing and why: one figure that cannot be had does not cost the others."""
    try:
        rows: Sequence[Row] = getattr(importlib.import_module(f"benchmarks.{module}"), function)()
    except Exception as error:
        return [not_measured(module, " ".join(f"{type(error).__name__}: {error}".split()))]
    return rows


def main() -> None:
    """Say where this is, then measure."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(
        f"commit {commit.stdout.strip() or 'unknown'}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, {torch.get_num_threads()} threads\n"
    )
    print(table([row for source in SOURCES for row in rows_of(*source)]))


if __name__ == "__main__":
    main()
