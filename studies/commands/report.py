"""`rigl-study report`: a campaign's results as files, and its answer in a few lines on stdout."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.options import Out, Storage, one_of
from studies.commands.storage import opened
from studies.errors import BadInput
from studies.reporting.figure_style import STYLES

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from pandas import DataFrame

    from studies.frame import Provenance
    from studies.report import WrittenReport

Margin = Annotated[
    float,
    typer.Option("--margin", min=0, max=100, metavar="POINTS", help="A gain below this is not worth tuning for."),
]
FigureStyle = Annotated[
    str, one_of(STYLES, "--style", help="How figures are drawn: for a screen, or at the column widths of a paper.")
]


Source = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Rebuild the report from the trials.csv and summary.json of an earlier one, without a database.",
    ),
]


def report(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The campaign.", show_default=False)] = None,
    out: Out = None,
    margin: Margin = 0.25,
    style: FigureStyle = "screen",
    source: Source = None,
    storage: Storage = None,
) -> None:
    """Write the report of a campaign, finished or not: HTML, Markdown, a table of all trials, JSON, figures.

    Prints the result in a few lines and where the report is.
    """
    if source is not None:
        if name is not None or storage is not None:
            raise BadInput("--from takes all it needs from FILE; leave out NAME and --storage.")
        rebuild(source, out, margin=margin, style=style)
        return
    if name is None:
        raise BadInput("report needs the NAME of a campaign (`rigl-study list` shows them), or --from FILE.")
    with opened(storage) as database:
        write_campaign(database, name, out, margin=margin, style=style)


def write_campaign(
    database: "BaseStorage", name: str, out: Path | None, *, margin: float = 0.25, style: str = "screen"
) -> None:
    """Write the report of a stored campaign, and say what it found; `margin` is in points."""
    from studies.frame import load_frame, load_provenance

    _write(load_frame(database, name), load_provenance(database, name), out, margin, style)


def rebuild(source: Path, out: Path | None, *, margin: float, style: str) -> None:
    """Write the report of what an earlier report holds, and say what it found; `margin` is in points."""
    from studies.reporting.trials_reader import read_report

    _write(*read_report(source), out, margin, style)


def _write(frame: "DataFrame", provenance: "Provenance", out: Path | None, margin: float, style: str) -> None:
    from studies.report import Form, write_report

    folder = out or Path("reports") / provenance.campaign
    _tell(write_report(frame, provenance, folder, margin / 100, Form(style)))


def _tell(written: "WrittenReport") -> None:
    print(written.headline)
    print(f"report: {written.html}")
