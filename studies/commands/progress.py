"""Live progress of a campaign: in place on a terminal, elsewhere a line in ten seconds at most. Always on stderr."""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from studies.commands.app import logs_json, say
from studies.errors import StorageError
from studies.log_format import one_clean_line
from studies.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from studies.database.transactions import Counts

LOOK_SECONDS = 1.0
"Between two looks at the database, where somebody watches."
LOG_SECONDS = 10.0
"The same where only a log does, a line each time at most: hundreds of workers have one each, and one database."


class CampaignProgress:
    """What `work` and `run` show while workers train.

    As a context manager, it takes the terminal over until its end. `output` is then where the workers' own words go,
    so that they appear above the display instead of tearing it.

    Arguments:
        title: of the whole.
        look: counts by study (or by campaign), asked every LOOK_SECONDS on a terminal and every LOG_SECONDS elsewhere.
    """

    def __init__(self, title: str, look: Callable[[], Mapping[str, "Counts"]]) -> None:
        self.title = title
        self._look = look
        self._began = self._looked = 0.0
        self._done_before: int | None = None
        self._shown: Mapping[str, object] = {}
        self._live: Any = None
        self._relay: threading.Thread | None = None
        self.output = 2

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not logs_json():
            self._take_over()
        self.update()
        return self

    def __exit__(self, *_: object) -> None:
        self.update(now=True)
        if self._live is not None:
            os.close(self.output)  # the workers have ended, so this was the pipe's last writer
            if self._relay is not None:
                self._relay.join()
            self._live.stop()

    @property
    def is_live(self) -> bool:
        """Whether it has a terminal."""
        return self._live is not None

    def update(self, *, now: bool = False) -> None:
        """Look again and show what has changed; cheap to call often."""
        if not now and time.monotonic() - self._looked < (LOOK_SECONDS if self.is_live else LOG_SECONDS):
            return
        self._looked = time.monotonic()
        try:
            counts = self._look()
        except StorageError:
            return  # the workers wait for the database too, and have said so
        if self._done_before is None:
            self._done_before = sum(_done(c) for c in counts.values())
        if self._live is not None:
            self._live.update(self._display(counts), refresh=True)
        else:
            self._say_changes(counts)

    def _say_changes(self, counts: Mapping[str, "Counts"]) -> None:
        state = {name: (_done(c), c.best) for name, c in counts.items()}
        if state == self._shown:
            return
        changed = {name: c for name, c in counts.items() if state[name] != self._shown.get(name)}
        best = "; ".join(f"{name} {100 * c.best:.2f} %" for name, c in changed.items() if c.best is not None)
        say(f"{self._summary(counts)}{f'; best {best}' if best else ''}")
        self._shown = state

    def _summary(self, counts: Mapping[str, "Counts"]) -> str:
        n_done, n_total = sum(map(_done, counts.values())), sum(map(_total, counts.values()))
        running = sum(c.running for c in counts.values())
        failed = sum(c.failed for c in counts.values())
        parts = [f"{n_done} of {n_total} trials", f"{running} running"]
        parts += [f"{failed} failed"] if failed else []
        left = self._seconds_left(n_done, n_total)
        parts += [] if left is None else [f"about {_duration(left)} left"]
        return f"{self.title}: {', '.join(parts)}"

    def _seconds_left(self, n_done: int, n_total: int) -> float | None:
        """At the pace since the start; None until there is one, and when nothing is left."""
        done_here = n_done - (self._done_before or 0)
        if done_here <= 0 or n_done >= n_total:
            return None
        return (time.monotonic() - self._began) / done_here * (n_total - n_done)

    def _take_over(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=True)
        self._live.start()
        console.show_cursor(True)  # a second Ctrl-C kills this process, which could not bring it back
        read_end, self.output = os.pipe()

        def relay() -> None:
            with open(read_end, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    console.print(one_clean_line(line), markup=False, highlight=False, style="dim")

        self._relay = threading.Thread(target=relay, daemon=True)
        self._relay.start()

    def _display(self, counts: Mapping[str, "Counts"]) -> "RenderableType":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Column, Table
        from rich.text import Text

        # On a narrow terminal the bars shrink: what stands beside them would be cut to the same few letters.
        texts = (Column(no_wrap=True) for _ in range(4))
        rows = Table.grid(Column(no_wrap=True), Column(), *texts, padding=(0, 2))
        for name, c in counts.items():
            rows.add_row(
                Text(printable(name)),  # a text as it is, brackets and all
                ProgressBar(total=max(1, _total(c)), completed=_done(c), width=20),
                Text(f"{_done(c)}/{_total(c)}", justify="right"),
                f"{c.running} running" if c.running else "",
                "" if c.best is None else f"best {100 * c.best:.2f} %",
                f"{c.failed} failed" if c.failed else "",
            )
        return Group(Text(self._summary(counts), style="bold"), rows)


def _done(counts: "Counts") -> int:
    return counts.complete + counts.pruned + counts.failed


def _total(counts: "Counts") -> int:
    return _done(counts) + counts.waiting + counts.running


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
