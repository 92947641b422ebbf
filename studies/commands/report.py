"""`rigl-study report`: a campaign's results as files, and its answer in a few lines on stdout."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.app import print_json
from studies.commands.options import Out, Storage, one_of
from studies.commands.storage import opened
from studies.errors import BadInput
from studies.reporting.figure_style import STYLES

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from pandas import DataFrame

    from studies.frame import Provenance

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
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write trials.parquet as well; needs rigl-study[parquet].")
    ] = False,
    source: Source = None,
    as_schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of summary.json, and do nothing else.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Write the report of a campaign, finished or not: HTML, Markdown, a table of all trials, JSON, figures.

    Prints the result in a few lines and where the report is.
    """
    options = ReportOptions(out, margin / 100, style, parquet)
    if as_schema:
        from studies.reporting.summary import schema

        print_json(schema())
        return
    if source is not None:
        if name is not None or storage is not None:
            raise BadInput("--from takes all it needs from FILE; leave out NAME and --storage.")
        from studies.reporting.trials_reader import read_report

        options.write(*read_report(source))
        return
    if name is None:
        raise BadInput("report needs the NAME of a campaign (`rigl-study list` shows them), or --from FILE.")
    with opened(storage) as database:
        write_campaign(database, name, options)


@dataclass(frozen=True)
class ReportOptions:
    """Where a report goes and in which form; `margin` is a fraction.

    The defaults are those of `rigl-study report`.
    """

    out: Path | None = None
    margin: float = 0.0025
    style: str = "screen"
    parquet: bool = False

    def write(self, frame: "DataFrame", provenance: "Provenance") -> None:
        """Write the report of these trials, and say what it found."""
        from studies.report import Form, write_report

        folder = self.out or Path("reports") / provenance.campaign
        written = write_report(frame, provenance, folder, self.margin, Form(self.style, self.parquet))
        print(written.headline)
        print(f"report: {written.html}")


def write_campaign(database: "BaseStorage", name: str, options: ReportOptions) -> None:
    """Write the report of a stored campaign, and say what it found."""
    from studies.frame import load_frame, load_provenance

    options.write(load_frame(database, name), load_provenance(database, name))
