"""One row a line of the goals: what we take, what a peer takes, their ratio, the goal. Every benchmark gives such rows.

A ratio is the one its goal is about, so that it is read without a calculator: `speedup` rows say how many times quicker
than the peer ours is, `share` rows how many times the peer's ours is, and a row without a peer compares ours itself.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure, or why there is none.

    Attributes:
        line: what was measured, in the words of the goal.
        ours: our figure; None was not measured, and `note` says why.
        unit: of ours and the peer's, for example "ms".
        peer: who it is compared with, "" for nobody.
        theirs: the peer's figure, in the same unit.
        ratio: of the two, as the goal means it (see `speedup` and `share`).
        goal: in words, for example "≥ 1.8×"; "" where the figure only informs.
        note: conditions, or "not measured: reason".
    """

    line: str
    ours: float | None = None
    unit: str = ""
    peer: str = ""
    theirs: float | None = None
    ratio: float | None = None
    goal: str = ""
    note: str = ""


def speedup(line: str, ours: float, peer: str, theirs: float, *, unit: str, goal: str = "", note: str = "") -> Row:
    """How many times quicker than the peer: theirs / ours, both durations."""
    return Row(line=line, ours=ours, unit=unit, peer=peer, theirs=theirs, ratio=theirs / ours, goal=goal, note=note)


def share(line: str, ours: float, peer: str, theirs: float, *, unit: str, goal: str = "", note: str = "") -> Row:
    """How many times the peer's: ours / theirs."""
    return Row(line=line, ours=ours, unit=unit, peer=peer, theirs=theirs, ratio=ours / theirs, goal=goal, note=note)


def not_measured(line: str, reason: str, *, peer: str = "", goal: str = "") -> Row:
    """A line that this machine, or this installation, cannot measure."""
    return Row(line=line, peer=peer, goal=goal, note=f"not measured: {reason}")


def table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table, which is also easy to read on a terminal."""
    cells = [("line", "ours", "peer", "ratio", "goal", "note")]
    for row in rows:
        theirs = f"{row.peer} {_number(row.theirs)} {row.unit if row.theirs is not None else ''}".strip()
        ratio = "" if row.ratio is None else f"{_number(row.ratio)}×"
        ours = "" if row.ours is None else f"{_number(row.ours)} {row.unit}".strip()
        cells.append((row.line, ours, theirs, ratio, row.goal, row.note))
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    """Three digits are what such a measurement is good for."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def show(measure: Callable[[], list[Row]], description: str | None = None) -> None:
    """What `python -m benchmarks.NAME` does: measure, and print the table, or JSON with --json."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    arguments = parser.parse_args()
    rows = measure()
    print(json.dumps([asdict(row) for row in rows], ensure_ascii=False) if arguments.json else table(rows))
