"""`rigl-study report`: a campaign's results as files, and its answer in a few lines on stdout."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.app import print_json
from studies.commands.options import Out, Storage, one_of
from studies.commands.storage import opened, resolve, short_patience
from studies.errors import BadInput
from studies.reporting.figure_style import STYLES

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from pandas import DataFrame

    from studies.frame import Provenance

Margin = Annotated[
    float | None,
    typer.Option(
        "--margin",
        min=0,
        metavar="POINTS",
        show_default="0.25",
        help="A gain below this is not worth tuning for. With --optuna-study in units of its value, and 0 by default.",
    ),
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


ForeignName = Annotated[
    str | None,
    typer.Option("--optuna-study", metavar="STUDY", help="Instead of a campaign, a study that another program made."),
]
Reference = Annotated[
    list[str] | None,
    typer.Option(
        "--reference",
        metavar="KEY=VALUE,...",
        help="With --optuna-study: the parameters to compare the best with, for example lr=0.1,alpha=0.3; repeatable.",
    ),
]


def report(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The campaign.", show_default=False)] = None,
    out: Out = None,
    margin: Margin = None,
    style: FigureStyle = "screen",
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write trials.parquet as well; needs rigl-study[parquet].")
    ] = False,
    source: Source = None,
    optuna_study: ForeignName = None,
    reference: Reference = None,
    as_schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of summary.json, and do nothing else.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Write the report of a campaign, finished or not: HTML, Markdown, a table of all trials, JSON, figures.

    Prints the result in a few lines and where the report is.
    """
    if as_schema:
        from studies.summary_schemas import published_schema

        print_json(published_schema())
        return
    if [name, source, optuna_study].count(None) != 2:
        raise BadInput(
            "report takes one of: NAME, a campaign (`rigl-study list` shows them); --from FILE; --optuna-study STUDY."
        )
    if reference and optuna_study is None:
        raise BadInput("--reference is for --optuna-study; a campaign has its reference in its specification.")
    options = ReportOptions(out, 0.0025 if margin is None else margin / 100, style, parquet)
    if optuna_study is not None:
        if parquet:
            raise BadInput("--parquet is for campaigns; trials.csv has the trials of an Optuna study.")
        _report_foreign(optuna_study, reference or (), storage, options, margin or 0.0)
    elif source is not None:
        if storage is not None:
            raise BadInput("--from takes all it needs from FILE; leave out --storage.")
        from studies.reporting.trials_reader import read_report

        options.write(*read_report(source))
    elif name is not None:
        with opened(storage) as database:
            write_campaign(database, name, options)


def _report_foreign(
    study: str, reference: Sequence[str], storage: str | None, options: "ReportOptions", margin: float
) -> None:
    """Write the report of a study that another program made; its storage is only read."""
    from studies.foreign import load_foreign
    from studies.foreign_report import write_foreign
    from studies.report import Form
    from studies.storage import close_storage, open_read_only

    database = open_read_only(resolve(storage, must_exist=True), patience=short_patience())
    try:
        found = load_foreign(database, study, reference)
    finally:
        close_storage(database)
    folder = options.out or Path("reports") / (re.sub(r"[^\w.-]+", "-", study, flags=re.ASCII).strip(".-") or "study")
    written = write_foreign(found, folder, margin, Form(options.style))
    print(written.headline)
    print(f"report: {written.html}")


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
