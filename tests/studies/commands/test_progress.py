"""What `work` and `run` show of a campaign while workers train."""

import io

import pytest
from rich.console import Console

from studies.commands.progress import CampaignProgress
from studies.database.transactions import Counts

COUNTS = {
    "rigl-s0.9-uniform": Counts(waiting=3, running=2, complete=3, failed=1, best=0.5625),
    "rigl-s0.9-erk": Counts(waiting=3, complete=3),
}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_names_and_numbers_are_whole_however_narrow_the_terminal(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, no_color=True)
    console.print(CampaignProgress("all", lambda: COUNTS)._display(COUNTS))
    first, second = console.file.getvalue().splitlines()[-2:]

    assert first.split()[0] == "rigl-s0.9-uniform"
    assert first.rstrip().endswith("4/9  2 running  best 56.25 %  1 failed")
    assert (second.split()[0], second.split()[-1]) == ("rigl-s0.9-erk", "3/6")
