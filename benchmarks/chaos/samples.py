"""What is counted again and again while there is trouble, and what becomes of it: what leaks grows to the end."""

import contextlib
import statistics
from collections.abc import Sequence
from pathlib import Path


def ports_of(pids: Sequence[int]) -> set[int]:
    """Local ports of the TCP connections that these processes hold."""
    held = set()
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # it has just closed it
                    held.add(str(descriptor.readlink()))
    fields = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(own[1].rpartition(":")[2], 16) for own in fields if f"socket:[{own[9]}]" in held}


def at_last(samples: list[int]) -> float:
    """The median of the last quarter."""
    return statistics.median(samples[-max(1, len(samples) // 4) :] or [0])


def growth(samples: list[int]) -> float:
    """How much more it was in the last quarter than in the second, by the medians; in the first, workers begin."""
    quarter = max(1, len(samples) // 4)
    return at_last(samples) - statistics.median(samples[quarter : 2 * quarter] or [0])
