"""`rigl-study report`: a campaign's results as files, and its answer in a few lines on stdout."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.options import CampaignName, Out, Storage, one_of
from studies.commands.storage import opened
from studies.reporting.figure_style import STYLES

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from studies.report import WrittenReport

Margin = Annotated[
    float,
    typer.Option("--margin", min=0, max=100, metavar="POINTS", help="A gain below this is not worth tuning for."),
]
FigureStyle = Annotated[
    str, one_of(STYLES, "--style", help="How figures are drawn: for a screen, or at the column widths of a paper.")
]


def report(
    name: CampaignName,
    out: Out = None,
    margin: Margin = 0.25,
    style: FigureStyle = "screen",
    storage: Storage = None,
) -> None:
    """Write the report of a campaign, finished or not: HTML, Markdown, a table of all trials, JSON, figures.

    Prints the result in a few lines and where the report is.
    """
    with opened(storage) as database:
        write_campaign(database, name, out, margin=margin, style=style)


def write_campaign(
    database: "BaseStorage", name: str, out: Path | None, *, margin: float = 0.25, style: str = "screen"
) -> None:
    """Write the report of a stored campaign, and say what it found; `margin` is in points."""
    from studies.frame import load_frame, load_provenance
    from studies.report import Form, write_report

    provenance = load_provenance(database, name)
    folder = out or Path("reports") / name
    _tell(write_report(load_frame(database, name), provenance, folder, margin / 100, Form(style)))


def _tell(written: "WrittenReport") -> None:
    print(written.headline)
    print(f"report: {written.html}")
