"""A measurement in parts: each within its time, none costing the others, and every figure kept once it is there."""

import gc
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from benchmarks.rows import Row, not_measured, table
from rigl_core.errors import BadInput

Measure = Callable[[], None]

RINGS_AGAIN = 5.0
"""Seconds after which the alarm rings again: what it raises in a destructor, say, Python only prints."""


class CannotMeasure(Exception):
    """This device has not what a part is about."""


class OutOfTime(BaseException):
    """A part has used up its seconds. No Exception: compilers, and parts that try several things, go on after those."""


class Session:
    """Rows, and what is told beside them.

    Args:
        budget: seconds for all parts together.
        out: a JSON file to keep them in, written anew with every row; None keeps none.
        kept: what an earlier process of the same measurement has written there.

    Attributes:
        ends: when the budget is used up, on this machine's monotonic clock, which all its processes share.
        told: sentences that fit in no table.
        errors: the traceback of each part that failed.
    """

    def __init__(self, budget: float, out: Path | None = None, kept: str = "") -> None:
        before = json.loads(kept or "{}")
        self.rows = [Row(**row) for row in before.get("rows", [])]
        self.told: list[str] = before.get("told", [])
        self.errors: dict[str, str] = before.get("errors", {})
        self.machine = ""
        self._out, self.ends = out, time.monotonic() + budget
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)

    @property
    def seconds_left(self) -> float:
        """Of the budget."""
        return self.ends - time.monotonic()

    def row(self, row: Row) -> None:
        """A figure."""
        self.rows.append(row)
        print("\n".join(table([row]).splitlines()[2:]), flush=True)
        self._keep()

    def tell(self, sentence: str) -> None:
        """What is worth knowing beside the figures."""
        self.told.append(sentence)
        print(f"  {sentence}", flush=True)
        self._keep()

    def attempt(self, part: str, limit: float, measure: Callable[[], None]) -> bool:
        """Measure a part within `limit` seconds and the budget, or say why not.

        Returns:
            Whether the device may be relied on after it.
        """
        if self.seconds_left < 1.0:
            self.row(not_measured(part, "no time left"))
            return True
        began, reliable = time.monotonic(), True
        print(f"{part} ({self.seconds_left:.0f} s left)", flush=True)
        try:
            with within(min(limit, self.seconds_left)):
                measure()
        except (OutOfTime, CannotMeasure, BadInput) as reason:
            self.row(not_measured(part, f"{reason}"))
        except Exception as error:
            reliable = False
            self.errors[part] = traceback.format_exc()
            print(self.errors[part], flush=True)
            self.row(not_measured(part, " ".join(f"{type(error).__name__}: {error}".split())[:300]))
        gc.collect()
        print(f"  {part} took {time.monotonic() - began:.1f} s", flush=True)
        return reliable

    def _keep(self) -> None:
        if self._out is not None:
            new = self._out.with_suffix(".new")
            rows = [asdict(row) for row in self.rows]
            content = {"machine": self.machine, "rows": rows, "told": self.told, "errors": self.errors}
            new.write_text(json.dumps(content, ensure_ascii=False, indent=1))
            os.replace(new, self._out)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block after so many seconds, as soon as the interpreter is asked again."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTime(f"its {seconds:.0f} s were over")

    began = time.monotonic()
    others, _ = signal.setitimer(signal.ITIMER_REAL, 0)  # or theirs could ring as ours
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, RINGS_AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if others:  # somebody else's alarm, a test's timeout say
            signal.setitimer(signal.ITIMER_REAL, max(0.01, others - (time.monotonic() - began)))
