"""What `rigl-study train` shows while it trains."""

import io

import pytest
from rich.console import Console

from rigl_core.outcome import EpochReport
from studies.commands.train import live_bar


def report(*, bits: tuple[float, ...] = ()) -> EpochReport:
    return EpochReport(
        epoch=99, n_epochs=250, loss=(2.30152,), val_accuracy=(0.8765,), seconds=1.0, explored=(0.4321,),
        sparsity=(0.9,), inference_flops=(0.1032,), bits_per_character=bits,
    )  # fmt: skip


@pytest.mark.parametrize("bits", [(), (1.98771,)])
def test_the_live_bar_and_its_figures_fit_eighty_columns(bits: tuple[float, ...]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None, legacy_windows=False)
    with live_bar(console, 250) as (on_epoch, on_step):
        on_step(40, 100)
        on_epoch(report(bits=bits))
    file = console.file
    assert isinstance(file, io.StringIO)
    shown = file.getvalue()
    last = shown[shown.rindex("epoch 100/250") :]
    assert "…" not in last
    assert " 40%" in last.splitlines()[0]
    assert last.splitlines()[0].count("━") > 18, "40 % of a bar that takes what room there is"
    flat = " ".join(last.split())
    for part in ("loss 2.3015", "validation 87.65 %", "sparsity 0.9000", "explored 0.432", "FLOPs 0.103×"):
        assert part in flat
    assert ("bits/char 1.9877" in flat) == bool(bits)
