"""How long a person waits for `rigl-study --help`, and for `rigl-study status` at 10,000 trials."""

import statistics
import tempfile
from pathlib import Path

from benchmarks import status
from benchmarks.rows import Row
from studies.database.embedded import EmbeddedPostgres


def measure(*, quick: bool = False) -> list[Row]:
    """The rows of both: medians of whole processes."""
    repeats = 3 if quick else 7
    with tempfile.TemporaryDirectory(prefix="rigl-study-benchmark-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # root's Postgres runs as another user
        embedded = EmbeddedPostgres(home, fsync=False)
        try:
            url = embedded.ensure_running()
            status.fill(url, 10_000)
            rows = []
            for words, goal in ((["--help"], 0.4), (["status"], 1.0)):
                times = [status.seconds(words, url.revealed())[0] for _ in range(repeats)]
                line = f"rigl-study {' '.join(words)}{'' if words == ['--help'] else ', 10,000 trials'}"
                note = f"{min(times):.2f} to {max(times):.2f} s, {repeats} times"
                rows.append(Row(line=line, ours=statistics.median(times), unit="s", goal=f"≤ {goal} s", note=note))
            return rows
        finally:
            embedded.stop()
