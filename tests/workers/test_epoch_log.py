"""Which epochs are told, by a clock that the test moves."""

from collections.abc import Sequence

import pytest

from workers.epoch_log import EpochLog


def told(epoch_seconds: float, n_epochs: int) -> Sequence[int]:
    """Which epochs, from 1, of so many that each take so long."""
    now = 0.0
    log = EpochLog(lambda: now)
    due = []
    for epoch in range(1, n_epochs + 1):
        now += epoch_seconds
        if log.is_due():
            due.append(epoch)
    return due


@pytest.mark.parametrize(
    ("epoch_seconds", "n_epochs", "expected"),
    [
        (0.25, 200, [1, 2, 3, 43, 83, 123, 163]),
        (4.0, 12, [1, 2, 3, 6, 9, 12]),
        (10.0, 6, [1, 2, 3, 4, 5, 6]),
        (0.0, 1000, [1, 2, 3]),
    ],
)
def test_the_first_three_and_then_one_in_ten_seconds(epoch_seconds: float, n_epochs: int, expected: list[int]) -> None:
    assert told(epoch_seconds, n_epochs) == expected
