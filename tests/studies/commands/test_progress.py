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


def test_without_a_terminal_there_is_a_line_in_ten_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("studies.commands.progress.time.monotonic", lambda: now)
    n_done = 0
    with CampaignProgress("tiny", lambda: {"rigl": Counts(waiting=170 - n_done, complete=n_done)}) as progress:
        for _ in range(100):  # 50 s, and a trial is done every half second
            now += 0.5
            n_done += 1
            progress.update()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"rigl-study: tiny: {done} of 170 trials" for done in (0, 20, 40, 60, 80, 100)
    ]
